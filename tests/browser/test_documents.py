"""The documents demo, as its visitors see it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect
from playwright.sync_api import TimeoutError as NotInTime

from tests.browser.conftest import Demo, Demos

TITLE = "Checklist before launch"
SLUG = "checklist-before-launch"
WAIT_MS = 15_000
RECONNECT_MS = 40_000

RECORD = """
    // What a visitor could have seen: how often the connection was lost, the question, and each notification.
    window.lost = 0;
    window.asked = 0;
    window.notifications = [];
    addEventListener("DOMContentLoaded", () => {
        const connection = document.querySelector("#connection");
        if (connection) {
            new MutationObserver(() => { window.lost += connection.textContent.includes("lost"); })
                .observe(connection, { childList: true });
        }
    });
    window.Notification = class extends Notification {
        constructor(title, options) {
            super(title, options);
            window.notifications.push(this);
            this.shown = new Promise((resolve, reject) => { this.onshow = resolve; this.onerror = reject; });
        }
        static requestPermission() {
            window.asked += 1;
            return super.requestPermission();
        }
    };
"""

WATCH = """
    ([name, selector]) => {
        const seen = window[name] = [];
        const watched = document.querySelector(selector);
        const options = { childList: true, characterData: true, subtree: true };
        new MutationObserver(() => seen.push(watched.innerText)).observe(watched, options);
    }
"""

Visit = Callable[..., Page]


@pytest.fixture
def errors() -> Iterator[list[str]]:
    """What went wrong in the pages' own code."""
    errors: list[str] = []
    yield errors
    assert errors == []


@pytest.fixture
def visit(browser: Browser, other_browser: Browser, errors: list[str]) -> Visit:
    """Log somebody in: Fry in one browser, the others in the other one, each with cookies of their own."""

    def visit(demo: Demo, username: str, path: str = "", **options: Any) -> Page:
        context = (other_browser if username == "fry" else browser).new_context(**options)
        context.set_default_timeout(WAIT_MS)
        context.add_init_script(RECORD)
        context.on("weberror", lambda error: errors.append(str(error.error)))
        page = context.new_page()
        page.goto(demo.url + path)
        page.get_by_label("User name").fill(username)
        page.get_by_label("Password").fill("planetexpress")
        page.get_by_role("button", name="Log in").click()
        expect_connected(page)
        return page

    return visit


@pytest.fixture(autouse=True)
def documents_as_seeded(demos: Demos) -> Iterator[None]:
    yield
    demos.restore()


def expect_connected(page: Page) -> None:
    expect(page.locator("body")).to_have_attribute("data-connection", "open", timeout=RECONNECT_MS)


def expect_count(page: Page, count: int, timeout: float = WAIT_MS) -> None:
    expect(page.locator("#users-counter")).to_have_text(str(count), timeout=timeout)


COLOURS = {"free": "rgb(20, 105, 47)", "read": "rgb(133, 77, 14)", "write": "rgb(176, 30, 30)"}
"""Green, yellow and red, as they are written in the light scheme."""


def expect_status(
    page: Page, phase: str, names: str = "", slug: str = SLUG, timeout: float = WAIT_MS
) -> None:
    badge = page.locator(f'[data-document="{slug}"]')
    expect(badge).to_have_text(f"{phase} {names}".strip(), timeout=timeout)
    expect(badge).to_have_css("color", COLOURS[phase])
    expect(badge).to_have_attribute("title", names)


def expect_notice(page: Page, what: str, title: str = TITLE) -> None:
    expect(page.locator(".notice").filter(has_text=what).filter(has_text=title)).to_be_visible(
        timeout=WAIT_MS
    )


def open_document(page: Page, title: str = TITLE) -> None:
    page.locator("#main").get_by_role("link", name=title, exact=True).click()
    expect_connected(page)


def edit(page: Page) -> None:
    page.get_by_role("link", name="Edit", exact=True).click()
    expect_connected(page)


