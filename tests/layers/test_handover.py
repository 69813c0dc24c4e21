from __future__ import annotations

import asyncio
import contextlib
import logging
import threading

import pytest

from raceway.layers.handover import Handover, handover_of


async def test_calls_run_in_the_loop_in_order() -> None:
    handover = Handover(asyncio.get_running_loop())
    ran: list[tuple[int, int]] = []
    thread = threading.Thread(
        target=lambda: [handover(lambda n=n: ran.append((n, threading.get_ident()))) for n in range(50)]
    )
    thread.start()
    thread.join()
    await asyncio.sleep(0)
    assert ran == [(n, threading.get_ident()) for n in range(50)]


async def test_a_burst_wakes_the_loop_once(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    wakes: list[object] = []
    monkeypatch.setattr(loop, "call_soon_threadsafe", lambda *args: wakes.append(args))
    handover = Handover(loop)
    for _ in range(10):
        handover(print)
    assert len(wakes) == 1


async def test_a_thread_waits_for_room_and_then_drops(caplog: pytest.LogCaptureFixture) -> None:
    handover = Handover(asyncio.get_running_loop(), waiting_calls=2, wait_s=0)
    ran: list[int] = []
    with caplog.at_level(logging.WARNING):
        taken = [handover(ran.append, number) for number in range(4)]  # this loop cannot turn meanwhile
    assert taken == [True, True, False, False]
    assert len(caplog.records) == 1
    await asyncio.sleep(0)
    assert ran == [0, 1]
    assert handover(ran.append, 5)


async def test_a_waiting_thread_goes_on_when_there_is_room() -> None:
    handover = Handover(asyncio.get_running_loop(), waiting_calls=1, wait_s=5)
    ran: list[int] = []
    handover(ran.append, 0)
    thread = threading.Thread(target=handover, args=(ran.append, 1))
    thread.start()
    await asyncio.to_thread(thread.join)
    await asyncio.sleep(0)
    assert ran == [0, 1]


async def test_one_failing_call_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    handover = Handover(asyncio.get_running_loop())
    ran: list[int] = []
    handover(int, "x")
    handover(ran.append, 1)
    await asyncio.sleep(0)
    assert ran == [1]
    assert "could not be handed over" in caplog.text


def test_a_closed_loop_takes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.new_event_loop()
    handover = Handover(loop)
    loop.close()
    assert not handover(print)
    assert not handover(print)
    assert len(caplog.records) == 1


def test_a_loop_that_closes_with_calls_waiting_takes_nothing_more(caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.new_event_loop()
    handover = Handover(loop, waiting_calls=2)
    assert handover(print)
    assert handover(print)
    loop.close()
    assert not handover(print)
    assert not handover(print)
    assert "(3 now): the event loop is closed" in caplog.text


async def test_a_loop_has_one() -> None:
    loop = asyncio.get_running_loop()
    assert handover_of(loop) is handover_of(loop)


def test_a_loop_has_one_also_for_threads_that_ask_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.new_event_loop()
    both_look = threading.Barrier(2)

    class Slow(Handover):
        def __init__(self, *args: object) -> None:
            with contextlib.suppress(threading.BrokenBarrierError):
                both_look.wait(0.05)  # breaks if only one makes one at a time
            super().__init__(*args)  # type: ignore[arg-type]

    monkeypatch.setattr("raceway.layers.handover.Handover", Slow)
    got: list[Handover] = []
    threads = [threading.Thread(target=lambda: got.append(handover_of(loop))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    loop.close()
    assert got[0] is got[1]
