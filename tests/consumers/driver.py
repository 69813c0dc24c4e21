"""The server's side of one WebSocket: plain ASGI, or with the fast lane that Raceway's own server offers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from raceway.errors import ClientDisconnected
from raceway.layers.memory import MemoryLayer
from raceway.prepared import PreparedMessage, Pushed

WAIT_S = 5.0
"""How long a test waits for what must come."""


class Socket:
    """Call ``application`` for one connection and hold the client's end of it.

    ``sent`` is everything that came out, in order: ASGI events, and ``("push", payload, policy, key)``.
    """

    def __init__(self, application: Any, *, lane: bool, **scope: Any) -> None:
        self.application = application
        self.lane = lane
        self.sent: list[Any] = []
        self.drained = 0
        self._news = asyncio.Event()
        self._queue: asyncio.Queue[Any] = asyncio.Queue()
        self._put: Callable[[Any], None] | None = None
        self._ended = False
        self.scope = {"type": "websocket", "path": "/", "headers": [], "extensions": {}, **scope}
        self.send_error: Exception | None = None
        self.may_send = asyncio.Event()  # by the plain send
        self.may_send.set()
        if lane:
            self.scope["extensions"] = {
                **self.scope["extensions"],
                "raceway.push": {
                    "push": self._push,
                    "send": self._send,
                    "send_now": self._send_now,
                    "listen": self._listen,
                },
            }
        self.task: asyncio.Task[None]

    # What the server does

    async def _receive(self) -> Any:
        assert self._put is None, "receive() after listen()"
        return await self._queue.get()

    # One object each, as a server has them: the fast lane is chosen by identity.
    @property
    def _send(self) -> Any:
        return self.__dict__.setdefault("_send_once", self._send_and_wait)

    async def _send_and_wait(self, event: Any) -> None:
        await asyncio.sleep(0)
        await self.may_send.wait()
        self._send_now(event)

    def _send_now(self, event: Any) -> None:
        if self.send_error is not None:
            raise self.send_error
        if self._ended:
            raise ClientDisconnected("gone")
        self._out(dict(event))

    def _push(self, message: PreparedMessage, policy: str = "close", key: object = None) -> Pushed:
        if self._ended:
            return Pushed.CLOSED
        self._out(("push", message.payload.decode() if message.is_text else message.payload, policy, key))
        return Pushed.ACCEPTED

    def _listen(self, put: Callable[[Any], None]) -> Callable[[], None]:
        self._put = put
        while not self._queue.empty():
            put(self._queue.get_nowait())
        return self._count_drained

    def _count_drained(self) -> None:
        self.drained += 1

    def _out(self, item: Any) -> None:
        self.sent.append(item)
        self._news.set()

    # What a test does

    def start(self) -> Socket:
        self.put({"type": "websocket.connect"})
        self.task = asyncio.ensure_future(self.application(self.scope, self._receive, self._send))
        return self

    async def connect(self) -> Any:
        self.start()
        return await self.next()

    def put(self, event: Any) -> None:
        if self._put is not None:
            self._put(event)
        else:
            self._queue.put_nowait(event)

    def say(self, text: str | bytes) -> None:
        key = "text" if isinstance(text, str) else "bytes"
        self.put({"type": "websocket.receive", key: text})

    def leave(self, code: int = 1001) -> None:
        self._ended = True
        self.put({"type": "websocket.disconnect", "code": code, "reason": ""})

    async def next(self) -> Any:
        """The next thing that comes out."""
        while not self.sent:
            self._news.clear()
            await asyncio.wait_for(self._news.wait(), WAIT_S)
        return self.sent.pop(0)

    async def text(self) -> Any:
        """The text, or bytes, of the next message, sent or pushed."""
        item = await self.next()
        return item[1] if isinstance(item, tuple) else item.get("text", item.get("bytes"))

    async def end(self) -> None:
        """Wait until the application has returned; raises what it raised."""
        await asyncio.wait_for(asyncio.shield(self.task), WAIT_S)

    async def goodbye(self, code: int = 1001) -> None:
        self.leave(code)
        await self.end()


async def settle() -> None:
    """Let everything happen that needs no more than the loop's turning."""
    for _ in range(20):
        await asyncio.sleep(0)


def channels(layer: MemoryLayer) -> list[str]:
    """The connections that are open."""
    return [name for part in layer._live_parts() for name in part.registry._channels]


def members(layer: MemoryLayer, group: str = "room") -> list[str]:
    """The connections that are in a group."""
    return [name for part in layer._live_parts() for name in part.registry.channels(group)]
