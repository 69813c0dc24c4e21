"""Sending through a ``send`` that only acts when awaited: other servers, and middleware that wraps ``send``."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import ClassVar, NamedTuple

from raceway.errors import ClientDisconnected
from raceway.layers.spec import client_event, client_message
from raceway.prepared import PreparedMessage, Pushed
from raceway.registry import TOO_SLOW
from raceway.registry.policy import Policy, PushQueue, Verdict
from raceway.types import Event, Send
from raceway.wire.limits import BURST_BYTES, ENTRY_BYTES, OWN_BYTES, PUSHED_BYTES, SLOW_CLIENT_S
from raceway.wire.websocket import cut_reason

logger = logging.getLogger("raceway.consumers")


class Own(NamedTuple):
    """An event that waits for its turn to be sent, whose future its sender may await."""

    number: int
    event: Event
    sent: asyncio.Future[None] | None
    size_bytes: int


class Push:
    """A prepared message that waits while the client is slow."""

    __slots__ = ("message", "number")

    def __init__(self, number: int, message: PreparedMessage) -> None:
        self.number = number
        self.message = message

    def __len__(self) -> int:
        return len(self.message.payload) + ENTRY_BYTES


class Outbox:
    """Send a connection's events and pushes in the order in which they came, by one task.

    Pushes wait while the socket is not accepted, and are discarded if it is refused. While a send waits for the
    client, they queue, at most ``PUSHED_BYTES`` of them, and their policies say who pays; own sends wait too, at
    most ``OWN_BYTES`` of them (``BURST_BYTES`` while none waits for the client). Who is too slow is sent what it was
    sent by the consumer itself, and 1013: then ``overloaded()`` is called. ``failed(error)`` is told what ``send``
    raises. After a close nothing is taken.
    """

    carrying: ClassVar = "websocket.send"
    """The events that count against the bounds."""
    last_words: ClassVar[Event | None] = client_event(TOO_SLOW)
    """What a client that is given up is told."""

    __slots__ = (
        "_failed",
        "_is_closed",
        "_is_open",
        "_is_overloaded",
        "_number",
        "_overloaded",
        "_own",
        "_own_bytes",
        "_pushes",
        "_send",
        "_task",
        "dropped",
        "is_sending",
    )

    def __init__(
        self, send: Send, failed: Callable[[Exception], None], overloaded: Callable[[], None]
    ) -> None:
        self._send = send
        self._failed = failed
        self._overloaded = overloaded
        self._own: deque[Own] = deque()
        self._own_bytes = 0
        self._pushes: PushQueue[Push] = PushQueue(PUSHED_BYTES)
        self._number = 0
        self._is_open = False
        self.is_sending = False
        """A send waits for the client."""
        self._is_closed = False
        self._is_overloaded = False
        self._task: asyncio.Task[None] | None = None
        self.dropped = 0

    def add(self, event: Event) -> asyncio.Future[None]:
        """Send ``event`` after those before it; awaiting what is returned waits until it has been sent.

        Raises ``ClientDisconnected`` after a close or if too much waits already, ``InvalidMessage`` for a message
        that is none.
        """
        if self._is_closed:
            raise ClientDisconnected("The connection is closed.")
        size_bytes = 0
        if event["type"] == self.carrying:
            if self._own_bytes > (OWN_BYTES if self.is_sending else BURST_BYTES):
                self._give_up()
                raise ClientDisconnected(f"The client is too slow: {self._own_bytes} bytes wait for it.")
            event, payload_bytes = self._weigh(event)
            size_bytes = payload_bytes + ENTRY_BYTES
        elif event["type"] == "websocket.close":
            self._is_closed = True
            if isinstance(event.get("reason"), str):  # other servers fail where ours cuts
                event = {**event, "reason": cut_reason(event["reason"])}
        sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._append(event, sent, size_bytes)
        return sent

    def push(self, message: PreparedMessage, policy: Policy = "close", key: Hashable = None) -> Pushed:
        """Send a prepared message without waiting."""
        if self._is_closed:
            return Pushed.CLOSED
        if self._is_open and not self.is_sending:
            self._append(self._as_event(message), None, 0)
            return Pushed.ACCEPTED
        verdict = self._pushes.offer(Push(self._next_number(), message), policy, key)
        dropped, self._pushes.dropped_oldest = self._pushes.dropped_oldest, 0
        if verdict is Verdict.OVERFLOWED and self._is_open:
            self._give_up()
            return Pushed.CLOSED
        self._count_dropped(dropped + (verdict is not Verdict.QUEUED))
        return Pushed.ACCEPTED if verdict is Verdict.QUEUED else Pushed.DROPPED

    def shut(self) -> None:
        """Take nothing more."""
        self._is_closed = True

    async def finish(self, is_gone: bool) -> None:
        """Wait until everything has been sent; drop it instead if the client ``is_gone``.

        One that was too slow has ``SLOW_CLIENT_S`` to take what was sent to it.
        """
        if self._task is None:
            return
        try:
            if self._is_overloaded:
                await asyncio.wait({self._task}, timeout=SLOW_CLIENT_S)
        finally:
            if is_gone or self._is_overloaded:
                self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    def _give_up(self) -> None:
        """The client is too slow: drop what was pushed, and close behind what the consumer itself has sent."""
        self._is_closed = self._is_overloaded = True
        self._pushes.clear()
        if self.last_words is not None:
            self._append(self.last_words, None, 0)
        self._overloaded()

    def _weigh(self, event: Event) -> tuple[Event, int]:
        """``event``, checked, as it is to be sent, and how many bytes it carries."""
        message = client_message(event.get("text"), event.get("bytes"))
        if not message.is_text:
            event = {**event, "bytes": message.payload}  # the caller may change a bytearray
        return event, len(message.payload)

    def _opens(self, event: Event) -> bool:
        """Whether pushes may follow ``event``."""
        return bool(event["type"] == "websocket.accept")

    def _as_event(self, message: PreparedMessage) -> Event:
        return client_event(message)

    def _count_dropped(self, pushes: int) -> None:
        if pushes and not self.dropped:
            logger.info("A client is slow: messages pushed to it are dropped, as their policy says.")
        self.dropped += pushes

    # The task

    def _next_number(self) -> int:
        self._number += 1
        return self._number

    def _append(self, event: Event, sent: asyncio.Future[None] | None, size_bytes: int) -> None:
        self._own.append(Own(self._next_number(), event, sent, size_bytes))
        self._own_bytes += size_bytes
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._work())

    async def _work(self) -> None:
        try:
            while True:
                push = self._pushes.first if self._is_open else None
                if push is not None and (not self._own or push.number < self._own[0].number):
                    await self._deliver(self._as_event(self._pushes.take_first().message), None)
                elif self._own:
                    _, event, sent, size_bytes = self._own.popleft()
                    self._own_bytes -= size_bytes
                    self._is_open = self._is_open or self._opens(event)
                    await self._deliver(event, sent)
                else:
                    return
        finally:
            for own in self._own:
                _settle(own.sent, ClientDisconnected("The connection has ended."))
            self._own.clear()

    async def _deliver(self, event: Event, sent: asyncio.Future[None] | None) -> None:
        error: Exception | None = ClientDisconnected("The connection has ended.")
        self.is_sending = True
        try:
            await self._send(event)
            error = None
        except OSError as gone:
            error = ClientDisconnected(str(gone))
            self._failed(error)
        except Exception as problem:
            error = problem
            self._failed(error)
        finally:
            self.is_sending = False
            _settle(sent, error)


def _settle(sent: asyncio.Future[None] | None, error: Exception | None) -> None:
    if sent is None or sent.done():
        return
    if error is None:
        sent.set_result(None)
    else:
        sent.set_exception(error)
        sent.exception()  # who does not await it need not hear of it