def save(page: Page, **fields: str) -> None:
    for name, text in fields.items():
        page.fill(f"#id_{name}", text)
    page.get_by_role("button", name="Save").click()
    page.wait_for_url(lambda url: not url.endswith(("/edit/", "/add/")))
    expect_connected(page)


def kill_a_worker_of(demo: Demo, page: Page) -> None:
    """Kill workers until one of them has held this page's socket."""
    page.evaluate("window.lost = 0")
    for pid in demo.worker_pids():
        demo.kill_worker(pid)
        try:
            page.wait_for_function("window.lost > 0", timeout=1000)
        except NotInTime:
            continue
        return
    raise AssertionError("All workers were killed, and the page has not lost its connection.")


@pytest.mark.parametrize("workers", [1, 4])
def test_the_video_of_the_talk(demos: Demos, visit: Visit, workers: int) -> None:
    demo = demos(workers)
    leela = visit(demo, "leela", permissions=["notifications"])
    expect_count(leela, 1)
    expect_status(leela, "free")

    fry = visit(demo, "fry")
    expect_count(leela, 2)
    expect_count(fry, 2)

    open_document(fry)
    expect_status(leela, "read", "Philip J. Fry")
    expect_status(fry, "free")  # oneself is not told of

    if workers > 1:
        kill_a_worker_of(demo, leela)
        expect_connected(leela)
        expect_connected(fry)
        expect_count(leela, 2)
        expect_count(fry, 2)
        expect_status(leela, "read", "Philip J. Fry")

    edit(fry)
    expect_status(leela, "write", "Philip J. Fry")

    save(fry, abstract="Seven lines now.")
    expect_notice(leela, "Document updated")
    assert notified(leela) == ["Document updated: Checklist before launch"]
    expect(leela.get_by_text("Seven lines now.")).to_be_visible()  # the list shows it without a reload
    expect_status(leela, "read", "Philip J. Fry")

    leela.locator(".notice a").click()
    expect_connected(leela)
    expect_status(fry, "read", "Turanga Leela")
    expect_status(leela, "read", "Philip J. Fry")

    fry.context.close()
    expect_status(leela, "free")
    expect_count(leela, 1)


def notified(page: Page) -> list[str]:
    """The browser's notifications, each of which it has really shown."""
    return page.evaluate(
        "Promise.all(notifications.map(async (n) => (await n.shown, `${n.title}: ${n.body}`)))"
    )


def test_who_saves_is_not_told_of_it(demo: Demo, visit: Visit) -> None:
    leela, fry = visit(demo, "leela", permissions=["notifications"]), visit(demo, "fry")
    open_document(leela)
    edit(leela)
    leela.evaluate("addEventListener('pagehide', () => localStorage.setItem('told', notifications.length))")
    save(leela, abstract="Pilot first.")
    expect_notice(fry, "Document updated")
    assert leela.evaluate("localStorage.getItem('told')") == "0"
    expect(leela.locator(".notice")).to_have_count(0)


def test_a_reload_within_the_grace_is_no_news(demos: Demos, visit: Visit) -> None:
    demo = demos(grace_s=30)
    leela, fry = visit(demo, "leela"), visit(demo, "fry")
    open_document(fry)
    expect_count(leela, 2)
    expect_status(leela, "read", "Philip J. Fry")
    leela.evaluate(WATCH, ["counts", "#users-counter"])
    leela.evaluate(WATCH, ["statuses", f'[data-document="{SLUG}"]'])
    fry.reload()
    expect_connected(fry)
    expect_count(fry, 2)

    amy = visit(demo, "amy")  # something that is news, after which all there was has been seen
    expect_count(leela, 3)
    assert set(leela.evaluate("counts")) <= {"2", "3"}
    assert all("read" in text and "Fry" in text for text in leela.evaluate("statuses"))
    assert "Philip J. Fry" in (amy.locator("#online").get_attribute("title") or "")


