"""Sending through a ``send`` that only acts when awaited: other servers, and middleware that wraps ``send``."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from raceway.errors import ClientDisconnected
from raceway.prepared import PreparedMessage, Pushed
from raceway.registry.policy import Policy
from raceway.types import Event, Send

PUSHED_BYTES: Final = 256 * 1024
"""Pushed bytes that may wait for a slow client."""

OVERLOADED: Final = 1013


class Outbox:
    """Send a connection's events in order, by one task, and let pushes queue behind them.

    A push waits while the socket is not accepted, and is discarded if it is refused. When more than
    ``PUSHED_BYTES`` of them wait, policy ``close`` drops them all and closes with 1013; the others drop the push
    at hand. ``failed(error)`` is told what ``send`` raises.
    """

    __slots__ = ("_accepted", "_events", "_failed", "_held", "_pushed_bytes", "_send", "_task")

    def __init__(self, send: Send, failed: Callable[[Exception], None]) -> None:
        self._send = send
        self._failed = failed
        self._events: deque[tuple[Event, asyncio.Future[None] | None, int]] = deque()
        self._held: list[PreparedMessage] = []
        self._accepted = False
        self._pushed_bytes = 0
        self._task: asyncio.Task[None] | None = None

    def add(self, event: Event) -> Awaitable[None]:
        """Send ``event`` after those before it; awaiting what is returned waits until it has been sent."""
        sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._append(event, sent, 0)
        if event["type"] == "websocket.accept":
            self._accepted = True
            for message in self._held:
                self._append(as_send_event(message), None, len(message.payload))
            self._held.clear()
        elif event["type"] == "websocket.close":
            self._held.clear()
        return sent

    def push(self, message: PreparedMessage, policy: Policy = "close", key: object = None) -> Pushed:
        """Send a prepared message without waiting."""
        size = len(message.payload)
        if self._pushed_bytes + size > PUSHED_BYTES:
            if policy != "close" or not self._accepted:
                return Pushed.DROPPED
            self._events.clear()
            self._pushed_bytes = 0
            self._append({"type": "websocket.close", "code": OVERLOADED, "reason": "too slow"}, None, 0)
            return Pushed.CLOSED
        self._pushed_bytes += size
        if self._accepted:
            self._append(as_send_event(message), None, size)
        else:
            self._held.append(message)
        return Pushed.ACCEPTED

    async def finish(self, is_gone: bool) -> None:
        """Wait until everything has been sent; drop it instead if the client ``is_gone``."""
        if self._task is None:
            return
        if is_gone:
            self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    def _append(self, event: Event, sent: asyncio.Future[None] | None, pushed_bytes: int) -> None:
        self._events.append((event, sent, pushed_bytes))
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._work())

    async def _work(self) -> None:
        try:
            while self._events:
                event, sent, pushed_bytes = self._events.popleft()
                self._pushed_bytes -= pushed_bytes
                await self._deliver(event, sent)
        finally:
            for _, sent, _ in self._events:
                if sent is not None:
                    sent.cancel()
            self._events.clear()

    async def _deliver(self, event: Event, sent: asyncio.Future[None] | None) -> None:
        error: Exception | None = None
        try:
            await self._send(event)
        except OSError as gone:
            error = ClientDisconnected(str(gone))
        except Exception as problem:
            error = problem
        if error is not None:
            self._failed(error)
        if sent is None or sent.done():
            return
        if error is None:
            sent.set_result(None)
        else:
            sent.set_exception(error)
            sent.exception()  # who does not await it need not hear of it


def as_send_event(message: PreparedMessage) -> Event:
    if message.is_text:
        return {"type": "websocket.send", "text": message.payload.decode()}
    return {"type": "websocket.send", "bytes": message.payload}
