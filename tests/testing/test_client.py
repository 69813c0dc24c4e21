"""``connect`` and the socket that it gives: what passes, and what a test reads that fails."""

from __future__ import annotations

import asyncio
import datetime
import threading
from unittest.mock import ANY

import pytest

import tests.project  # noqa: F401  Django's settings
from raceway.consumers import AsyncWebsocketConsumer, WebsocketConsumer
from raceway.layers import Group
from raceway.testing import NothingCame, connect
from tests.testing import consumers

KWARGS = {"room": "moon"}


async def test_a_conversation_reads_line_by_line() -> None:
    async with connect(consumers.Echo) as socket:
        await socket.send("hello")
        await socket.expect_text("hello")
        await socket.send(b"\x00")
        await socket.expect_bytes(b"\x00")
        await socket.send({"a": 1})
        assert await socket.expect_json({"a": 1}) == {"a": 1}
        await socket.send_json("text")
        assert await socket.receive() == '"text"'
        await socket.send("[1]")
        assert await socket.receive_json() == [1]
        await socket.expect_nothing(0.01)


def test_the_same_without_async() -> None:
    with connect(consumers.Echo) as socket:
        socket.send("hello")
        socket.expect_text("hello")
        socket.send(b"\x00")
        socket.expect_bytes(b"\x00")
        socket.send({"a": 1})
        assert socket.expect_json({"a": 1}) == {"a": 1}
        socket.send_json("text")
        assert socket.receive() == '"text"'
        socket.send("[1]")
        assert socket.receive_json() == [1]
        socket.expect_nothing(0.01)


async def test_a_function_and_any_asgi_application() -> None:
    async def echo(socket):
        async for message in socket:
            await socket.send(message)

    async with connect(echo) as socket:
        await socket.send("x")
        await socket.expect_text("x")

    class Asgi2:
        def __init__(self, scope):
            self.scope = scope

        async def __call__(self, receive, send):
            await receive()
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.send", "text": self.scope["path"]})

    async with connect(Asgi2, "/old/") as socket:
        await socket.expect_text("/old/")


async def test_an_empty_message_is_a_message() -> None:
    """V29b"""
    async with connect(consumers.Echo) as socket:
        await socket.send("")
        await socket.expect_text("")
        await socket.send(b"")
        await socket.expect_bytes(b"")


async def test_sockets_hear_each_other_and_the_test() -> None:
    async with (
        connect(consumers.Chat, kwargs=KWARGS) as leela,
        connect(consumers.Chat, kwargs=KWARGS) as fry,
    ):
        await leela.send_json({"text": "hi"})
        for socket in (leela, fry):
            await socket.expect_json({"from": ANY, "text": "hi"})
        await Group("chat.moon").asend({"type": "chat.message", "from": "test", "text": "x"})
        await fry.expect_json({"from": "test", "text": "x"})


def test_sockets_hear_each_other_and_the_test_without_async() -> None:
    with connect(consumers.Chat, kwargs=KWARGS) as leela, connect(consumers.Chat, kwargs=KWARGS) as fry:
        leela.send_json({"text": "hi"})
        for socket in (leela, fry):
            socket.expect_json({"from": ANY, "text": "hi"})
        Group("chat.moon").send({"type": "chat.message", "from": "test", "text": "x"})
        fry.expect_json({"from": "test", "text": "x"})


async def test_json_is_compared_as_json() -> None:
    async with connect(consumers.Echo) as socket:
        await socket.send({"day": datetime.date(2026, 1, 2), "pair": (1, 2)})
        await socket.expect_json({"day": datetime.date(2026, 1, 2), "pair": (1, 2)})


async def test_the_scope_is_a_servers() -> None:
    async with connect(
        consumers.Choosy,
        "/mond%20licht/ä?a=1&b=%20",
        headers={"X-Planet": "Omicron"},
        subprotocols=["v1", "v2"],
        cookies={"lang": "de", "x": "y"},
        scope={"client": ("10.0.0.1", 1)},
    ) as socket:
        assert socket.subprotocol == "v2"
        assert socket.response_headers == [(b"x-moon", b"full")]
        scope = socket.scope
        assert (scope["path"], scope["query_string"]) == ("/mond licht/ä", b"a=1&b=%20")
        assert scope["raw_path"] == b"/mond%20licht/%C3%A4"
        assert scope["asgi"] == {"version": "3.0", "spec_version": "2.5"}
        assert scope["client"] == ("10.0.0.1", 1)
        assert scope["headers"] == [
            (b"x-planet", b"Omicron"),
            (b"host", b"testserver"),
            (b"origin", b"http://testserver"),
            (b"cookie", b"lang=de; x=y"),
        ]


async def test_without_an_origin_and_with_ones_own_host() -> None:
    async with connect(consumers.Echo, origin=None, headers=[("Host", "moon.example")]) as socket:
        assert socket.scope["headers"] == [(b"host", b"moon.example")]


