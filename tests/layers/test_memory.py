"""What only the memory layer can be asked; the contract itself is in ``tests/conformance``."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from raceway.errors import MessageTooLarge
from raceway.layers.memory import MemoryLayer
from raceway.layers.spec import decode_event
from raceway.prepared import PreparedMessage


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Listener:
    """A channel opened with deliver, and what it has heard."""

    def __init__(self, layer: MemoryLayer, name: str | None = None) -> None:
        self.layer = layer
        self.heard: list[Any] = []
        self.name = name or layer.new_channel_name()
        layer.open(self.name, self.deliver)

    def deliver(self, encoded: bytes) -> bool:
        self.heard.append(decode_event(encoded))
        return True


async def test_names_are_checked(layer: MemoryLayer) -> None:
    for call in (
        layer.send("a b", {}),
        layer.receive("a b"),
        layer.group_add("a!", "c"),
        layer.group_add("g", "a b"),
        layer.group_discard("g", "a b"),
        layer.group_send("a b", {}),
    ):
        with pytest.raises(TypeError, match="name must be"):
            await call


def test_code_written_for_channels_4_finds_its_checks_of_names(layer: MemoryLayer) -> None:
    assert layer.require_valid_channel_name("p!a")
    assert layer.require_valid_channel_name("p!", receive=True)
    assert layer.require_valid_group_name("g")
    assert layer.valid_channel_names(["a", "p!"], receive=True)
    for check in (
        lambda: layer.require_valid_channel_name("p!"),
        lambda: layer.require_valid_group_name("p!a"),
        lambda: layer.valid_channel_names(["a", "p!"]),
    ):
        with pytest.raises(TypeError, match="name must be"):
            check()


async def test_channels_that_nobody_reads_do_not_stay() -> None:
    clock = Clock()
    layer = MemoryLayer(expiry=10, clock=clock)
    for number in range(100):
        await layer.send(f"dead.{number}", {})
    clock.now = 11
    for _ in range(60):
        await layer.send("alive", {})
    assert len(layer._queues) == 1


async def test_a_message_can_be_too_large(layer: MemoryLayer) -> None:
    layer = MemoryLayer(max_message_bytes=100)
    with pytest.raises(MessageTooLarge):
        await layer.send("work", {"data": b"x" * 100})
    with pytest.raises(layer.MessageTooLarge):
        await layer.group_send("g", {"type": "websocket.send", "text": "x" * 101})
    await layer.group_send("g", {"type": "websocket.send", "text": "x" * 100})


async def test_what_is_received_by_prefix_or_by_name_is_received_once(layer: MemoryLayer) -> None:
    for name in ("p!a", "p!b", "p!a", "p!b"):
        await layer.send(name, {"to": name})
    assert await layer.receive("p!b") == {"to": "p!b"}
    assert await layer.receive("p!") == {"to": "p!a", "__asgi_channel__": "p!a"}
    assert await layer.receive("p!a") == {"to": "p!a"}
    assert await layer.receive("p!") == {"to": "p!b", "__asgi_channel__": "p!b"}
    assert len(layer._queues) == 0


async def test_what_has_expired_is_not_received_by_prefix() -> None:
    clock = Clock()
    layer = MemoryLayer(expiry=10, clock=clock)
    await layer.send("p!a", {"n": 1})
    clock.now = 5
    await layer.send("p!b", {"n": 2})
    clock.now = 10
    assert (await layer.receive("p!"))["n"] == 2
    assert len(layer._queues) == 0


async def test_a_prefix_receiver_that_is_cancelled_leaves_its_message_to_others(layer: MemoryLayer) -> None:
    by_prefix = asyncio.create_task(layer.receive("p!"))
    await asyncio.sleep(0)
    await layer.send("p!a", {"n": 1})  # wakes the first ...
    by_name = asyncio.create_task(layer.receive("p!b"))
    other = asyncio.create_task(layer.receive("p!"))
    by_prefix.cancel()  # ... which will not take it
    assert (await other)["n"] == 1
    by_name.cancel()
    await asyncio.gather(by_prefix, by_name, return_exceptions=True)


async def test_a_receiver_of_the_name_goes_before_one_of_the_prefix(layer: MemoryLayer) -> None:
    by_prefix, by_name = (asyncio.create_task(layer.receive(name)) for name in ("p!", "p!a"))
    await asyncio.sleep(0)
    await layer.send("p!a", {"n": 1})
    await layer.send("p!a", {"n": 2})
    assert await by_name == {"n": 1}
    assert await by_prefix == {"n": 2, "__asgi_channel__": "p!a"}


async def test_a_channel_that_is_waited_for_cannot_be_opened(layer: MemoryLayer) -> None:
    waiting = asyncio.create_task(layer.receive("work"))
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match=r"Somebody waits in receive\('work'\)"):
        layer.open("work", lambda encoded: True)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    layer.open("work", lambda encoded: True)


def test_a_channel_that_is_open_in_another_loop_cannot_be_opened(layer: MemoryLayer) -> None:
    loop = asyncio.new_event_loop()

    async def listen() -> None:
        layer.open("work", lambda encoded: True)

    loop.run_until_complete(listen())
    with pytest.raises(ValueError, match="open already"):
        asyncio.run(listen())
    loop.close()
    asyncio.run(listen())


async def test_what_an_opened_channel_has_no_room_for_is_dropped_and_counted(layer: MemoryLayer) -> None:
    for number in range(3):
        await layer.send("work", {"n": number})
    heard: list[bytes] = []
    layer.open("work", lambda encoded: len(heard) < 2 and heard.append(encoded) is None)
    assert [decode_event(encoded)["n"] for encoded in heard] == [0, 1]
    assert layer.full_count == 1


async def test_a_channel_opened_between_the_look_and_the_put_gets_the_message(
    layer: MemoryLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[bytes] = []
    deliver_here = layer.deliver_here

    def too_early(channel: str, message: Any) -> bool:
        delivered = deliver_here(channel, message)
        monkeypatch.undo()
        layer.open("work", lambda encoded: heard.append(encoded) is None)
        return delivered

    monkeypatch.setattr(layer, "deliver_here", too_early)
    await layer.send("work", {"n": 1})
    assert [decode_event(encoded) for encoded in heard] == [{"n": 1}]


# Groups


async def test_a_named_member_stays_one_when_its_listener_goes(layer: MemoryLayer) -> None:
    first = Listener(layer, "work")
    await layer.group_add("g", "work")
    layer.close("work")
    await layer.group_send("g", {"n": 1})
    second = Listener(layer, "work")
    await layer.group_send("g", {"n": 2})
    assert (first.heard, second.heard) == ([], [{"n": 1}, {"n": 2}])


async def test_groups_that_nobody_asks_for_do_not_stay() -> None:
    clock = Clock()
    layer = MemoryLayer(group_expiry=10, clock=clock)
    for number in range(100):
        layer.add_channel(f"dead.{number}", "work")
    clock.now = 11
    for number in range(60):
        layer.add_channel("alive", f"work.{number}")
    assert len(layer._named) == 1


async def test_client_messages_are_one_object_for_all_sockets(layer: MemoryLayer) -> None:
    pushed: list[PreparedMessage] = []
    for _ in range(3):
        name = layer.new_channel_name()
        layer.open(name, lambda encoded: True, lambda message, policy, key: pushed.append(message))
        await layer.group_add("g", name)
    await layer.group_send("g", {"type": "websocket.send", "text": "x"})
    assert len(pushed) == 3
    assert len(set(map(id, pushed))) == 1


# Threads and loops


def in_thread(function: Any, *args: Any) -> None:
    thread = threading.Thread(target=function, args=args)
    thread.start()
    thread.join()


async def test_threads_send_without_a_loop_and_in_order(layer: MemoryLayer) -> None:
    ears = Listener(layer)
    await layer.group_add("g", ears.name)

    def publish() -> None:
        for number in range(100):
            layer.publish_from_thread("g", layer.prepare({"n": number}))

    in_thread(publish)
    assert ears.heard == []  # the loop's thread does the work
    await asyncio.sleep(0)
    assert ears.heard == [{"n": number} for number in range(100)]


def test_messages_wait_for_a_loop_that_comes_later(layer: MemoryLayer) -> None:
    layer.send_from_thread("work", layer.prepare({"n": 1}))
    assert asyncio.run(layer.receive("work")) == {"n": 1}


def test_each_loop_has_its_own_members_and_a_closed_one_is_forgotten(layer: MemoryLayer) -> None:
    async def listen() -> Listener:
        ears = Listener(layer)
        await layer.group_add("g", ears.name)
        await layer.group_send("g", {"n": 1})
        return ears

    first = asyncio.run(listen())
    second = asyncio.run(listen())
    assert first.heard == second.heard == [{"n": 1}]
    layer.publish_from_thread("g", layer.prepare({"n": 2}))
    assert not layer._parts


def test_a_loop_without_channels_is_not_told_of_what_is_sent_to_groups(layer: MemoryLayer) -> None:
    """As those that ``async_to_sync`` makes by the dozen, and closes while others send."""

    async def opened_and_closed() -> None:
        layer.close(Listener(layer).name)

    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(opened_and_closed())
        layer.publish_from_thread("g", layer.prepare({"type": "n"}))
        [part] = layer._live_parts()
        assert not part.handover._calls
    finally:
        loop.close()


def test_two_threads_may_find_a_closed_loop_at_once(layer: MemoryLayer) -> None:
    async def listen() -> None:
        Listener(layer)

    second = asyncio.new_event_loop()
    first = asyncio.new_event_loop()
    second.run_until_complete(listen())
    first.run_until_complete(listen())
    one, other = layer._live_parts(), layer._live_parts()
    assert next(one) is next(other)
    first.close()
    assert list(one) == list(other) == []
    second.close()
