"""A server on a thread with its own event loop, and what a test needs to talk with its application."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import uvloop

from raceway.server import Config, Server

DEADLINE_S = 5.0


class Running:
    """One started server; ``call`` and ``run`` act in its loop's thread."""

    def __init__(
        self,
        application: Any,
        *,
        loop_factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop,
        **config: Any,
    ) -> None:
        self.application = application
        if "uds" not in config:
            config = {"host": "127.0.0.1", "port": 0, **config}
        config = {"access_log": False, **config}
        self.config = Config(**config)
        self.failure: BaseException | None = None
        self._loop_factory = loop_factory
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._work, name="server under test", daemon=True)

    def start(self) -> Running:
        self._thread.start()
        assert self._ready.wait(DEADLINE_S), "the server did not start in time"
        if self.failure is not None:
            self._thread.join(DEADLINE_S)
            raise self.failure
        return self

    def _work(self) -> None:
        with asyncio.Runner(loop_factory=self._loop_factory) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        self.server = Server(self.application, self.config)
        try:
            await self.server.start()
        except BaseException as exc:
            self.failure = exc
            self._ready.set()
            return
        self.addresses = self.server.addresses
        self._ready.set()
        await self._ended.wait()
        await self.server.stop(drain_s=0)

    @property
    def port(self) -> int:
        return self.addresses[0][1]

    def stop(self) -> None:
        if self.failure is None and self._thread.is_alive():
            self.loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive(), "the server did not stop in time"

    def run(self, coroutine: Any, deadline_s: float = DEADLINE_S) -> Any:
        """Run a coroutine in the server's loop; return what it returns."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(deadline_s)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function in the server's loop thread, within one pass of the loop."""

        async def now() -> Any:
            return function(*arguments)

        return self.run(now())


@contextlib.contextmanager
def running(application: Any, **config: Any) -> Iterator[Running]:
    server = Running(application, **config).start()
    try:
        yield server
    finally:
        server.stop()


class Site:
    """An ASGI application that is whatever the test at hand sets as ``app``."""

    app: Callable[..., Awaitable[None]] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise NotImplementedError("no lifespan here")
        assert self.app is not None, "the test set no application"
        await self.app(scope, receive, send)


class Seen:
    """What an application reports to its test, in order, across threads."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def put(self, item: Any) -> None:
        self._queue.put(item)

    def next(self, timeout_s: float = DEADLINE_S) -> Any:
        try:
            return self._queue.get(timeout=timeout_s)
        except queue.Empty:
            raise AssertionError(f"the application reported nothing in {timeout_s} s") from None

    def nothing(self, within_s: float = 0.0) -> bool:
        """Whether nothing (more) has been, or is within the time, reported."""
        try:
            item = self._queue.get(timeout=within_s) if within_s else self._queue.get_nowait()
        except queue.Empty:
            return True
        raise AssertionError(f"unexpected: {item!r}")

    def until_quiet(self, quiet_s: float) -> list[Any]:
        """Everything reported until nothing came for ``quiet_s``."""
        items = []
        with contextlib.suppress(queue.Empty):
            while True:
                items.append(self._queue.get(timeout=quiet_s))
        return items


class Gate:
    """Opened by the test's thread, awaited by the application."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._opened = False
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []

    def open(self) -> None:
        with self._lock:
            self._opened = True
            waiting, self._waiting = self._waiting, []
        for loop, future in waiting:
            loop.call_soon_threadsafe(lambda future=future: future.done() or future.set_result(None))

    async def wait(self) -> None:
        with self._lock:
            if self._opened:
                return
            future = asyncio.get_running_loop().create_future()
            self._waiting.append((asyncio.get_running_loop(), future))
        await future


async def body_of(receive: Any) -> bytes:
    """The whole request body."""
    parts = []
    while True:
        event = await receive()
        assert event["type"] == "http.request", event
        parts.append(event.get("body", b""))
        if not event.get("more_body", False):
            return b"".join(parts)


async def answer(
    send: Any, body: bytes = b"ok", status: int = 200, headers: Any = (), *, length: bool = True
) -> None:
    """One whole response; with a Content-Length unless told otherwise."""
    headers = list(headers)
    if length:
        headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def answering(body: bytes = b"ok", status: int = 200, headers: Any = (), *, length: bool = True) -> Any:
    """An application that reads the request's body and gives one response."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await body_of(receive)
        await answer(send, body, status, headers, length=length)

    return app