async def test_the_project_itself() -> None:
    async with connect("/echo/") as socket:
        await socket.send("x")
        await socket.expect_text("x")
    async with connect("/whoami/") as socket:
        await socket.expect_json({"user": "AnonymousUser"})
    await connect("/nowhere/").expect_refused(404)
    await connect("/echo/", origin="https://evil.example").expect_refused(403)


async def test_a_refusal_is_expected() -> None:
    await connect(consumers.Refusing).expect_refused()
    await connect(consumers.Refusing).expect_refused(403)
    await connect(consumers.Refusing).expect_refused(4003)
    await connect(consumers.answers_404).expect_refused(404)


def test_a_refusal_is_expected_without_async() -> None:
    connect(consumers.Refusing).expect_refused(4003)


async def test_a_refusal_that_is_not_expected() -> None:
    with pytest.raises(AssertionError, match=r"to be accepted, but .* refused it with 403 \(code 4003\)"):
        async with connect(consumers.Refusing):
            pass
    with pytest.raises(AssertionError, match="to be accepted, but the application answered 404"):
        async with connect(consumers.answers_404):
            pass
    with pytest.raises(AssertionError, match="to be refused, but it was accepted"):
        await connect(consumers.Echo).expect_refused()
    with pytest.raises(
        AssertionError, match="to be refused with 404, but the application refused it with 403"
    ):
        await connect(consumers.Refusing).expect_refused(404)


async def test_a_close_is_expected() -> None:
    async with connect(consumers.Closing) as socket:
        await socket.send("x")
        assert await socket.expect_close(4001, "enough") == 4001


async def test_a_close_that_is_another() -> None:
    for expected, words in (
        ((4002,), r"with 4002, but the application closed the socket with 4001 \(enough\)"),
        ((4001, "tired"), r"reason 'tired', but the application closed the socket with 4001 \(enough\)"),
    ):
        async with connect(consumers.Closing) as socket:
            await socket.send("x")
            with pytest.raises(AssertionError, match=words):
                await socket.expect_close(*expected)
    async with connect(consumers.Echo) as socket:
        await socket.send("x")
        with pytest.raises(AssertionError, match="to close the socket, but this came: 'x'"):
            await socket.expect_close()


async def test_who_returns_has_closed() -> None:
    """As servers do when the application returns."""
    async with connect(consumers.returns_at_once) as socket:
        await socket.expect_close(1000)
    async with connect(consumers.returns_at_once) as socket:
        with pytest.raises(AssertionError, match=r"Expected nothing .* closed the socket with 1000"):
            await socket.expect_nothing(0.01)


async def test_another_message_is_shown_beside_the_expected_one() -> None:
    async with connect(consumers.Echo) as socket:
        await socket.send({"a": 1})
        with pytest.raises(AssertionError, match=r"expected: \{'a': 2\}\nreceived: \{'a': 1\}"):
            await socket.expect_json({"a": 2})
        await socket.send({"a": [1, {"b": True}, 1.0]})
        with pytest.raises(AssertionError, match=r"received: .* True"):
            await socket.expect_json({"a": [1, {"b": 1}, 1]})
        await socket.send({"a": [1, {"b": True}, 1.0]})
        await socket.expect_json({"a": [1, {"b": True}, 1]})
        await socket.send({"names": ["x" * 50, "y" * 50, "z" * 50]})
        with pytest.raises(AssertionError) as caught:
            await socket.expect_json({"names": ["x" * 50, "Y" * 50, "z" * 50]})
        assert f"-            '{'Y' * 50}'," in str(caught.value)
        assert f"+            '{'y' * 50}'," in str(caught.value)
        await socket.send("x")
        with pytest.raises(AssertionError, match="expected: 'y'\nreceived: 'x'"):
            await socket.expect_text("y")
        await socket.send("x")
        with pytest.raises(AssertionError, match="expected: b'x'\nreceived: 'x'"):
            await socket.expect_bytes(b"x")
        await socket.send(b"x")
        with pytest.raises(AssertionError, match="but the message is binary: b'x'"):
            await socket.expect_json("x")
        await socket.send("{")
        with pytest.raises(AssertionError, match=r"but this text came: '{'"):
            await socket.expect_json({})
        await socket.send("surprise")
        with pytest.raises(AssertionError, match=r"Expected nothing .* this came: 'surprise'"):
            await socket.expect_nothing(1)


async def test_who_waits_in_vain_is_told_for_what() -> None:
    async with connect(consumers.Echo, timeout_s=0.01) as socket:
        with pytest.raises(NothingCame, match=r"Expected the JSON 1, but nothing came within 0.01 s"):
            await socket.expect_json(1)
    with pytest.raises(NothingCame, match="Expected the handshake to be accepted, but"):
        async with connect(consumers.silent, timeout_s=0.01):
            pass


async def test_the_applications_own_exception_is_raised() -> None:
    """N9: not a timeout; the traceback leads into the consumer."""
    with pytest.raises(ZeroDivisionError, match="in the consumer") as caught:  # noqa: PT012
        async with connect(consumers.Broken) as socket:
            await socket.send("x")
            await socket.expect_text("x")
    assert any(entry.name == "receive" for entry in caught.traceback)
    with pytest.raises(LookupError, match="no such room"):
        async with connect(consumers.BrokenAtConnect):
            pass


