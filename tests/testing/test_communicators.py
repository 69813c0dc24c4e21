"""The classes that tests written for Channels use (B70, B71, B72), without their faults."""

from __future__ import annotations

import asyncio

import pytest
from django.core.signals import request_finished, request_started
from django.db import close_old_connections

import tests.project  # noqa: F401  Django's settings
from raceway.consumers import AsyncConsumer
from raceway.layers import Group
from raceway.testing import (
    ApplicationCommunicator,
    HttpCommunicator,
    NothingCame,
    WebsocketCommunicator,
    assert_published,
    connect,
)
from raceway.testing.communicators import UNREAD_EVENTS
from tests.testing import consumers


async def repeats(scope, receive, send):
    """Send back each event, until one says ``stop``, or ``fail``."""
    while True:
        event = await receive()
        if event["type"] == "stop":
            return
        if event["type"] == "fail":
            raise ZeroDivisionError("in the application")
        await send(event)


async def test_events_go_in_and_come_out() -> None:
    communicator = ApplicationCommunicator(repeats, {"type": "test"})
    await communicator.send_input({"type": "a"})
    await communicator.send_input({"type": "b"})
    assert await communicator.receive_output() == {"type": "a"}
    assert await communicator.receive_output(timeout=1) == {"type": "b"}
    assert await communicator.receive_nothing(timeout=0.01, interval=0.001)
    await communicator.send_input({"type": "c"})
    assert not await communicator.receive_nothing()
    await communicator.receive_output()
    await communicator.send_input({"type": "stop"})
    await communicator.wait()
    assert communicator.has_ended
    communicator.stop()


async def test_waiting_in_vain_ends_nothing() -> None:
    communicator = ApplicationCommunicator(repeats, {"type": "test"})
    for kind in (TimeoutError, asyncio.TimeoutError, AssertionError, NothingCame):
        with pytest.raises(kind, match=r"sent nothing within 0.001 s"):
            await communicator.receive_output(timeout=0.001)
    await communicator.send_input({"type": "a"})
    assert await communicator.receive_output() == {"type": "a"}
    with pytest.raises(NothingCame, match=r"did not end within 0.001 s; it was cancelled"):
        await communicator.wait(timeout=0.001)
    assert communicator.has_ended
    with pytest.raises(NothingCame, match="has ended: it sends nothing more"):
        await communicator.receive_output()


async def test_every_call_raises_what_the_application_raised() -> None:
    """N9: the traceback is the application's."""
    communicator = ApplicationCommunicator(repeats, {"type": "test"})
    await communicator.send_input({"type": "a"})
    await communicator.send_input({"type": "fail"})
    assert await communicator.receive_output() == {"type": "a"}  # first what was sent before
    for call in (
        communicator.receive_output,
        communicator.receive_nothing,
        communicator.wait,
        lambda: communicator.send_input({"type": "b"}),
    ):
        with pytest.raises(ZeroDivisionError, match="in the application") as caught:
            await call()
        assert caught.traceback[-1].name == "repeats"
        assert [entry.name for entry in caught.traceback].count("repeats") == 1
    with pytest.raises(ZeroDivisionError):
        communicator.stop()
    communicator.stop(exceptions=False)


async def test_who_sends_without_end_waits() -> None:
    sent = 0

    async def floods(scope, receive, send):
        nonlocal sent
        while sent < UNREAD_EVENTS + 20:
            await send({"type": "drop"})
            sent += 1

    communicator = ApplicationCommunicator(floods, {"type": "test"})
    await communicator.receive_output()
    assert UNREAD_EVENTS - 1 <= sent <= UNREAD_EVENTS
    await communicator.receive_output()
    assert not communicator.has_ended
    await communicator.send_input({"type": "test.disconnect"})
    await communicator.wait()


async def test_stop_cancels() -> None:
    ApplicationCommunicator(repeats, {"type": "test"}).stop()  # nothing to stop
    communicator = ApplicationCommunicator(repeats, {"type": "test"})
    await communicator.receive_nothing(timeout=0)
    communicator.stop()
    await communicator.wait()
    assert communicator.has_ended


async def test_a_websocket() -> None:
    communicator = WebsocketCommunicator(
        consumers.Choosy.as_asgi(), "/x/?a=1", headers=[(b"Origin", b"http://moon")], subprotocols=["a", "b"]
    )
    assert communicator.scope["query_string"] == b"a=1"
    assert communicator.scope["headers"] == [(b"origin", b"http://moon")]
    assert await communicator.connect() == (True, "b")
    assert communicator.response_headers == [(b"x-moon", b"full")]
    await communicator.disconnect()
    assert communicator.has_ended


