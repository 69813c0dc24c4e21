"""An event loop for tests that are plain functions."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from contextvars import Context, copy_context
from functools import partial, update_wrapper
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from asgiref.sync import ThreadSensitiveContext

from raceway.done import DONE

__tracebackhide__ = __unittest = True  # a test that fails shows its own line, not ours

P = ParamSpec("P")
T = TypeVar("T")
C = TypeVar("C")


class CallersThread(Executor):
    """Run what is submitted in the thread that calls ``work_until``."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()

        def call() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(function(*args, **kwargs))
            except BaseException as error:
                future.set_exception(error)

        self._calls.put(call)
        return future

    def work_until(self, awaited: Future[Any]) -> None:
        """Run what is, and will be, submitted, until ``awaited`` is done."""
        awaited.add_done_callback(lambda _: self._calls.put(_nothing))
        while not awaited.done():
            self._calls.get()()


class LoopEnded(RuntimeError):
    """The event loop of a ``LoopThread`` has ended by itself."""

    def __init__(self) -> None:
        super().__init__("The test's event loop has ended: a task in it let a SystemExit out.")


class LoopThread:
    """An event loop in a thread of its own, for a test without one.

    Sync code that runs in the loop's tasks by ``sync_to_async`` comes back to the test's thread, and so into its
    database transaction, whenever the test waits in ``run``.
    """

    def __init__(self) -> None:
        self._calls = CallersThread()
        self._ready: Future[None] = Future()
        self._context: Context
        self._ended: asyncio.Event
        self._result: Future[Any] | None = None
        self.loop: asyncio.AbstractEventLoop
        self._thread = threading.Thread(target=self._work, name="raceway-test-loop", daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._ready.result()

    def stop(self) -> None:
        """End the loop; what still runs in it is cancelled."""
        finished: Future[None] = Future()
        threading.Thread(target=self._join, args=(finished,), daemon=True).start()
        self._calls.work_until(finished)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run ``coroutine`` in the loop, and sync code in this thread, until it has ended."""
        result: Future[T] = Future()

        def begin() -> None:
            self.loop.create_task(coroutine).add_done_callback(partial(_copy, result))

        self._result = result
        try:
            self.loop.call_soon_threadsafe(begin, context=self._context.copy())
        except RuntimeError:
            result.set_exception(LoopEnded())
        self._calls.work_until(result)
        if isinstance(result.exception(), LoopEnded):
            coroutine.close()
        return result.result()

    def _work(self) -> None:
        try:
            asyncio.run(self._live())
        except SystemExit:
            pass  # whoever waits is told
        finally:
            if self._result is not None and not self._result.done():
                self._result.set_exception(LoopEnded())

    async def _live(self) -> None:
        async with ThreadSensitiveContext(executor=self._calls):
            self.loop = asyncio.get_running_loop()
            self._ended = asyncio.Event()
            self._context = copy_context()
            self._ready.set_result(None)
            await self._ended.wait()
            rest = asyncio.all_tasks() - {asyncio.current_task()}
            for task in rest:
                task.cancel()
            await asyncio.gather(*rest, return_exceptions=True)

    def _join(self, finished: Future[None]) -> None:
        with suppress(RuntimeError):  # it has ended by itself
            self.loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()
        finished.set_result(None)


class _OfThread(threading.local):
    loop_thread: LoopThread | None = None
    users: int = 0


_of_thread = _OfThread()


@contextmanager
def loop_thread() -> Iterator[LoopThread]:
    """This thread's ``LoopThread``; made for the first who asks, and ended with the last."""
    if _of_thread.loop_thread is None:
        _of_thread.loop_thread = LoopThread()
        _of_thread.loop_thread.start()
    _of_thread.users += 1
    thread = _of_thread.loop_thread
    try:
        yield thread
    finally:
        _of_thread.users -= 1
        if not _of_thread.users:
            _of_thread.loop_thread = None
            thread.stop()


def is_loop_running() -> bool:
    """Whether this is a test's ``async def`` code."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def in_either(function: Callable[[], Coroutine[Any, Any, None]]) -> Awaitable[None]:
    """What to await in an ``async def`` test; in a ``def`` test it has been done already."""
    if is_loop_running():
        return function()
    with loop_thread() as thread:
        thread.run(function())
    return DONE


class OfLoop(Protocol[C]):
    """The plain twin of a ``client`` whose methods are coroutines, which run in ``thread``."""

    client: C
    thread: LoopThread


def in_loop(
    method: Callable[Concatenate[C, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[OfLoop[C], P], T]:
    """The plain twin of a method."""

    def call(self: OfLoop[C], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.thread.run(method(self.client, *args, **kwargs))

    return update_wrapper(call, method)


def _copy(result: Future[T], task: asyncio.Task[T]) -> None:
    if task.cancelled():
        result.set_exception(asyncio.CancelledError())
    elif error := task.exception():
        result.set_exception(error)
    else:
        result.set_result(task.result())


def _nothing() -> None:
    pass