def test_two_tabs_of_one_person_count_once(demo: Demo, visit: Visit) -> None:
    first, fry = visit(demo, "leela"), visit(demo, "fry")
    second = first.context.new_page()
    second.goto(f"{demo.url}documents/{SLUG}/edit/")
    expect_status(fry, "write", "Turanga Leela")
    third = first.context.new_page()
    third.goto(f"{demo.url}documents/{SLUG}/")
    expect_connected(third)
    expect_count(third, 2)
    expect_status(third, "free")
    expect_status(fry, "write", "Turanga Leela")

    second.close()  # the talk's demo forgot a person whose one tab of several was closed
    expect_status(fry, "read", "Turanga Leela")
    third.close()
    expect_status(fry, "free")
    expect_count(fry, 2)
    first.get_by_role("button", name="Log out").click()
    expect_count(fry, 1)


@pytest.mark.parametrize("workers", [1, 4])
def test_a_killed_server_leaves_no_ghosts(demos: Demos, visit: Visit, workers: int) -> None:
    demo = demos(workers)
    leela, fry = visit(demo, "leela"), visit(demo, "fry")
    open_document(fry)
    expect_status(leela, "read", "Philip J. Fry")

    demo.kill()
    expect(leela.locator("#connection")).to_contain_text("lost")
    fry.context.close()
    demo.start()
    expect_connected(leela)
    expect(leela.locator("#connection")).to_have_text("")
    expect_count(leela, 1)
    expect_status(leela, "free")


def test_a_killed_server_beside_this_one_leaves_no_ghosts(demo: Demo, visit: Visit) -> None:
    """The one that is killed has the broker; the other's pages stay connected, and are told of the gap."""
    other = demo.beside()
    try:
        leela, fry = visit(other, "leela"), visit(demo, "fry", f"documents/{SLUG}/edit/")
        expect_status(leela, "write", "Philip J. Fry")
        demo.kill()
        expect_status(leela, "free")
        expect_count(leela, 1)
        amy = visit(other, "amy")
        expect_count(leela, 2)
        expect_count(amy, 2)
        assert leela.evaluate("lost") == 0
        expect(fry.locator("#connection")).to_contain_text("lost")
    finally:
        other.kill()
    assert "Traceback" not in other.log.read_text()


def test_what_was_saved_while_the_connection_was_lost_is_shown(demo: Demo, visit: Visit) -> None:
    leela = visit(demo, "leela")
    demo.kill()
    expect(leela.locator("#connection")).to_contain_text("lost")
    demo.shell(f"Document.objects.get(slug={SLUG!r}).delete()")
    demo.start()
    expect(leela.get_by_role("link", name=TITLE, exact=True)).to_have_count(0, timeout=RECONNECT_MS)


def permission(context: BrowserContext, setting: str) -> None:
    """Have the browser answer the question for permission: with "prompt" it is dismissed."""
    assert context.browser is not None
    session = context.browser.new_browser_cdp_session()
    for context_id in session.send("Target.getBrowserContexts")["browserContextIds"]:
        parameters = {
            "permission": {"name": "notifications"},
            "setting": setting,
            "browserContextId": context_id,
        }
        session.send("Browser.setPermission", parameters)


@pytest.mark.parametrize("answer", ["prompt", "denied"])
def test_without_permission_the_page_still_works(demo: Demo, visit: Visit, answer: str) -> None:
    leela = visit(demo, "leela")
    button = leela.get_by_role("button", name="Notify me")
    expect(button).to_be_visible()
    permission(leela.context, answer)
    button.click()
    if answer == "prompt":
        expect(button).to_be_visible()  # the question may be asked again
    else:
        expect(button).to_be_hidden()
    fry = visit(demo, "fry", f"documents/{SLUG}/edit/")
    expect_status(leela, "write", "Philip J. Fry")
    save(fry)
    expect_notice(leela, "Document updated")
    assert notified(leela) == []


def test_the_permission_is_asked_for_by_the_button_only(demo: Demo, visit: Visit) -> None:
    leela = visit(demo, "leela")
    assert leela.evaluate("[asked, Notification.permission]") == [0, "default"]
    permission(leela.context, "granted")
    leela.get_by_role("button", name="Notify me").click()
    expect(leela.get_by_role("button", name="Notify me")).to_be_hidden()
    assert leela.evaluate("[asked, Notification.permission]") == [1, "granted"]


