"""The demo's first page, as a visitor sees it: the counter of people is live in two browsers."""

from __future__ import annotations

from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Demo


def log_in(browser: Browser, url: str, username: str) -> Page:
    page = browser.new_context().new_page()
    page.goto(url)
    page.fill("#id_username", username)
    page.fill("#id_password", "planetexpress")
    page.get_by_role("button", name="Log in").click()
    return page


def expect_count(page: Page, count: int) -> None:
    expect(page.locator("#users-counter")).to_have_text(str(count), timeout=10_000)


def test_the_counter_is_live_in_two_browsers(demo: Demo, browser: Browser, other_browser: Browser) -> None:
    leela = log_in(browser, demo.url, "leela")
    expect(leela.get_by_role("heading", name="Dashboard")).to_be_visible()
    expect(leela.get_by_text("Hi Turanga Leela")).to_be_visible()
    expect_count(leela, 1)

    fry = log_in(other_browser, demo.url, "fry")
    expect_count(fry, 2)
    expect_count(leela, 2)

    fry.context.close()
    expect_count(leela, 1)


def test_a_person_with_two_tabs_counts_once(demo: Demo, browser: Browser, other_browser: Browser) -> None:
    first = log_in(browser, demo.url, "leela")
    fry = log_in(other_browser, demo.url, "fry")
    expect_count(first, 2)

    second = first.context.new_page()
    second.goto(demo.url)
    expect_count(second, 2)

    second.evaluate("() => { window.seen = []; users.listen((message) => seen.push(message.users)); }")
    first.close()
    second.wait_for_function("seen.length === 1")
    fry.close()
    second.wait_for_function("seen.length === 2")
    assert second.evaluate("seen") == [2, 1]
    expect_count(second, 1)


def test_the_counter_goes_down_to_nobody(demo: Demo, browser: Browser, other_browser: Browser) -> None:
    """A visitor who has not logged in may watch the counter, but is not counted."""
    watcher = other_browser.new_page()
    watcher.goto(demo.url)
    watcher.add_script_tag(url="/static/raceway/raceway.js")
    watcher.evaluate(
        """() => {
            const users = raceway.connect("/status/users/");
            users.listen((message) => { document.title = `people: ${message.users}`; });
        }"""
    )
    expect(watcher).to_have_title("people: 0")

    leela = log_in(browser, demo.url, "leela")
    expect(watcher).to_have_title("people: 1")
    leela.get_by_role("button", name="Log out").click()
    expect(watcher).to_have_title("people: 0")


def test_the_counter_comes_back_when_the_server_does(
    demo: Demo, browser: Browser, other_browser: Browser
) -> None:
    leela = log_in(browser, demo.url, "leela")
    fry = log_in(other_browser, demo.url, "fry")
    expect_count(leela, 2)

    demo.kill()
    for page in (leela, fry):
        expect(page.locator("#connection")).to_contain_text("waiting")
    fry.close()
    demo.start()
    expect(leela.locator("#connection")).to_have_text("open", timeout=40_000)
    expect_count(leela, 1)