def test_the_applications_own_exception_is_raised_without_async() -> None:
    with pytest.raises(ZeroDivisionError), connect(consumers.Broken) as socket:  # noqa: PT012
        socket.send("x")
        socket.expect_text("x")
    with pytest.raises(LookupError), connect(consumers.BrokenAtConnect):
        pass


async def test_an_exception_that_nobody_waited_for_is_raised_at_the_end() -> None:
    with pytest.raises(ZeroDivisionError):
        async with connect(consumers.Broken) as socket:
            await socket.send("x")


async def test_an_exception_that_the_test_expected_is_not_raised_again_at_the_end() -> None:
    async with connect(consumers.Broken) as socket:
        await socket.send("x")
        with pytest.raises(ZeroDivisionError):
            await socket.receive()


async def test_whatever_leaves_the_application_fails_the_test() -> None:
    """What is no ``Exception`` too: ``pytest.fail()`` in a consumer, the end of a task that it awaits."""

    async def fails(socket):
        async for _ in socket:
            pytest.fail("in the consumer")

    async def exits(socket):
        async for _ in socket:
            raise SystemExit("in the consumer")

    async def awaits_cancelled(socket):
        async for _ in socket:
            task = asyncio.create_task(asyncio.Event().wait())
            task.cancel()
            await task

    for consumer, kind, text in (
        (fails, pytest.fail.Exception, "in the consumer"),
        (exits, RuntimeError, r"raised SystemExit\('in the consumer'\)"),
        (awaits_cancelled, RuntimeError, "let a CancelledError out"),
    ):
        with pytest.raises(kind, match=text):
            async with connect(consumer) as socket:
                await socket.send("x")


def test_whatever_leaves_the_application_fails_the_test_without_async() -> None:
    async def exits(socket):
        async for _ in socket:
            raise SystemExit("in the consumer")

    with pytest.raises(RuntimeError, match="in the consumer"), connect(exits) as socket:
        socket.send("x")


def test_the_end_of_the_event_loop_does_not_hang_the_test() -> None:
    async def exits_later(socket):
        async def leave():
            raise SystemExit

        async for _ in socket:
            socket.task = asyncio.create_task(leave())

    ended = (
        RuntimeError,
        AssertionError,
        asyncio.CancelledError,
    )  # which, depends on what it was about to do
    with pytest.raises(ended), connect(exits_later) as socket:  # noqa: PT012
        socket.send("x")
        socket.receive()


async def test_the_tests_own_failure_is_what_is_seen() -> None:
    with pytest.raises(KeyError, match="mine"):  # noqa: PT012
        async with connect(consumers.Broken) as socket:
            await socket.send("x")
            raise KeyError("mine")


async def test_nothing_goes_on_behind_a_socket() -> None:
    before = asyncio.all_tasks()
    async with connect(consumers.Echo) as socket:
        await socket.send("x")
    with pytest.raises(NothingCame, match=r"did not end within 0.01 s after the connection had"):
        async with connect(consumers.Stubborn, timeout_s=0.01) as socket:
            await socket.send("x")
    assert asyncio.all_tasks() == before


def test_no_thread_stays_behind_a_socket() -> None:
    before = threading.active_count()
    with connect(consumers.Stubborn, timeout_s=0.01) as socket:
        socket.send("x")
        with pytest.raises(NothingCame):
            socket.close()
    assert threading.active_count() == before


def test_sync_code_runs_in_the_tests_own_thread() -> None:
    """So that it is inside the test's transaction."""
    seen = []

    class Consumer(WebsocketConsumer):
        def connect(self):
            seen.append(threading.get_ident())
            self.accept()

        def receive(self, text_data=None, bytes_data=None):
            seen.append(threading.get_ident())
            self.send(text_data)

    with connect(Consumer) as socket:
        socket.send("x")
        socket.expect_text("x")
    assert seen == [threading.get_ident()] * 2


def test_sync_code_may_call_async_code() -> None:
    from asgiref.sync import async_to_sync, sync_to_async

    class Consumer(WebsocketConsumer):
        def receive(self, text_data=None, bytes_data=None):
            async def there_and_back() -> int:
                return await sync_to_async(threading.get_ident)()

            self.send(str(async_to_sync(there_and_back)() == threading.get_ident()))

    with connect(Consumer) as socket:
        socket.send("x")
        socket.expect_text("True")


async def test_plain_code_in_a_coroutine_is_refused() -> None:
    """It would hold up the event loop."""
    with pytest.raises(RuntimeError, match="write: async with"), connect(consumers.Echo):
        pass


async def test_a_bare_consumer_finds_the_user_in_its_scope() -> None:
    class Whoami(AsyncWebsocketConsumer):
        async def connect(self):
            await self.accept()
            await self.send(str(self.scope["user"]))

    from django.contrib.auth.models import AnonymousUser, User

    async with connect(Whoami, user=User(username="leela")) as socket:
        await socket.expect_text("leela")
    async with connect(Whoami, user=AnonymousUser()) as socket:
        await socket.expect_text("AnonymousUser")