async def test_messages_both_ways() -> None:
    """V29b: ``send_to("")`` is possible."""
    communicator = WebsocketCommunicator(consumers.Echo, "/")
    assert await communicator.connect(timeout=1) == (True, None)
    await communicator.send_to(text_data="hello")
    assert await communicator.receive_from() == "hello"
    await communicator.send_to("")
    assert await communicator.receive_from() == ""
    await communicator.send_to(bytes_data=b"")
    assert await communicator.receive_from() == b""
    await communicator.send_json_to({"a": [1]})
    assert await communicator.receive_json_from(timeout=1) == {"a": [1]}
    await communicator.send_to(bytes_data=b"{}")
    with pytest.raises(AssertionError, match="the message is binary"):
        await communicator.receive_json_from()
    await communicator.disconnect(code=1001)


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({}, ValueError),
        ({"text_data": "x", "bytes_data": b"x"}, ValueError),
        ({"text_data": b"x"}, TypeError),
    ],
)
async def test_what_cannot_be_sent(arguments: dict[str, object], kind: type[Exception]) -> None:
    communicator = WebsocketCommunicator(consumers.Echo, "/")
    with pytest.raises(kind):
        await communicator.send_to(**arguments)


async def test_a_refusal() -> None:
    communicator = WebsocketCommunicator(consumers.Refusing, "/")
    assert await communicator.connect() == (False, 4003)
    await communicator.wait()
    assert await WebsocketCommunicator(consumers.answers_404, "/").connect() == (False, 404)


async def test_the_spec_version_is_in_its_place() -> None:
    """V29b"""
    assert WebsocketCommunicator(repeats, "/").scope["asgi"]["spec_version"] == "2.5"
    scope = WebsocketCommunicator(repeats, "/", spec_version="2.3").scope
    assert scope["asgi"]["spec_version"] == "2.3"
    assert "spec_version" not in scope


async def test_the_end_of_a_websocket_says_what_went_wrong() -> None:
    communicator = WebsocketCommunicator(consumers.Broken, "/")
    await communicator.connect()
    await communicator.send_to("x")
    with pytest.raises(ZeroDivisionError):
        await communicator.receive_from()
    with pytest.raises(ZeroDivisionError):
        await communicator.disconnect()


async def test_a_message_of_another_type() -> None:
    communicator = WebsocketCommunicator(repeats, "/")
    with pytest.raises(AssertionError, match=r"Expected 'websocket.accept' or"):
        await communicator.connect()
    await communicator.send_input({"type": "websocket.close"})
    with pytest.raises(AssertionError, match=r"Expected type 'websocket.send', but was \{'type'"):
        await communicator.receive_from()
    communicator.stop()


async def test_a_request() -> None:
    async def application(scope, receive, send):
        request = await receive()
        body = (
            f"{scope['method']} {scope['path']} {scope['query_string'].decode()} {request['body'].decode()}"
        )
        await send({"type": "http.response.start", "status": 201, "headers": [(b"a", b"b")]})
        await send({"type": "http.response.body", "body": body.encode(), "more_body": True})
        await send({"type": "http.response.body", "body": b"!"})
        assert (await receive())["type"] == "http.disconnect"

    communicator = HttpCommunicator(application, "post", "/x/?y=1", body=b"abc", headers={"X-A": "b"})
    assert communicator.scope["headers"] == [(b"x-a", b"b")]
    assert await communicator.get_response() == {
        "status": 201,
        "headers": [(b"a", b"b")],
        "body": b"POST /x/ y=1 abc!",
    }
    with pytest.raises(TypeError, match="body is bytes"):
        HttpCommunicator(application, "POST", "/", body="text")  # type: ignore[arg-type]


async def test_a_request_to_the_project() -> None:
    response = await HttpCommunicator(None, "GET", "/hello/", headers={"host": "testserver"}).get_response()
    assert (response["status"], response["body"]) == (200, b"hello")


async def test_a_consumer_of_a_named_channel() -> None:
    class Thumbnails(AsyncConsumer):
        async def make(self, event):
            await Group("thumbnails").asend({"type": "made", "id": event["id"]})

    communicator = ApplicationCommunicator(Thumbnails, {"type": "channel", "channel": "thumbnails"})
    with assert_published("thumbnails", {"type": "made", "id": 1}):
        await communicator.send_input({"type": "make", "id": 1})
        assert await communicator.receive_nothing(0.01)
    communicator.stop()
    await communicator.wait()


async def test_requests_close_no_connections_meanwhile() -> None:
    """N7: they are the test's own."""

    def closers() -> int:
        return sum(
            receiver() is close_old_connections
            for signal in (request_started, request_finished)
            for (_, receiver, *_) in signal.receivers
        )

    assert closers() == 2
    async with connect(consumers.Echo):
        async with connect(consumers.Echo):
            await asyncio.sleep(0)
            assert closers() == 0
        assert closers() == 0
    assert closers() == 2
