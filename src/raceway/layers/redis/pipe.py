"""The ordered connection of commands to one place."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple, TypeAlias

from raceway.errors import LayerUnavailable
from raceway.layers.redis.connection import Connection, Reply
from raceway.layers.redis.kept import PING, WAIT_S, Kept, Routes
from raceway.layers.redis.requests import loading
from raceway.layers.redis.topology import Place, Refusal

PIPE_COMMANDS: Final = 100_000
"""Commands that may wait to be written, or for their answers; one more is refused."""

PIPE_BYTES: Final = 64 * 1024 * 1024
"""What these commands may have altogether."""

WRITTEN_AT_ONCE_BYTES: Final = 256 * 1024


Told: TypeAlias = Callable[[list[Reply] | Exception], object]
"""Takes all replies to a command, some of which may be refusals, or why there are none."""


class Waiting(NamedTuple):
    """What is written in one piece, and who waits for its answer."""

    command: bytes
    replies: int
    told: Told
    since: float
    is_again: bool = False


class Pipe(Kept):
    """Write commands in order, and hand out their answers.

    Those of this pass of the loop and of the next are one write: so what a worker says of the message that it has
    handled goes with its question for the next one.

    A command that was not written waits ``WAIT_S`` for a connection. One that was written and has no answer when the
    connection is lost ends with ``LayerUnavailable``, and is never written again.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, place: Place, routes: Routes) -> None:
        super().__init__(loop, place, routes)
        self._unwritten: deque[Waiting] = deque()
        self._unanswered: deque[Waiting] = deque()
        self._again: list[Waiting] = []
        """Commands that the server has not done: it did not know their script, or is no master any more."""
        self._is_read_only = False
        self._replies: list[Reply] = []
        """Of the oldest without an answer, if it has several."""
        self._bytes = 0
        self._is_flush_due = False
        self._idle: asyncio.Future[None] | None = None

    def call(self, command: bytes) -> asyncio.Future[Any]:
        """Write a packed command after those before; its reply, a ``Refusal``, or ``LayerUnavailable``."""
        answer: asyncio.Future[Any] = self.loop.create_future()
        self.ask(command, 1, partial(settle, answer))
        return answer

    def ask(self, command: bytes, replies: int, told: Told) -> None:
        """The same for what has so many replies, in one piece; ``told`` is called as soon as all are there."""
        waiting_count = len(self._unwritten) + len(self._unanswered)
        if waiting_count >= PIPE_COMMANDS or self._bytes + len(command) > PIPE_BYTES:
            told(
                LayerUnavailable(
                    f"Redis is too slow: {waiting_count} commands with {self._bytes} bytes wait for it."
                )
            )
            return
        self._bytes += len(command)
        self._unwritten.append(Waiting(command, replies, told, self.loop.time()))
        if self.connection is None:
            self.want()
        elif not self._is_flush_due:
            self._is_flush_due = True
            self.loop.call_soon(self.loop.call_soon, self._flush)

    @property
    def is_idle(self) -> bool:
        return not (self._unwritten or self._unanswered)

    async def answered(self, within_s: float) -> None:
        """Wait until there is nothing to wait for."""
        if not self.is_idle:
            self._idle = self.loop.create_future()
            await asyncio.wait([self._idle], timeout=within_s)

    def _flush(self) -> None:
        self._is_flush_due = False
        connection, unwritten = self.connection, self._unwritten
        while connection is not None and unwritten and connection.has_room and not self._again:
            pieces, size = [], 0
            while unwritten and size < WRITTEN_AT_ONCE_BYTES:
                waiting = unwritten.popleft()
                pieces.append(waiting.command)
                size += len(waiting.command)
                self._unanswered.append(waiting)
            connection.write(b"".join(pieces))

    # Kept

    def first_commands(self) -> tuple[bytes, ...]:
        return loading()

    @property
    def is_wanted(self) -> bool:
        return bool(self._unwritten)

    @property
    def waits_since(self) -> float | None:
        return self._unanswered[0].since if self._unanswered else None

    def came(self, connection: Connection) -> None:
        self._flush()

    def roomy(self) -> None:
        self._flush()

    def ping(self, connection: Connection) -> None:
        self._unanswered.append(Waiting(PING, 1, nobody, self.loop.time()))
        self._bytes += len(PING)
        connection.write(PING)

    def receive(self, reply: Reply) -> None:
        waiting = self._unanswered[0]
        if waiting.replies > 1:
            self._replies.append(reply)
            if len(self._replies) < waiting.replies:
                return
            replies, self._replies = self._replies, []
        else:
            replies = [reply]
        self._unanswered.popleft()
        if isinstance(reply, Refusal) and self._is_undone(reply, waiting):
            self._again.append(waiting)
        else:
            self._tell(waiting, replies)
        if not self._unanswered:
            if self._again:
                self._write_again()
            else:
                self._tell_idle()

    def _tell(self, waiting: Waiting, answer: list[Reply] | Exception) -> None:
        self._bytes -= len(waiting.command)
        waiting.told(answer)

    def _is_undone(self, refusal: Refusal, waiting: Waiting) -> bool:
        """Of a script or a single command: several have done what they could. And there is hope."""
        code = str(refusal).partition(" ")[0]
        if waiting.replies > 1:
            return False
        if code == "READONLY" and self.loop.time() - waiting.since < WAIT_S:
            self._is_read_only = True
            return True
        return code == "NOSCRIPT" and not waiting.is_again

    def _write_again(self) -> None:
        """What the server has not done comes first. What came meanwhile has waited, so order holds."""
        now = self.loop.time()
        again, self._again = self._again, []
        if self._is_read_only:
            self._unwritten.extendleft(reversed(again))
            self.renew("The server takes no writes any more: another one is the master")
        else:  # somebody has let the server forget its scripts
            self._bytes += sum(map(len, loading()))
            loads = [Waiting(load, 1, nobody, now) for load in loading()]
            again = [waiting._replace(since=now, is_again=True) for waiting in again]
            self._unwritten.extendleft(reversed([*loads, *again]))
            self._flush()

    def _tell_idle(self) -> None:
        if self._idle is not None and not self._unwritten and not self._idle.done():
            self._idle.set_result(None)

    def went(self, why: str, *, is_over: bool) -> None:
        unanswered, self._unanswered = [*self._again, *self._unanswered], deque()
        self._again, self._replies = [], []
        self._is_read_only = False
        for waiting in unanswered:
            self._tell(waiting, LayerUnavailable(f"{why}: whether a command was done is not known."))
        self._tell_idle()

    def give_up(self, error: LayerUnavailable, now: float) -> None:
        while self._unwritten and now - self._unwritten[0].since >= WAIT_S * 0.9:
            self._tell(self._unwritten.popleft(), error)


def settle(answer: asyncio.Future[Any], replies: list[Reply] | Exception) -> None:
    if answer.done():
        return
    reply = replies[0] if isinstance(replies, list) else replies
    if isinstance(reply, Exception):
        answer.set_exception(reply)
    else:
        answer.set_result(reply)


def nobody(replies: list[Reply] | Exception) -> None:
    """Nobody waits for it."""
