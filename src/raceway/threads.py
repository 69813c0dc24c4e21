"""Threads for ``def`` handlers and database calls: one bounded pool, lent out one call at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextvars import ContextVar
from functools import cache
from threading import Lock
from typing import Any, Final, ParamSpec, TypeVar

from asgiref.sync import ThreadSensitiveContext

from raceway.conf import get_settings, on_change
from raceway.database import close_old_connections

logger = logging.getLogger("raceway.consumers")

P = ParamSpec("P")
T = TypeVar("T")


@cache
def shared_pool() -> ThreadPoolExecutor:
    """The process's pool, of ``RACEWAY["SYNC_THREADS"]`` threads."""
    return ThreadPoolExecutor(get_settings().sync_threads, thread_name_prefix="raceway-sync")


on_change("RACEWAY", shared_pool.cache_clear)  # a pool that nobody has any more ends its threads itself


class LentThread(Executor):
    """Run the calls of one connection one after another, each in a thread of the shared pool.

    A thread is kept while calls wait and given back after them, with its old database connections closed. So
    a connection never has two threads, and no two connections have the same one at a time.
    """

    def __init__(self) -> None:
        self._calls: list[Callable[[], None]] = []  # every connection has one: a deque would cost 0.7 KB
        self._has_thread = False
        self._lock = Lock()

    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()

        def call() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(function(*args, **kwargs))
                except StopIteration as error:  # asyncio takes none: it ends coroutines
                    future.set_exception(RuntimeError(f"{function!r} raised StopIteration: {error!r}"))
                except BaseException as error:
                    future.set_exception(error)

        with self._lock:
            self._calls.append(call)
            if self._has_thread:
                return future
            self._has_thread = True
        shared_pool().submit(self._work)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Nothing: the threads are the pool's."""

    def _work(self) -> Any:
        while True:
            with self._lock:
                if not self._calls:
                    self._has_thread = False
                    return
                call = self._calls.pop(0)
            call()
            try:
                close_old_connections()
            except Exception:  # a broken database must not take this connection's later calls with it
                logger.exception("Closing old database connections failed.")


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