def test_a_notification_opens_the_document(demos: Demos, visit: Visit) -> None:
    """Also of what another process saves, such as a shell; whoever writes keeps the form."""
    demo = demos(4)
    leela = visit(demo, "leela", permissions=["notifications"])
    writing = leela.context.new_page()
    writing.goto(f"{demo.url}add/")
    expect_connected(writing)
    writing.fill("#id_title", "Not saved yet")

    demo.shell(f"Document.objects.get(slug={SLUG!r}).save()")
    for page in (leela, writing):
        expect_notice(page, "Document updated")
    with leela.context.expect_page() as opened:
        writing.evaluate("notifications[0].dispatchEvent(new Event('click'))")
    expect(opened.value.get_by_role("heading", name=TITLE)).to_be_visible()
    expect(writing.locator("#id_title")).to_have_value("Not saved yet")
    leela.evaluate("notifications[0].dispatchEvent(new Event('click'))")
    expect(leela.get_by_role("heading", name=TITLE)).to_be_visible()


def test_created_and_deleted(demo: Demo, visit: Visit) -> None:
    leela, fry = visit(demo, "leela", permissions=["notifications"]), visit(demo, "fry")
    fry.get_by_role("link", name="New document").click()
    expect_connected(fry)
    fry.locator('.covers img[alt="Robot"]').click()
    save(fry, title="A walk on the moon", text="It is smaller than it looks.")
    expect(fry.get_by_role("heading", name="A walk on the moon")).to_be_visible()
    expect(fry.locator('img.cover[src*="robot"]')).to_be_visible()
    expect_notice(leela, "New document", "A walk on the moon")
    expect_status(leela, "read", "Philip J. Fry", slug="a-walk-on-the-moon")  # in the list without a reload

    open_document(leela, "A walk on the moon")
    edit(fry)
    fry.get_by_role("link", name="Delete").click()
    fry.get_by_role("button", name="Delete").click()
    expect(fry.get_by_role("heading", name="All documents")).to_be_visible()
    expect(fry.get_by_role("link", name="A walk on the moon", exact=True)).to_have_count(0)
    expect_notice(leela, "Document deleted", "A walk on the moon")
    expect(leela.get_by_role("heading", name="A walk on the moon")).to_be_visible()  # who reads it may finish
    assert notified(leela)[-1:] in ([], ["Document deleted: A walk on the moon"])


def test_many_documents_saved_at_once_do_not_bury_the_page(demo: Demo, visit: Visit) -> None:
    leela = visit(demo, "leela")
    fetched: list[str] = []
    leela.on("request", lambda request: fetched.append(request.url))
    demo.shell(
        "fry = User.objects.get(username='fry')\n"
        "for number in range(40): Document.objects.create(title=f'Nr {number} ' + 'W' * 150, text='-', author=fry)"
    )
    last = leela.locator(".notice").filter(has_text="Nr 39")
    expect(last).to_be_visible(timeout=WAIT_MS)
    expect(leela.locator(".notice")).to_have_count(4)
    expect(last).to_be_in_viewport(ratio=1)
    assert (last.bounding_box() or {})["height"] < 150
    expect(leela.locator('[data-document^="nr-39"]')).to_be_visible(timeout=WAIT_MS)
    assert len(fetched) < 40, "one after the other, not one for each"


def test_the_admin_tells_too(demo: Demo, visit: Visit) -> None:
    leela, professor = visit(demo, "leela"), visit(demo, "professor")
    professor.goto(f"{demo.url}admin/documents/document/")
    professor.get_by_role("link", name=TITLE).click()
    professor.get_by_role("button", name="Save", exact=True).click()
    expect_notice(leela, "Document updated")


