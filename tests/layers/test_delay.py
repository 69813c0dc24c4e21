"""Delayed messages of the memory layer; what holds on every layer is in the conformance suite."""

from __future__ import annotations

import asyncio
import math
import threading

import pytest

from raceway import Channel
from raceway.errors import LayerUnavailable
from raceway.layers.configured import channel_layers
from raceway.layers.memory import MemoryLayer
from raceway.layers.spec import decode_event, encode_event
from raceway.testing import Clock, fresh_channel_layers

MESSAGE = encode_event({"type": "work.do"})


class Still:
    """A clock that moves when it is told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_a_receiver_that_waits_already_gets_it_when_it_is_due() -> None:
    with Clock() as clock:
        layer = MemoryLayer()
        receiving = asyncio.ensure_future(layer.receive("work"))
        await layer.start_send_later("work", MESSAGE, 30, "t")
        await clock.advance(29)
        assert not receiving.done()
        await clock.advance(1)
        assert await receiving == {"type": "work.do"}


async def test_an_open_channel_is_handed_it_when_it_is_due() -> None:
    with Clock() as clock:
        layer = MemoryLayer()
        heard: list[object] = []
        layer.open("work", lambda encoded: heard.append(decode_event(encoded)) or True)
        await layer.start_send_later("work", MESSAGE, 5, "t")
        await clock.advance(5)
        assert heard == [{"type": "work.do"}]


async def test_one_that_was_sent_by_a_thread_comes_to_a_loop_that_waits() -> None:
    with Clock() as clock:
        layer = MemoryLayer()
        receiving = asyncio.ensure_future(layer.receive("work"))
        await asyncio.sleep(0)
        sender = threading.Thread(target=layer.send_later_from_thread, args=("work", MESSAGE, 30, "t"))
        sender.start()
        sender.join()
        await clock.advance(30)
        assert await receiving == {"type": "work.do"}


async def test_one_whose_sender_had_a_loop_of_its_own_needs_no_loop_of_its_sender() -> None:
    clock = Still()
    layer = MemoryLayer(clock=clock)
    await asyncio.to_thread(
        lambda: asyncio.run(sent_from_a_loop(layer)),
    )
    clock.now = 30
    async with asyncio.timeout(5):
        assert await layer.receive("work") == {"type": "work.do"}


async def sent_from_a_loop(layer: MemoryLayer) -> None:
    await layer.start_send_later("work", MESSAGE, 30, "t")


async def test_due_ones_come_in_the_order_of_their_times_behind_what_waits_and_are_never_refused() -> None:
    clock = Still()
    layer = MemoryLayer(capacity=1, clock=clock)
    await layer.start_send_later("work", encode_event({"n": 2}), 20, "b")
    await layer.start_send_later("work", encode_event({"n": 1}), 10, "a")
    await layer.send("work", {"n": 0})
    clock.now = 30
    assert [await layer.receive("work") for _ in range(3)] == [{"n": 0}, {"n": 1}, {"n": 2}]


async def test_it_expires_from_when_it_was_due() -> None:
    clock = Still()
    layer = MemoryLayer(expiry=10, clock=clock)
    await layer.start_send_later("work", encode_event({"n": 1}), 100, "a")
    await layer.start_send_later("work", encode_event({"n": 2}), 105, "b")
    clock.now = 112
    assert await layer.receive("work") == {"n": 2}


async def test_it_can_be_cancelled_until_it_is_due() -> None:
    clock = Still()
    layer = MemoryLayer(clock=clock)
    await layer.start_send_later("work", MESSAGE, 10, "a")
    await layer.start_send_later("work", MESSAGE, 10, "b")
    assert not await layer.cancel("other", "a")
    assert await layer.cancel("work", "a")
    assert not layer.cancel_from_thread("work", "a")
    clock.now = 10
    assert not await layer.cancel("work", "b")
    assert (await layer.channel_statistics("work"))["messages_pending"] == 1


async def test_a_flush_forgets_it() -> None:
    clock = Still()
    layer = MemoryLayer(clock=clock)
    await layer.start_send_later("work", MESSAGE, 10, "a")
    await layer.flush()
    clock.now = 10
    assert (await layer.global_statistics())["messages_pending"] == 0


async def test_too_many_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raceway.layers.queues.DELAYED", 1)
    layer = MemoryLayer()
    await layer.start_send_later("work", MESSAGE, 10, "a")
    with pytest.raises(LayerUnavailable, match="delayed messages wait in this process already"):
        layer.send_later_from_thread("work", MESSAGE, 10, "b")


async def test_channel_sends_later_and_takes_back() -> None:
    with Clock() as clock, fresh_channel_layers():
        work = Channel("work")
        layer = channel_layers["default"]
        kept, taken_back = work.send({"n": 1}, delay=10), await work.asend({"n": 2}, delay=10)
        assert kept
        assert taken_back
        assert kept != taken_back
        assert work.send({"n": 0}) is None
        assert await work.acancel(taken_back)
        assert not await asyncio.to_thread(work.cancel, taken_back)
        assert await layer.receive("work") == {"n": 0}
        await clock.advance(10)
        assert not await work.acancel(kept)
        assert await layer.receive("work") == {"n": 1}
        assert (await layer.global_statistics())["messages_pending"] == 0


@pytest.mark.parametrize("delay", [-1, 1.1e9, math.inf, math.nan, "1", True])
def test_a_delay_is_a_number_of_seconds(delay: object) -> None:
    with pytest.raises(ValueError, match=r"delay is a number of seconds from 0 to 1e\+09"):
        Channel("work").send({}, delay=delay)  # type: ignore[arg-type]


async def test_cancel_is_for_threads_without_an_event_loop() -> None:
    with pytest.raises(RuntimeError, match=r"await acancel\(\) instead"):
        Channel("work").cancel("t")
