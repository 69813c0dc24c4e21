"""Consumers that are one function."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import pytest

from raceway import Channel, Group
from raceway.consumers import AsyncWebsocketConsumer, Socket, handlers, runtime, websocket_consumer
from raceway.consumers.functions import is_function_consumer
from raceway.errors import ClientDisconnected, DenyConnection, InvalidChannelLayerError
from raceway.layers.memory import MemoryLayer
from tests.consumers.conftest import Open
from tests.consumers.driver import members, settle
from tests.waiting import until


@websocket_consumer
async def echo(socket: Socket) -> None:
    async for message in socket:
        await socket.send(message)


async def test_an_echo(open_socket: Open) -> None:
    socket = open_socket(echo)
    assert await socket.connect() == {"type": "websocket.accept"}
    for message in ("hello", "", b"raw", b""):
        socket.say(message)
        assert await socket.text() == message
    await socket.goodbye()


async def test_it_knows_its_connection(open_socket: Open, layer: MemoryLayer) -> None:
    @websocket_consumer
    async def about(socket):
        await socket.accept("v2", headers=[(b"x-a", b"b")])
        await socket.send(
            [socket.scope["path"], socket.user, socket.kwargs, socket.channel_name in members(layer)]
        )

    route = {"url_route": {"args": (), "kwargs": {"room": "kitchen"}}}
    socket = open_socket(about, path="/here", user="leela", **route, **{"raceway.groups": ["room"]})
    assert await socket.connect() == {
        "type": "websocket.accept",
        "subprotocol": "v2",
        "headers": [(b"x-a", b"b")],
    }
    assert await socket.text() == '["/here","leela",{"room":"kitchen"},true]'


async def test_without_a_route_kwargs_are_empty(open_socket: Open) -> None:
    @websocket_consumer
    async def about(socket):
        await socket.send(socket.kwargs)

    socket = open_socket(about)
    await socket.connect()
    assert await socket.text() == "{}"


@pytest.mark.parametrize("first", ["receive", "send", "iterate"])
async def test_accepting_happens_by_itself(open_socket: Open, first: str) -> None:
    @websocket_consumer
    async def quick(socket):
        if first == "receive":
            await socket.receive()
        elif first == "send":
            await socket.send("x")
        else:
            async for _ in socket:
                pass

    assert await open_socket(quick).connect() == {"type": "websocket.accept"}


@pytest.mark.parametrize("how", ["return", "close", "deny"])
async def test_what_was_never_accepted_is_refused(open_socket: Open, how: str) -> None:
    @websocket_consumer
    async def refusing(socket):
        if how == "close":
            await socket.close()
        elif how == "deny":
            raise DenyConnection

    socket = open_socket(refusing)
    assert await socket.connect() == {"type": "websocket.close"}
    await socket.end()


async def test_returning_closes(open_socket: Open, layer: MemoryLayer) -> None:
    @websocket_consumer
    async def one(socket):
        socket.join("room")
        assert await socket.receive() == "x"

    socket = open_socket(one)
    await socket.connect()
    socket.say("x")
    assert await socket.next() == {"type": "websocket.close"}
    await socket.end()
    assert members(layer) == []


async def test_close_with_code_and_reason_ends_iteration(open_socket: Open) -> None:
    ended: list[str] = []

    @websocket_consumer
    async def closing(socket):
        async for message in socket:
            await socket.close(4000, message)
            with pytest.raises(ClientDisconnected):
                await socket.send("late")
        ended.append("iteration")
        with pytest.raises(ClientDisconnected):
            await socket.receive()

    socket = open_socket(closing)
    await socket.connect()
    socket.say("enough")
    socket.say("not heard")
    assert await socket.next() == {"type": "websocket.close", "code": 4000, "reason": "enough"}
    await socket.end()
    assert ended == ["iteration"]


# The end


async def test_a_disconnect_ends_iteration_at_once_behind_what_was_said(open_socket: Open) -> None:
    log: list[Any] = []

    @websocket_consumer
    async def listening(socket):
        async for message in socket:
            log.append(message)
            await asyncio.sleep(0)
        log.append(("closed", socket.closed))

    socket = open_socket(listening)
    await socket.connect()
    await settle()
    socket.say("1")
    socket.say("2")
    await socket.goodbye()
    assert log == ["1", "2", ("closed", True)]


async def test_receive_raises_when_the_client_has_gone(open_socket: Open) -> None:
    @websocket_consumer
    async def listening(socket):
        await socket.receive()

    socket = open_socket(listening)
    await socket.connect()
    await socket.goodbye()  # and the connection ends quietly


@pytest.mark.parametrize("where", ["elsewhere", "iterating"])
async def test_it_has_a_grace_to_finish_and_is_cancelled_then(
    open_socket: Open, where: str, monkeypatch: pytest.MonkeyPatch, layer: MemoryLayer
) -> None:
    monkeypatch.setattr(Socket, "disconnect_grace_s", 0.02)
    log: list[str] = []

    @websocket_consumer
    async def stuck(socket):
        socket.join("room")
        if where == "iterating":
            async for _ in socket:
                pass
        else:
            await socket.accept()
        log.append("began")
        try:
            await asyncio.Event().wait()
        finally:
            log.append("cancelled")

    socket = open_socket(stuck)
    await socket.connect()
    await settle()
    socket.leave()
    await until(lambda: "began" in log)
    await settle()
    assert log == ["began"]
    await socket.end()
    assert log == ["began", "cancelled"]
    assert members(layer) == []


async def test_an_exception_is_raised_for_the_server(open_socket: Open, layer: MemoryLayer) -> None:
    @websocket_consumer
    async def failing(socket):
        socket.join("room")
        await socket.receive()
        raise ZeroDivisionError

    socket = open_socket(failing)
    await socket.connect()
    socket.say("x")
    with pytest.raises(ZeroDivisionError):
        await socket.end()
    assert members(layer) == []


async def test_a_client_that_was_never_there(open_socket: Open) -> None:
    async def unused(socket):
        raise AssertionError

    socket = open_socket(websocket_consumer(unused))
    socket.put({"type": "websocket.disconnect", "code": 1006})
    socket.start()
    await socket.end()


async def test_one_that_raises_client_disconnected_itself_is_closed(open_socket: Open) -> None:
    @websocket_consumer
    async def odd(socket):
        await socket.accept()
        raise ClientDisconnected

    socket = open_socket(odd)
    await socket.connect()
    assert await socket.next() == {"type": "websocket.close"}
    await socket.end()


async def test_the_session_is_saved_when_the_handshake_is_over_and_at_the_end(open_socket: Open) -> None:
    saved: list[str] = []

    async def save() -> None:
        saved.append("saved")

    socket = open_socket(echo, **{"raceway.save": save})
    await socket.connect()
    await settle()
    assert saved == ["saved"]
    for _ in range(2):
        socket.say("x")
        await socket.text()
    assert saved == ["saved"]
    await socket.goodbye()
    assert saved == ["saved", "saved"]


# Groups


async def test_groups(open_socket: Open, layer: MemoryLayer) -> None:
    @websocket_consumer
    async def chat(socket):
        await socket.join("room")
        async for message in socket:
            if message == "leave":
                await socket.leave(Group("room"))
            else:
                await socket.group_send("room", {"text": message})

    first, second = open_socket(chat), open_socket(chat)
    for socket in (first, second):
        await socket.connect()
    await settle()
    first.say("hello")
    assert await first.text() == await second.text() == "hello"
    first.say("leave")
    await until(lambda: len(members(layer)) == 1)
    await first.goodbye()
    await second.goodbye()
    assert members(layer) == []


async def test_joining_needs_a_layer_and_a_name(open_socket: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    errors: list[Exception] = []

    @websocket_consumer
    async def joining(socket):
        for name in ("no good", "room"):
            try:
                await socket.join(name)
            except (TypeError, InvalidChannelLayerError) as error:
                errors.append(error)

    monkeypatch.setattr(Socket, "channel_layer_alias", "missing")
    await open_socket(joining).connect()
    assert [type(error) for error in errors] == [TypeError, InvalidChannelLayerError]


async def test_events_have_no_handler_here(
    open_socket: Open, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handlers, "_unknown_types", set())

    async def listening(socket):
        socket.join("room")
        async for message in socket:
            await socket.send(message)

    socket = open_socket(websocket_consumer(listening))
    await socket.connect()
    await settle()
    for _ in range(3):
        await Group("room").asend({"type": "chat.message"})
        await Group("room").asend({"type": "websocket.send", "text": "sent", "more": 1})
    assert [await socket.text() for _ in range(3)] == ["sent"] * 3
    socket.say("x")
    assert await socket.text() == "x"
    assert caplog.text.count("listening has no handler for messages of type 'chat.message'") == 1


async def test_events_that_are_dropped_make_room(
    open_socket: Open, layer: MemoryLayer, caplog: pytest.LogCaptureFixture
) -> None:
    layer.capacity = 2

    @websocket_consumer
    async def listening(socket):
        socket.join("room")
        async for message in socket:
            await socket.send(message)

    socket = open_socket(listening)
    await socket.connect()
    for _ in range(5):
        await settle()
        await Group("room").asend({"type": "nobody"})
    assert "mailbox" not in caplog.text


async def test_a_client_message_finds_it_busy(open_socket: Open) -> None:
    @websocket_consumer
    async def busy(socket):
        await socket.send(socket.channel_name)
        await asyncio.Event().wait()

    socket = open_socket(busy)
    await socket.connect()
    await Channel(await socket.text()).asend({"text": "now"})
    assert await socket.text() == "now"


# Back-pressure and concurrency


async def test_reading_stops_while_it_is_behind(open_socket: Open) -> None:
    go_on = asyncio.Event()
    heard: list[str] = []

    @websocket_consumer
    async def slow(socket):
        async for message in socket:
            heard.append(message)
            await go_on.wait()

    socket = open_socket(slow)
    await socket.connect()
    await settle()
    drained = socket.drained
    for number in range(100):
        socket.say(str(number))
    await settle()
    if socket.lane:
        assert socket.drained == drained
    else:
        assert socket._queue.qsize() >= 100 - runtime.PUMPED_EVENTS - 1
    go_on.set()
    await until(lambda: len(heard) == 100)
    await settle()
    if socket.lane:
        assert socket.drained == drained + 1


async def test_a_wait_that_is_cancelled_loses_nothing(open_socket: Open) -> None:
    @websocket_consumer
    async def patient(socket):
        for _ in range(3):
            try:
                await asyncio.wait_for(socket.receive(), 0.001)
            except TimeoutError:
                await socket.send("waiting")
        await socket.send(await socket.receive())

    socket = open_socket(patient)
    await socket.connect()
    assert [await socket.text() for _ in range(3)] == ["waiting"] * 3
    socket.say("x")
    assert await socket.text() == "x"


async def test_two_tasks_cannot_wait_for_the_same_message(open_socket: Open) -> None:
    @websocket_consumer
    async def greedy(socket):
        first = asyncio.ensure_future(socket.receive())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="Another task waits"):
            await socket.receive()
        await socket.send(await first)

    socket = open_socket(greedy)
    await socket.connect()
    await settle()
    socket.say("x")
    assert await socket.text() == "x"


# What counts as one


def test_only_async_def_can_be_a_consumer() -> None:
    def view(request): ...

    with pytest.raises(TypeError, match="write async def"):
        websocket_consumer(view)


def test_what_is_a_function_consumer() -> None:
    async def one(socket, more=None): ...

    async def asgi(scope, receive, send): ...

    class Callable:
        async def __call__(self, socket): ...

    assert is_function_consumer(one)
    assert is_function_consumer(Callable())
    assert is_function_consumer(functools.partial(asgi, 1, 2))
    assert websocket_consumer(Callable())
    for other in (asgi, echo, AsyncWebsocketConsumer, AsyncWebsocketConsumer.as_asgi(), None, dict):
        assert not is_function_consumer(other)


async def test_a_function_that_may_have_missed_messages_begins_anew(
    open_socket: Open, layer: MemoryLayer
) -> None:
    @websocket_consumer
    async def listen(socket):
        await socket.join("room")
        async for _ in socket:
            pass

    socket = open_socket(listen)
    await socket.connect()
    await settle()
    layer.tell_gap("the broker was lost")
    closing = await socket.next()
    assert (closing["type"], closing["code"]) == ("websocket.close", 1012)
