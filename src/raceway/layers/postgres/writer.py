"""What one event loop has PostgreSQL do: command after command, over one connection."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import Any, Final

from raceway.errors import LayerUnavailable
from raceway.layers.postgres.commands import Command, Names, Pop, next_batch
from raceway.layers.postgres.connecting import Place, Session, forsake, has_ended
from raceway.layers.postgres.limits import SWEEP_S, WAITING_BYTES, WAITING_COMMANDS

logger = logging.getLogger("raceway.layers")

CLOSE_S: Final = 5.0
"""How long what waits may take at the end."""

LAST_TURNS: Final = 5
"""Turns of the event loop in which something may come of the last results: what nobody wants any more is put back."""


class Writer:
    """Do commands in the order in which they are added, as many in one statement as go together.

    ``wake`` is called after a statement that has left something in the outbox; if it returns ``True``, the sequencer
    of another process is to be woken. The connection is made when it is first needed, and again if it was lost; what
    was under way then is not done again.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, place: Place, names: Names, wake: Callable[[], bool]
    ) -> None:
        self._loop = loop
        self._place = place
        self._names = names
        self._wake = wake
        self._waiting: deque[Command] = deque()
        self._futures: deque[asyncio.Future[Any]] = deque()
        self._bytes = 0
        """What the messages of these have."""
        self._sweep_at = loop.time() + SWEEP_S
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._session: Session | None = None
        self._is_closing = False
        self._is_closed = False

    def add(self, command: Command) -> asyncio.Future[Any]:
        """What it ends with; ``LayerUnavailable`` if it cannot be done, or is not known to have been."""
        future: asyncio.Future[Any] = self._loop.create_future()
        if self._is_closing and isinstance(command, Pop):
            future.cancel()
        elif self._is_closed:
            future.set_exception(LayerUnavailable("The PostgreSQL layer is closed."))
        elif len(self._waiting) >= WAITING_COMMANDS or self._bytes + command.size > WAITING_BYTES:
            future.set_exception(
                LayerUnavailable(
                    f"PostgreSQL is too slow: {len(self._waiting)} commands with {self._bytes} bytes wait for it."
                )
            )
        else:
            self._bytes += command.size
            self._waiting.append(command)
            self._futures.append(future)
            self._news.set()
            if self._task is None:
                self._task = self._loop.create_task(self._work(), context=Context())
        return future

    async def _work(self) -> None:
        try:
            while not self._is_closing:
                await self._news.wait()
                self._news.clear()
                await self._do_all()
        finally:
            try:  # also if the loop ends, and cancels this
                await asyncio.wait_for(self._do_last(), CLOSE_S)
            finally:
                self._is_closed = True
                self._task = None
                self._fail(LayerUnavailable("The event loop of the PostgreSQL layer has ended."))
                self.drop()

    async def _do_all(self) -> None:
        while self._waiting:
            await self._do_next()

    async def _do_last(self) -> None:
        """What waits, but for what would only take messages, and what comes of it at once."""
        self._is_closing = True
        waiting = list(zip(self._waiting, self._futures, strict=True))
        self._waiting.clear()
        self._futures.clear()
        for command, future in waiting:
            if isinstance(command, Pop):
                future.cancel()
            else:
                self._waiting.append(command)
                self._futures.append(future)
        for _ in range(LAST_TURNS):
            await self._do_all()
            await asyncio.sleep(0)

    async def _do_next(self) -> None:
        try:
            session = await self._connected()
        except LayerUnavailable as error:
            self._fail(error)
            return
        batch = next_batch(self._waiting)
        self._bytes -= sum(command.size for command in batch)
        futures = [self._futures.popleft() for _ in batch]
        kind = type(batch[0])
        try:
            rows = await session.run(batch[0].query, kind.parameters(batch, self._names))
            results = kind.results(batch, rows, self._names)
        except Exception as error:
            if not isinstance(error, LayerUnavailable):
                logger.exception("A command of the PostgreSQL layer failed.")
                error = LayerUnavailable(f"A command of the PostgreSQL layer failed: {error}")
            results = [error] * len(batch)
        except BaseException:
            for future in futures:
                settle(
                    future, LayerUnavailable("The event loop of the PostgreSQL layer has ended meanwhile.")
                )
            raise
        for future, result in zip(futures, results, strict=True):
            settle(future, result)
        if kind.wakes and not session.is_lost:
            await self._wake_sequencer(session)

    async def _wake_sequencer(self, session: Session) -> None:
        try:
            if self._wake():
                await session.run("wake")
            if self._loop.time() >= self._sweep_at:
                self._sweep_at = self._loop.time() + SWEEP_S
                await session.run("sweep")
        except LayerUnavailable as error:  # it polls, too
            logger.debug("The sequencer could not be woken: %s", error)

    async def _connected(self) -> Session:
        if self._session is not None and has_ended(self._session.connection):
            self._session.drop()
            self._session = None
        if self._session is None:
            self._session = await Session.open(self._place, "writer")
        return self._session

    def _fail(self, error: LayerUnavailable) -> None:
        """End all that waits with ``error``."""
        self._waiting.clear()
        self._bytes = 0
        while self._futures:
            settle(self._futures.popleft(), error)

    async def aclose(self) -> None:
        """Do what waits, but not for ever, and close the connection."""
        self._is_closing = True
        self._news.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=2 * CLOSE_S)
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def drop(self) -> None:
        if self._session is not None:
            self._session.drop()
            self._session = None

    def forsake(self) -> None:
        if self._session is not None:
            forsake(self._session.connection)
            self._session = None


def settle(future: asyncio.Future[Any], result: Any) -> None:
    """End it, if whoever asked has not gone."""
    if future.done():
        return
    if isinstance(result, BaseException):
        future.set_exception(result)
    else:
        future.set_result(result)
