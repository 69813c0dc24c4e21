"""The server's side of one HTTP request."""

from __future__ import annotations

import asyncio
from typing import Any

from raceway.errors import ClientDisconnected
from tests.consumers.driver import WAIT_S


class Exchange:
    """Call ``application`` for one request and hold the client's end of it; ``sent`` are the events that came out."""

    def __init__(self, application: Any, method: str = "GET", **scope: Any) -> None:
        self.application = application.as_asgi() if isinstance(application, type) else application
        self.scope = {"type": "http", "method": method, "path": "/", "headers": [], "extensions": {}, **scope}
        self.sent: list[Any] = []
        self.may_send = asyncio.Event()
        self.may_send.set()
        self.send_error: Exception | None = None
        self.task: asyncio.Task[None]
        self._requests: asyncio.Queue[Any] = asyncio.Queue()
        self._over = asyncio.Event()  # gone, or complete
        self._gone = False
        self._news = asyncio.Event()

    async def _receive(self) -> Any:
        if self._requests.empty() and not self._over.is_set():
            waits = [asyncio.ensure_future(self._requests.get()), asyncio.ensure_future(self._over.wait())]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                if waits[0].done():
                    return waits[0].result()
            finally:
                for wait in waits:
                    wait.cancel()
        if self._requests.empty():
            return {"type": "http.disconnect"}  # again and again, as servers do
        return self._requests.get_nowait()

    async def _send(self, event: Any) -> None:
        await asyncio.sleep(0)
        await self.may_send.wait()
        if self.send_error is not None:
            raise self.send_error
        if self._gone:
            raise ClientDisconnected("gone")
        self.sent.append(dict(event))
        self._news.set()
        if event["type"] == "http.response.body" and not event.get("more_body", False):
            self._over.set()

    # What a test does

    def start(self, body: bytes | None = b"") -> Exchange:
        """Begin; ``body`` is all of it, ``None`` leaves it to ``upload``."""
        if body is not None:
            self.upload(body)
        self.task = asyncio.ensure_future(self.application(self.scope, self._receive, self._send))
        return self

    def upload(self, body: bytes, more_body: bool = False) -> None:
        self._requests.put_nowait({"type": "http.request", "body": body, "more_body": more_body})

    def leave(self) -> None:
        self._gone = True
        self._over.set()

    async def next(self) -> Any:
        while not self.sent:
            self._news.clear()
            await asyncio.wait_for(self._news.wait(), WAIT_S)
        return self.sent.pop(0)

    async def begun(self) -> tuple[int, dict[bytes, bytes]]:
        """The status and the headers."""
        event = await self.next()
        assert event["type"] == "http.response.start", event
        return event["status"], dict(event["headers"])

    async def body(self) -> bytes:
        """The next piece of the body."""
        event = await self.next()
        assert event["type"] == "http.response.body", event
        return event["body"]

    async def end(self) -> None:
        """Wait until the application has returned; raises what it raised."""
        await asyncio.wait_for(asyncio.shield(self.task), WAIT_S)
