"""Threads for ``def`` handlers, views and database calls: bounded pools, lent out a few calls at a time."""

from __future__ import annotations

import logging
from asyncio import wrap_future
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextvars import ContextVar, Token, copy_context
from functools import cache, partial
from threading import Lock
from typing import Any, Final, ParamSpec, TypeAlias, TypeVar

from asgiref.sync import (
    AsyncToSync,
    SyncToAsync,
    ThreadSensitiveContext,
    iscoroutinefunction,
    sync_to_async,
)

from raceway.conf import get_settings, on_change
from raceway.database import close_old_connections, close_used_up_connections, look_after_thread

logger = logging.getLogger("raceway.consumers")

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


REST_S: Final = 0.05
"""How long a thread that was given back waits for whoever borrows it next, before it closes its old database
connections: to open one anew costs more than most queries."""


class Rest:
    """A thread at rest: the lock that it waits for, and who has ended the rest."""

    def __init__(self) -> None:
        self.woken = Lock()
        self.woken.acquire()
        self.borrower: LentThread | None = None

    def end(self, borrower: LentThread) -> None:
        self.borrower = borrower
        self.woken.release()


class Pool(ThreadPoolExecutor):
    """The threads that are lent. The one that came back last goes out first, so few of them have connections."""

    def __init__(self, size: int, name: str) -> None:
        super().__init__(size, thread_name_prefix=name, initializer=look_after_thread)
        self.waiting: deque[LentThread] = deque()
        self.resting: list[Rest] = []

    def lend(self, borrower: LentThread) -> None:
        """Have ``borrower`` work in a thread, as soon as there is one. The lock is held."""
        if self.resting:
            self.resting.pop().end(borrower)
        else:
            self.waiting.append(
                borrower
            )  # first: what cannot start another thread waits for one that is there
            self.submit(self._work)

    def _work(self) -> None:
        """One thread's turn: for those who wait, and then for whoever asks while it rests."""
        with _lock:
            if not self.waiting:
                return  # a thread that was done has taken who waited
            borrower: LentThread | None = self.waiting.popleft()
        try:
            while borrower is not None:
                borrower.work(self)
                close_used_up_connections()
                borrower = self._rest()
            close_old_connections()
        except Exception:  # a broken database must not take others' calls with it
            logger.exception("Closing old database connections failed.")

    def _rest(self) -> LentThread | None:
        """Who waits already, or asks next; ``None`` if nobody does in time."""
        with _lock:
            if self.waiting:
                return self.waiting.popleft()
            rest = Rest()
            self.resting.append(rest)
        if not rest.woken.acquire(timeout=REST_S):
            with _lock:
                if rest.borrower is None:
                    self.resting.remove(rest)
        return rest.borrower


@cache
def shared_pool() -> Pool:
    """The pool of all consumers, of ``RACEWAY["SYNC_THREADS"]`` threads."""
    return Pool(get_settings().sync_threads, "raceway-sync")


@cache
def view_pool() -> Pool:
    """The pool of all views, of ``RACEWAY["VIEW_THREADS"]`` threads."""
    return Pool(get_settings().view_threads, "raceway-view")


on_change("RACEWAY", shared_pool.cache_clear)  # a pool that nobody has any more ends its threads itself
on_change("RACEWAY", view_pool.cache_clear)

_lock: Final = Lock()


class LentThread(Executor):
    """Run the calls of one connection one after another, in threads of a pool.

    A thread is kept while calls wait and nobody else asks for one, and given back then: a connection never has two
    threads, no two connections have the same one at a time, and one with many calls keeps nobody waiting for all of
    them. Database connections stay with a thread that is lent again at once, and are closed as they are old when it has
    nothing to do.
    """

    def __init__(self, pool: Callable[[], Pool] = shared_pool) -> None:
        self._pool = pool
        self._calls: list[tuple[Future[Any], Callable[[], Any]]] = []  # a deque would cost 0.7 KB
        self._has_thread = False

    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        with _lock:
            self._calls.append((future, partial(function, *args, **kwargs)))
            if not self._has_thread:
                self._pool().lend(self)
                self._has_thread = True
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Nothing: the threads are the pool's."""

    def work(self, pool: Pool) -> None:
        """Make the calls that wait; in the thread that was lent by ``pool``."""
        next_call = self._next()
        while next_call is not None:
            future, call = next_call
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call())
                except StopIteration as error:  # asyncio takes none: it ends coroutines
                    stopped = RuntimeError("A call in a thread raised StopIteration.")
                    stopped.__cause__ = error  # and not the call itself: its arguments may be secrets
                    future.set_exception(stopped)
                    del stopped
                except BaseException as error:
                    future.set_exception(error)
            del next_call, future, call
            next_call = self._next(pool)

    def _next(self, pool: Pool | None = None) -> tuple[Future[Any], Callable[[], Any]] | None:
        """The next call, if there is one and nobody asks ``pool`` for this thread: else this one asks, behind them."""
        with _lock:
            if self._calls:
                if pool is not None and pool.waiting:
                    pool.lend(self)
                    return None
                return self._calls.pop(0)
            self._has_thread = False
            return None


def is_coroutine_callable(function: object) -> bool:
    """Whether a call of ``function``, which may be an object, is to be awaited rather than made in a thread."""
    return iscoroutinefunction(function) or iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


async def run_lent(function: Callable[[T], R], argument: T) -> R:
    """Run ``function(argument)`` in the lent thread as ``sync_to_async`` does, for less: what it sets in context
    variables is lost.
    """
    context = SyncToAsync.thread_sensitive_context.get(None)
    executor = None if context is None else SyncToAsync.context_to_thread_executor.get(context)
    is_nested = getattr(AsyncToSync.executors, "current", None) is not None  # that thread waits for this task
    if is_nested or not isinstance(executor, LentThread):
        return await sync_to_async(function)(argument)
    return await wrap_future(executor.submit(copy_context().run, function, argument))


in_test: Final[ContextVar[bool]] = ContextVar("raceway.threads.in_test", default=False)
"""Sync code runs in the test's own thread, inside its transaction: nobody is lent another."""

lending: Final[ContextVar[Callable[[], Pool]]] = ContextVar("raceway.threads.lending", default=shared_pool)
"""Whose threads consumers are lent: a worker may have a pool of its own."""

Entered: TypeAlias = Token[ThreadSensitiveContext] | None


def enter_threads(pool: Callable[[], Pool] | None = None) -> Entered:
    """From now on ``sync_to_async`` in this task, and so Django's ``aget()`` and the like, use a ``LentThread``.

    ``None``, and nothing has changed, in the test kit. ``asgiref``'s own ``async with ThreadSensitiveContext(executor=
    ...)`` does the same for five times the cost, and fails the calls of tasks that are left behind.
    """
    if in_test.get():
        return None
    context = ThreadSensitiveContext()
    SyncToAsync.context_to_thread_executor[context] = LentThread(pool or lending.get())
    return SyncToAsync.thread_sensitive_context.set(context)


def leave_threads(entered: Entered) -> None:
    """End ``enter_threads``, in the same task."""
    if entered is not None:
        SyncToAsync.thread_sensitive_context.reset(entered)
