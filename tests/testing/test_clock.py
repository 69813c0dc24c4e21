"""A clock that tests can move."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

import tests.project  # noqa: F401  Django's settings
from raceway import clock as raceways
from raceway.consumers import AsyncWebsocketConsumer
from raceway.testing import Clock, connect


class Slow(AsyncWebsocketConsumer):
    async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        await asyncio.sleep(3600)
        await self.send(text_data)


async def test_a_consumer_that_sleeps_for_an_hour() -> None:
    began = time.monotonic()
    with Clock() as clock:
        async with connect(Slow) as socket:
            await socket.send("x")
            await clock.advance(3599)
            await socket.expect_nothing(0.01)
            await clock.advance(1)
            await socket.expect_text("x")
    assert time.monotonic() - began < 5


def test_the_same_without_async() -> None:
    with Clock() as clock, connect(Slow) as socket:
        socket.send("x")
        clock.advance(3599)
        socket.expect_nothing(0.01)
        clock.advance(1)
        socket.expect_text("x")


async def test_timers_run_in_order_each_at_its_own_time() -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    ran: list[tuple[str, int]] = []

    def every_ten() -> None:
        ran.append(("ten", round(loop.time() - began)))
        loop.call_later(10, every_ten)

    with Clock() as clock:
        loop.call_later(10, every_ten)
        loop.call_later(25, lambda: ran.append(("once", round(loop.time() - began))))
        loop.call_later(15, ran.append, ("never", 15)).cancel()
        await clock.advance(35)
        assert ran == [("ten", 10), ("ten", 20), ("once", 25), ("ten", 30)]
        assert clock.moved_s == pytest.approx(35, abs=0.1)


async def test_waits_of_asyncio_end() -> None:
    with Clock() as clock:
        waiting = asyncio.ensure_future(asyncio.wait_for(asyncio.Event().wait(), 60))
        await clock.advance(59)
        assert not waiting.done()
        await clock.advance(2)
        with pytest.raises(TimeoutError):
            await waiting


def test_what_raceway_measures_moves_and_comes_back() -> None:
    before, at = raceways.monotonic(), raceways.now()
    with Clock() as clock:
        clock.advance(100)
        clock.advance(20)
        assert raceways.monotonic() - before == pytest.approx(120, abs=5)
        assert raceways.now() - at == pytest.approx(120, abs=5)
    assert raceways.monotonic() - before == pytest.approx(0, abs=5)


async def test_the_loop_has_its_own_time_again() -> None:
    loop = asyncio.get_running_loop()
    before = loop.time()
    with Clock() as clock:
        await clock.advance(1000)
        assert loop.time() - before > 999
    assert loop.time() - before < 100
    assert "time" not in vars(loop)


async def test_a_timer_that_starts_itself_again_does_not_hold_it_up() -> None:
    loop = asyncio.get_running_loop()
    ran = 0

    def again() -> None:
        nonlocal ran
        ran += 1
        loop.call_later(0, again)

    with Clock() as clock:
        again()
        await asyncio.wait_for(clock.advance(0.05), 5)
    assert ran > 1


async def test_authorization_that_ends() -> None:
    with Clock() as clock:
        async with connect(Slow, scope={"raceway.expires_at": raceways.now() + 60}) as socket:
            await clock.advance(59)
            await socket.expect_nothing(0.01)
            await clock.advance(1)
            await socket.expect_close(4401)


async def test_it_goes_forward_only() -> None:
    with Clock() as clock, pytest.raises(ValueError, match=r"goes forward, not by -1 s"):
        await clock.advance(-1)


def test_a_loop_with_its_own_time_is_refused() -> None:
    uvloop = pytest.importorskip("uvloop")

    async def advance() -> None:
        with Clock() as clock:
            await clock.advance(1)

    with (
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        pytest.raises(RuntimeError, match="use asyncio's event loop"),
    ):
        runner.run(advance())
