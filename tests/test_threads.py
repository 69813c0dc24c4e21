"""The threads that are lent: one call at a time for each borrower, few of them, and their database connections."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from contextvars import ContextVar
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.test import override_settings

import tests.project  # noqa: F401  Django's settings
from raceway.database import close_old_connections
from raceway.threads import LentThread, enter_threads, leave_threads, run_lent, shared_pool
from tests.waiting import eventually


def test_a_lent_thread_runs_one_call_at_a_time() -> None:
    lent, running = LentThread(), threading.Lock()

    def call(number: int) -> int:
        assert running.acquire(blocking=False), "two calls at a time"
        time.sleep(0.0001)  # another thread would come in
        running.release()
        return number

    futures = [lent.submit(call, number) for number in range(50)]
    assert [future.result(5) for future in futures] == list(range(50))


def test_a_lent_thread_survives_failures_and_cancelled_calls() -> None:
    lent, go_on = LentThread(), threading.Event()
    first = lent.submit(go_on.wait, 5)
    cancelled = lent.submit(print)
    failing = lent.submit(int, "x")
    last = lent.submit(int, "7")
    assert cancelled.cancel()
    go_on.set()
    assert first.result(5)
    with pytest.raises(ValueError, match="invalid literal"):
        failing.result(5)
    assert last.result(5) == 7
    lent.shutdown()
    assert lent.submit(int, "8").result(5) == 8


def test_a_changed_setting_makes_another_pool() -> None:
    before = shared_pool()
    with override_settings(RACEWAY={"SYNC_THREADS": 2}):
        assert shared_pool()._max_workers == 2
    assert shared_pool()._max_workers == before._max_workers == 32


def test_stop_iteration_in_a_handler_is_an_error_like_any_other() -> None:
    """A future takes no StopIteration: whoever waited for it would wait for ever."""
    future = LentThread().submit(lambda password: next(iter([])), "secret")
    with pytest.raises(RuntimeError, match="StopIteration") as raised:
        future.result(5)
    assert "secret" not in str(raised.value)


class Closings:
    """Closes old database connections, and tells who did it, of the threads of this test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.threads: queue.SimpleQueue[int] = queue.SimpleQueue()
        monkeypatch.setattr("raceway.threads.close_old_connections", self)

    def __call__(self) -> None:
        close_old_connections()  # a thread of an earlier test may just have ended its rest
        if shared_pool() in POOLS_OF_THREADS.get(threading.get_ident(), ()):
            self.threads.put(threading.get_ident())

    def next(self) -> int:
        return self.threads.get(timeout=5)


POOLS_OF_THREADS: dict[int, set[Any]] = {}


def who() -> int:
    """The thread that was lent; a thread of an earlier test may still be on its way home."""
    POOLS_OF_THREADS.setdefault(threading.get_ident(), set()).add(shared_pool())
    return threading.get_ident()


def test_calls_that_follow_closely_keep_their_thread_and_its_database_connections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("raceway.threads.REST_S", 5.0)
    closings = Closings(monkeypatch)
    with override_settings(RACEWAY={"SYNC_THREADS": 2}):
        thread = LentThread()
        first = thread.submit(who).result(5)
        eventually(lambda: shared_pool().resting)
        assert thread.submit(who).result(5) == first
        assert closings.threads.empty()


def test_a_thread_at_rest_goes_to_the_next_borrower_with_its_database_connections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("raceway.threads.REST_S", 5.0)
    closings = Closings(monkeypatch)
    with override_settings(RACEWAY={"SYNC_THREADS": 2}):
        first = LentThread().submit(who).result(5)
        eventually(lambda: shared_pool().resting)
        assert LentThread().submit(who).result(5) == first
        assert closings.threads.empty()
        eventually(lambda: shared_pool().resting)
        monkeypatch.setattr("raceway.threads.REST_S", 0.0)
        assert LentThread().submit(who).result(5) == first
        assert closings.next() == first
        eventually(lambda: not shared_pool().resting)
        assert LentThread().submit(int, "7").result(5) == 7


def test_who_waits_for_a_thread_gets_its_database_connections_too(monkeypatch: pytest.MonkeyPatch) -> None:
    closings, go_on = Closings(monkeypatch), threading.Event()
    with override_settings(RACEWAY={"SYNC_THREADS": 1}):
        first = LentThread().submit(lambda: go_on.wait(5) and who())
        second = LentThread().submit(who)
        go_on.set()
        assert first.result(5) == second.result(5) == closings.next()
        assert closings.threads.empty()  # it was closed once, after both


def test_a_thread_is_given_back_when_no_call_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    closings = Closings(monkeypatch)
    with override_settings(RACEWAY={"SYNC_THREADS": 1}):
        thread = LentThread()
        for _ in range(3):
            assert thread.submit(who).result(5) == closings.next()
        assert LentThread().submit(int, "7").result(5) == 7


def test_a_thread_that_is_done_takes_who_waits_and_closes_its_connections_after_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Otherwise it might go idle, its connections open, while another thread is started for who waits."""
    closings, go_on = Closings(monkeypatch), threading.Event()
    with override_settings(RACEWAY={"SYNC_THREADS": 2}):
        first = LentThread().submit(lambda: go_on.wait(5) and who())
        started: list[Any] = []
        monkeypatch.setattr(shared_pool(), "submit", lambda *work: started.append(work))
        second = LentThread().submit(who)
        go_on.set()
        assert first.result(5) == second.result(5) == closings.next()
        for function, *arguments in started:
            function(*arguments)  # the other thread comes too late, and has nothing to do
        assert closings.threads.empty()


def test_many_borrowers_of_few_threads_all_get_their_turn() -> None:
    with override_settings(RACEWAY={"SYNC_THREADS": 2}):
        borrowers = [LentThread() for _ in range(20)]
        for turn in range(50):
            futures = [borrower.submit(lambda turn=turn: turn) for borrower in borrowers]
            assert {future.result(5) for future in futures} == {turn}
        pool = shared_pool()
    pool.shutdown()
    assert (list(pool.waiting), pool.resting) == ([], [])


def test_a_database_that_fails_to_close_does_not_end_the_thread(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failed = threading.Event()

    def fail() -> None:
        close_old_connections()
        failed.set()
        raise OSError("the database is away")

    monkeypatch.setattr("raceway.threads.close_old_connections", fail)
    with override_settings(RACEWAY={"SYNC_THREADS": 1}):
        thread = LentThread()
        assert thread.submit(lambda: 1).result(5) == 1
        assert failed.wait(5)
        assert thread.submit(lambda: 2).result(5) == 2
        shared_pool().shutdown()
    assert "Closing old database connections failed" in caplog.text


async def test_run_lent_runs_in_the_lent_thread_and_sees_context_variables() -> None:
    seen: ContextVar[str] = ContextVar("seen")
    seen.set("here")

    def work(number: int) -> tuple[str, str, int]:
        return threading.current_thread().name, seen.get(), number

    entered = enter_threads()
    try:
        name, value, number = await run_lent(work, 7)
        nested = await asyncio.wait_for(sync_to_async(lambda: async_to_sync(run_lent)(work, 8))(), 5)
    finally:
        leave_threads(entered)
    assert name.startswith("raceway-sync")
    assert (value, number) == ("here", 7)
    assert nested[1:] == ("here", 8)  # not in the thread that waits for it, which would wait for ever
    assert (await run_lent(work, 9))[1:] == ("here", 9)
