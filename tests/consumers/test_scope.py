"""What middleware asks of the runtime through the scope: groups, and an end of authorization."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from raceway import Group, clock
from raceway.consumers import AsyncWebsocketConsumer
from raceway.done import DONE
from raceway.layers import channel_layers
from raceway.layers.memory import MemoryLayer
from tests.consumers.conftest import Open
from tests.consumers.driver import members, settle

GROUPS = ["raceway.user.7", "raceway.session.abc"]


async def test_it_is_in_the_groups_of_its_scope_from_beginning_to_end(
    open_socket: Open, layer: MemoryLayer
) -> None:
    class Quiet(AsyncWebsocketConsumer):
        async def connect(self):
            assert [members(layer, group) for group in GROUPS] == [[self.channel_name]] * 2
            await super().connect()

    socket = open_socket(Quiet, **{"raceway.groups": GROUPS})
    await socket.connect()
    await Group("raceway.user.7").abroadcast("hello")
    assert await socket.text() == "hello"
    await socket.goodbye()
    assert [members(layer, group) for group in GROUPS] == [[], []]


async def test_leaving_what_the_class_joined_does_not_leave_the_scopes_group(
    open_socket: Open, layer: MemoryLayer
) -> None:
    class Joining(AsyncWebsocketConsumer):
        async def connect(self):
            Group("raceway.user.7").add(self.channel_name)
            Group("raceway.user.7").discard(self.channel_name)
            await super().connect()

    socket = open_socket(Joining, **{"raceway.groups": GROUPS})
    await socket.connect()
    assert len(members(layer, "raceway.user.7")) == 1


async def test_without_a_layer_the_groups_of_the_scope_are_nothing(open_socket: Open) -> None:
    class Alone(AsyncWebsocketConsumer):
        channel_layer_alias = "missing"

    channel_layers.set("missing", None)
    socket = open_socket(Alone, **{"raceway.groups": GROUPS})
    assert await socket.connect() == {"type": "websocket.accept"}
    await socket.goodbye()


class Timed(AsyncWebsocketConsumer):
    codes: list[int]

    async def disconnect(self, code):
        self.codes.append(code)


async def test_a_socket_is_closed_with_4401_when_its_authorization_ends(open_socket: Open) -> None:
    Timed.codes = []
    socket = open_socket(Timed, **{"raceway.expires_at": clock.now() + 0.02})
    await socket.connect()
    assert await socket.next() == {"type": "websocket.close", "code": 4401, "reason": "expired"}
    await socket.end()
    assert Timed.codes == [4401]


async def test_what_has_expired_already_is_refused(open_socket: Open) -> None:
    class Waiting(AsyncWebsocketConsumer):
        async def connect(self):
            await asyncio.Event().wait()

        disconnect_grace_s = 0

    socket = open_socket(Waiting, **{"raceway.expires_at": clock.now() - 100})
    assert (await socket.connect())["type"] == "websocket.close"
    socket.leave()
    await socket.end()


async def test_the_clock_that_tests_move_decides_and_the_timer_ends_with_the_connection(
    open_socket: Open,
) -> None:
    class Quiet(AsyncWebsocketConsumer): ...

    asked: list[Any] = []
    loop = asyncio.get_running_loop()
    call_later = loop.call_later

    def remember(delay: float, *args: Any, **kwargs: Any) -> Any:
        handle = call_later(delay, *args, **kwargs)
        asked.append((delay, handle))
        return handle

    expires_at = clock.now() + 5000
    clock.move(1000)
    loop.call_later = remember  # type: ignore[method-assign]
    try:
        socket = open_socket(Quiet, **{"raceway.expires_at": expires_at})
        await socket.connect()
        await settle()
    finally:
        del loop.call_later
        clock.move(-1000)
    ((delay, handle),) = [(delay, handle) for delay, handle in asked if delay > 100]
    assert 3990 < delay <= 4000
    await socket.goodbye()
    assert handle.cancelled()


@pytest.mark.parametrize("expires_at", [None, "tomorrow"])
async def test_a_connection_that_cannot_be_opened_leaves_no_channel(
    expires_at: str | None, open_socket: Open, layer: MemoryLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start_join(group: str, channel: str) -> Any:
        opened.append(channel)
        if expires_at is None:
            raise ConnectionError("the broker is away")
        return DONE

    opened: list[str] = []
    monkeypatch.setattr(layer, "start_join", start_join)
    socket = open_socket(
        AsyncWebsocketConsumer, **{"raceway.groups": GROUPS, "raceway.expires_at": expires_at}
    )
    socket.start()
    with pytest.raises((ConnectionError, TypeError)):
        await socket.end()
    assert opened
    assert all(layer._part_of(channel) is None for channel in opened)
