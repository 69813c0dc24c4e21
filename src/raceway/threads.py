"""Threads for ``def`` handlers and database calls: one bounded pool, lent out one call at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextvars import ContextVar
from functools import cache, partial
from threading import Lock, local
from typing import Any, Final, ParamSpec, TypeVar

from asgiref.sync import ThreadSensitiveContext

from raceway.conf import get_settings, on_change
from raceway.database import close_old_connections, close_used_up_connections, look_after_thread

logger = logging.getLogger("raceway.consumers")

P = ParamSpec("P")
T = TypeVar("T")


LINGER_S: Final = 0.005
"""How long a thread waits for its borrower's next call, while nobody else wants it."""


REST_S: Final = 0.05
"""How long a thread that was given back waits for whoever borrows it next, before it closes its old database
connections: to open one anew costs more than most queries."""


class Pool(ThreadPoolExecutor):
    """The threads that are lent, the borrowers that have one without using it now, and the threads at rest."""

    def __init__(self, size: int) -> None:
        super().__init__(size, thread_name_prefix="raceway-sync", initializer=look_after_thread)
        self.size = size
        self.lent = 0
        self.asking = 0
        self.lingering: dict[LentThread, Lock] = {}
        self.resting: list[Rest] = []

    def ask(self, borrower: LentThread) -> None:
        """Lend a thread, soon; one that lingers is wanted back if there is no other. The lock is held."""
        if self.resting:
            self.lent += 1
            self.resting.pop().end(borrower)
            return
        self.submit(borrower.work, self)
        self.asking += 1
        if self.is_short and self.lingering:
            self.wake(next(iter(self.lingering)))

    def rest(self) -> LentThread | None:
        """Wait for who asks next, in a thread that was given back; ``None`` if nobody does in time."""
        with _lock:
            if self.asking:
                return None
            rest = Rest(_lock_of_this_thread())
            self.resting.append(rest)
        rest.woken.acquire(timeout=REST_S)
        with _lock:
            if rest.borrower is None:
                self.resting.remove(rest)
            else:
                rest.woken.acquire(blocking=False)  # it was woken; maybe after the time was over
            return rest.borrower

    @property
    def is_short(self) -> bool:
        """Somebody waits for a thread, and there is no other."""
        return self.asking > 0 and self.lent + self.asking > self.size

    def wake(self, borrower: LentThread) -> None:
        """End the waiting of a borrower that lingers. The lock is held."""
        woken = self.lingering.pop(borrower, None)
        if woken is not None:
            woken.release()


class Rest:
    """A thread at rest: its lock, and who has ended the rest."""

    def __init__(self, woken: Lock) -> None:
        self.woken = woken
        self.borrower: LentThread | None = None

    def end(self, borrower: LentThread) -> None:
        self.borrower = borrower
        self.woken.release()


@cache
def shared_pool() -> Pool:
    """The process's pool, of ``RACEWAY["SYNC_THREADS"]`` threads."""
    return Pool(get_settings().sync_threads)


on_change("RACEWAY", shared_pool.cache_clear)  # a pool that nobody has any more ends its threads itself

_lock: Final = Lock()
_thread: Final = local()


class LentThread(Executor):
    """Run the calls of one connection one after another, in a thread of the shared pool.

    A thread is kept while calls follow each other closely, as the queries of one view do, and then given back. So
    a connection never has two threads, and no two connections have the same one at a time. Database connections
    stay with a thread while it is lent again and again, and are closed as they are old when it has nothing to do.
    """

    def __init__(self) -> None:
        self._calls: list[tuple[Future[Any], Callable[[], Any]]] = []  # a deque would cost 0.7 KB
        self._pool: Pool | None = None

    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        with _lock:
            self._calls.append((future, partial(function, *args, **kwargs)))
            if self._pool is not None:
                self._pool.wake(self)
            else:
                self._pool = shared_pool()
                self._pool.ask(self)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Nothing: the threads are the pool's."""

    def work(self, pool: Pool) -> None:
        """Do what there is to do; in the thread that was lent."""
        with _lock:
            pool.asking -= 1
            pool.lent += 1
        borrower: LentThread | None = self
        try:
            while borrower is not None:
                borrower._work_until_given_back(pool)
                close_used_up_connections()
                borrower = pool.rest()
            close_old_connections()
        except Exception:  # a broken database must not take others' calls with it
            logger.exception("Closing old database connections failed.")

    def _work_until_given_back(self, pool: Pool) -> None:
        while (next_call := self._next(pool)) is not None:
            future, call = next_call
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call())
                except StopIteration as error:  # asyncio takes none: it ends coroutines
                    future.set_exception(RuntimeError(f"{call!r} raised StopIteration: {error!r}"))
                except BaseException as error:
                    future.set_exception(error)
            del next_call, future, call

    def _next(self, pool: Pool) -> tuple[Future[Any], Callable[[], Any]] | None:
        """The next call; ``None``, and the thread is given back, if none comes in time."""
        with _lock:
            was_last = vars(_thread).pop("was_last_call", False)
            if self._calls:
                return self._calls.pop(0)
            if was_last or pool.is_short:
                self._give_back(pool)
                return None
            woken = pool.lingering[self] = _lock_of_this_thread()
        woken.acquire(timeout=LINGER_S)
        with _lock:
            if pool.lingering.pop(self, None) is None:
                woken.acquire(blocking=False)  # it was woken; maybe after the time was over
            if self._calls:
                return self._calls.pop(0)
            self._give_back(pool)
            return None

    def _give_back(self, pool: Pool) -> None:
        pool.lent -= 1
        self._pool = None


def expect_no_call() -> None:
    """Say, in a call, that the borrower will hardly make another one soon: its thread need not wait for it."""
    _thread.was_last_call = True


def _lock_of_this_thread() -> Lock:
    """A lock that is held, for whoever wakes this thread to release."""
    try:
        woken: Lock = _thread.lock
    except AttributeError:
        woken = _thread.lock = Lock()
        woken.acquire()
    return woken


in_test: Final[ContextVar[bool]] = ContextVar("raceway.threads.in_test", default=False)
"""Sync code runs in the test's own thread, inside its transaction: nobody is lent another."""


async def enter_threads() -> ThreadSensitiveContext | None:
    """From now on ``sync_to_async`` in this task, and so Django's ``aget()`` and the like, use a ``LentThread``.

    ``None``, and nothing has changed, in the test kit.
    """
    if in_test.get():
        return None
    context = ThreadSensitiveContext(executor=LentThread())
    await context.__aenter__()  # type: ignore[no-untyped-call]
    return context


async def leave_threads(context: ThreadSensitiveContext | None) -> None:
    """End ``enter_threads``, in the same task."""
    if context is not None:
        await context.__aexit__(None, None, None)  # type: ignore[no-untyped-call]