def test_a_renamed_document_stays_the_same_one(demo: Demo, visit: Visit) -> None:
    leela = visit(demo, "leela")
    fry = visit(demo, "fry", f"documents/{SLUG}/edit/")
    expect_status(leela, "write", "Philip J. Fry")
    reading = leela.context.new_page()
    reading.goto(f"{demo.url}documents/{SLUG}/")
    expect_status(fry, "read", "Turanga Leela")

    save(fry, title="Checklist after launch")
    for page in (leela, reading):
        expect(page.get_by_text("Checklist after launch").first).to_be_visible()
        expect_status(page, "read", "Philip J. Fry")
    edit(fry)
    expect_status(leela, "write", "Philip J. Fry")
    expect_status(reading, "write", "Philip J. Fry")


XSS = '<img src=x onerror="window.pwned = 1"><script>window.pwned = 2</script>'


def test_what_people_write_is_text(demo: Demo, visit: Visit) -> None:
    demo.shell(f"User.objects.create_user('zoidberg', password='planetexpress', last_name={XSS!r})")
    leela = visit(demo, "leela")
    zoidberg = visit(demo, "zoidberg")
    expect_count(leela, 2)
    zoidberg.goto(f"{demo.url}add/")
    save(zoidberg, title=XSS, abstract=XSS, text=XSS)
    expect_notice(leela, "New document", XSS)
    expect(zoidberg.get_by_role("heading")).to_have_text(XSS)
    expect(leela.locator("#main").get_by_role("link", name=XSS, exact=True)).to_have_text(XSS)
    slug = zoidberg.url.rstrip("/").rsplit("/", 1)[1]
    expect(leela.locator(f'[data-document="{slug}"]')).to_have_text(f"read {XSS}")
    for page in (leela, zoidberg):
        assert page.evaluate("window.pwned") is None
        expect(page.locator("#main img[src=x], #notices img, #faces img")).to_have_count(0)


def expect_narrow(page: Page, width: int) -> None:
    """The page is no wider than the screen, and cuts nothing off there."""
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    beyond = """
        (width) => [...document.querySelectorAll("body *")]
            .filter((element) => element.getBoundingClientRect().right > width)
            .map((element) => element.outerHTML)
    """
    assert page.evaluate(beyond, width) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_need_not_scroll_sideways(demo: Demo, visit: Visit, scheme: str) -> None:
    demo.shell(f"Document.objects.filter(slug={SLUG!r}).update(title='Launch' * 30, text='wide' * 400)")
    leela = visit(demo, "leela", viewport={"width": 320, "height": 640}, color_scheme=scheme)
    fry = visit(demo, "fry", f"documents/{SLUG}/edit/")
    paths = ("", "add/", f"documents/{SLUG}/", f"documents/{SLUG}/edit/", f"documents/{SLUG}/delete/")
    for path in paths:
        leela.goto(demo.url + path)
        expect_connected(leela)
        expect_count(leela, 2)
        expect_narrow(leela, 320)
    save(fry)
    expect_notice(leela, "Document updated", "Launch")
    expect_narrow(leela, 320)
    leela.get_by_role("button", name="Log out").click()
    expect(leela.get_by_role("heading", name="Log in")).to_be_visible()
    expect_narrow(leela, 320)


def test_logging_out_elsewhere_ends_the_page(demo: Demo, visit: Visit) -> None:
    leela = visit(demo, "leela")
    other = leela.context.new_page()
    other.goto(demo.url)
    other.get_by_role("button", name="Log out").click()
    expect(leela.locator("#connection")).to_contain_text("no longer connected")


def test_a_stranger_sees_nothing(demo: Demo, browser: Browser) -> None:
    page = browser.new_page()
    for path in ("", "add/", f"documents/{SLUG}/", f"documents/{SLUG}/edit/", f"documents/{SLUG}/delete/"):
        page.goto(demo.url + path)
        expect(page).to_have_url(re.compile(r"/accounts/login/\?next="))
    for path in ("/status/", f"/status/{SLUG}/write/"):
        opened = page.evaluate(
            """(path) => new Promise((resolve) => {
                const socket = new WebSocket(path);
                socket.onopen = () => resolve(true);
                socket.onerror = () => resolve(false);
            })""",
            path,
        )
        assert opened is False
