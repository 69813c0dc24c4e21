"""The built browser client in a real browser; the server at the other end is played by the test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, WebSocketRoute

BUILD = Path(__file__).parents[2] / "src/raceway/static/raceway"
PAGE = "http://client.test/"


@pytest.fixture
def page(browser: Browser) -> Page:
    """A page with the client loaded as a script; nothing of it reaches a network."""
    page = browser.new_page()
    page.route(f"{PAGE}**", lambda route: route.fulfill(body="<!doctype html>", content_type="text/html"))
    page.goto(PAGE)
    page.add_script_tag(path=BUILD / "raceway.js")
    page.evaluate("window.states = []; window.messages = []")
    return page


def connect(page: Page) -> None:
    page.evaluate(
        """() => {
            const limits = { firstDelayMs: 1, queuedMessages: 2 };
            window.onwaiting = null;
            const status = ({ state, code }) => {
                states.push(code ? `${state} ${code}` : state);
                if (state === "waiting") onwaiting?.();
            };
            window.client = raceway.connect("/socket/", { status, limits });
            client.listen((message) => messages.push(message));
        }"""
    )


def serve(page: Page, play: Callable[[WebSocketRoute], None]) -> list[WebSocketRoute]:
    """Answer each WebSocket of the page with ``play``; the list holds all that there were."""
    sockets: list[WebSocketRoute] = []

    def begin(socket: WebSocketRoute) -> None:
        sockets.append(socket)
        play(socket)

    page.route_web_socket("**/socket/", begin)
    return sockets


def test_messages_go_both_ways_as_json(page: Page) -> None:
    def echo(socket: WebSocketRoute) -> None:
        socket.on_message(socket.send)

    serve(page, echo)
    connect(page)
    assert page.evaluate("client.send({ hello: ['world', 0, null] })") is True
    page.wait_for_function("messages.length === 1")
    assert page.evaluate("messages") == [{"hello": ["world", 0, None]}]
    assert page.evaluate("states") == ["connecting", "open"]


def test_a_lost_socket_comes_back_until_a_close_code_is_final(page: Page) -> None:
    codes = [1011, 1001, 4401]
    sockets = serve(page, lambda socket: socket.close(code=codes[len(sockets) - 1], reason=""))
    connect(page)
    page.wait_for_function("client.state === 'closed'")
    assert len(sockets) == 3
    states = page.evaluate("states")
    assert [state for state in states if state.startswith(("waiting", "closed"))] == [
        "waiting 1011",
        "waiting 1001",
        "closed 4401",
    ]
    assert page.evaluate("client.send('too late')") is False


def test_messages_wait_for_the_next_socket_and_too_many_are_refused(page: Page) -> None:
    heard: list[str] = []

    def play(socket: WebSocketRoute) -> None:
        socket.on_message(lambda message: heard.append(str(message)))

    sockets = serve(page, play)
    connect(page)
    page.wait_for_function("client.state === 'open'")
    page.evaluate(
        """() => {
            window.onwaiting = () => {
                window.taken = [1, 2, 3].map((message) => client.send(message));
                window.onwaiting = null;
            };
        }"""
    )
    sockets[0].close(code=1011, reason="")
    page.wait_for_function("window.taken && client.state === 'open'")
    assert page.evaluate("taken") == [True, True, False]
    page.evaluate("client.send(4)")
    page.wait_for_timeout(50)
    assert heard == ["1", "2", "4"]


def test_close_ends_it_and_the_server_hears_of_it(page: Page) -> None:
    closed: list[int | None] = []
    sockets = serve(page, lambda socket: socket.on_close(lambda code, reason: closed.append(code)))
    connect(page)
    page.wait_for_function("client.state === 'open'")
    page.evaluate("client.close()")
    page.wait_for_timeout(50)
    assert page.evaluate("states") == ["connecting", "open", "closed 1000"]
    assert closed == [1000]
    assert len(sockets) == 1


def test_a_listener_that_throws_and_a_message_that_is_not_json_harm_nobody(page: Page) -> None:
    def play(socket: WebSocketRoute) -> None:
        socket.on_message(lambda _: [socket.send(message) for message in ("1", "{", "2")])

    serve(page, play)
    connect(page)
    page.evaluate("() => void client.listen((message) => { if (message === 1) throw new Error('mine') })")
    with (
        page.expect_event("pageerror", lambda error: error.message == "mine"),
        page.expect_event("pageerror", lambda error: "JSON" in error.message),
    ):
        page.evaluate("client.send('go')")
    page.wait_for_function("messages.length === 2")
    assert page.evaluate("messages") == [1, 2]


def test_it_is_also_a_module(page: Page) -> None:
    page.route(
        f"{PAGE}raceway.mjs",
        lambda route: route.fulfill(path=BUILD / "raceway.mjs", content_type="text/javascript"),
    )
    assert page.evaluate("async () => Object.keys(await import('/raceway.mjs')).sort()") == [
        "Client",
        "connect",
    ]
    assert page.evaluate("Object.keys(raceway).sort()") == ["Client", "connect"]
