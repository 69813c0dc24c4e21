"""A connection that is made again when it is lost, as long as somebody wants it; and how that is decided."""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from contextlib import suppress
from enum import Enum
from typing import Final, Protocol

from raceway.backoff import Backoff
from raceway.errors import LayerUnavailable
from raceway.layers.redis.connection import Connection, Reply, connect, pack
from raceway.layers.redis.hosts import Server
from raceway.layers.redis.topology import Place

FIRST_RETRY_S: Final = 0.05
LONGEST_RETRY_S: Final = 0.75
"""A server that cannot be reached is tried again after so long, twice as long each time, but for chance."""

WAIT_S: Final = 1.0
"""How long what has not been written waits for a connection."""

TICK_S: Final = WAIT_S / 4
"""That time is counted in such steps: a loop that has stood still has not tried to connect."""

LOOK_S: Final = 1.0
"""A connection is looked after so often."""

IDLE_S: Final = 5.0
"""A server that has said nothing for so long is asked whether it lives (``PING``)."""

DEAD_S: Final = 5.0
"""A server that says nothing for so long while something waits for its answer counts as lost."""

PLAYS_S: Final = 5.0
"""Sentinel or the Cluster is asked so often whether a server still plays its part."""

PING: Final = pack("PING")


class Verdict(Enum):
    FINE = "fine"
    ASK = "ask"
    DEAD = "dead"


class Silence:
    """Judge by its silence whether a server is alive. Call ``judge`` every ``LOOK_S`` or so."""

    def __init__(self, now: float) -> None:
        self._looked_at = self._since = now

    def judge(self, now: float, heard_at: float, waits_since: float | None) -> Verdict:
        """``heard_at``: the server was last heard; ``waits_since``: the oldest question without an answer."""
        if now - self._looked_at > 2 * LOOK_S:
            self._since = now  # this process itself has stood still, so it could not hear
        self._looked_at = now
        if waits_since is None:
            return Verdict.ASK if now - heard_at >= IDLE_S else Verdict.FINE
        return Verdict.DEAD if now - max(heard_at, waits_since, self._since) >= DEAD_S else Verdict.FINE


class Routes(Protocol):
    """Who knows where servers are; ``raceway.layers.redis.routes`` has them."""

    async def locate(self, place: Place) -> Server: ...
    async def still_plays(self, place: Place, server: Server) -> bool: ...
    def look(self, shard: int) -> None: ...


class Kept(ABC):
    """A loop's connection to a place. All methods belong to the loop's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, place: Place, routes: Routes) -> None:
        self.place = place
        self.loop = loop
        self.connection: Connection | None = None
        self._routes = routes
        self._backoff = Backoff(FIRST_RETRY_S, LONGEST_RETRY_S)
        self._task: asyncio.Task[None] | None = None
        self._ended: asyncio.Future[None] | None = None
        self._patience: asyncio.TimerHandle | None = None
        self._waited = 0
        """How many times ``TICK_S`` there was no connection."""
        self._problem = "no connection yet"

    # What kinds of connections give

    def first_commands(self) -> tuple[bytes, ...]:
        """Said on each new connection before it is there."""
        return ()

    @property
    @abstractmethod
    def is_wanted(self) -> bool:
        """Somebody waits for it."""

    @property
    @abstractmethod
    def waits_since(self) -> float | None:
        """When the oldest question without an answer was written, by the loop's clock."""

    @abstractmethod
    def came(self, connection: Connection) -> None:
        """It is there."""

    @abstractmethod
    def went(self, why: str, *, is_over: bool) -> None:
        """It has ended, and if it ``is_over`` there is no other; what was written and not answered is not known to have
        been done."""

    @abstractmethod
    def receive(self, reply: Reply) -> None: ...

    @abstractmethod
    def roomy(self) -> None:
        """The kernel takes more."""

    @abstractmethod
    def give_up(self, error: LayerUnavailable, now: float) -> None:
        """End with ``error`` what has waited for ``WAIT_S``."""

    @abstractmethod
    def ping(self, connection: Connection) -> None: ...

    # Keeping it

    def want(self) -> None:
        """See to it that there will be one, or that who waits is told."""
        if self._task is None:
            self._task = self.loop.create_task(self._keep())
        if self.connection is None and self._patience is None:
            self._waited = 0
            self._patience = self.loop.call_later(TICK_S, self._lose_patience)

    def renew(self, why: str) -> None:
        """Give up the connection for another."""
        if self.connection is not None:
            self.connection.lose(why)

    async def aclose(self) -> None:
        task = self._task
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self._stop()

    def forsake(self) -> None:
        """Close the file descriptor without the loop, and without a word."""
        if self.connection is not None:
            self.connection.forsake()

    async def _keep(self) -> None:
        try:
            while self.is_wanted:
                try:
                    connection = await connect(await self._routes.locate(self.place), self.first_commands())
                except Exception as error:  # credentials may come from anybody's code
                    self._problem = str(error)
                    self._routes.look(self.place.shard)
                    await asyncio.sleep(self._backoff.failed(random.random()))
                    continue
                since = self.loop.time()
                await self._use(connection)
                if self.loop.time() - since >= LOOK_S:
                    self._backoff.succeeded()
                else:  # whoever ends connections at once is not asked for others as fast as that goes
                    await asyncio.sleep(self._backoff.failed(random.random()))
        except asyncio.CancelledError:
            if self.connection is not None:
                self.roomy()  # what is said in the last pass of a loop is said
            self._end("The event loop, or the layer, has ended", is_over=True)
            self.give_up(LayerUnavailable("The event loop, or the layer, has ended."), float("inf"))
            raise
        finally:
            self._task = None

    async def _use(self, connection: Connection) -> None:
        self._stop()
        self._ended = self.loop.create_future()
        self.connection = connection
        connection.start(self.receive, self._lost, self.roomy)
        if self.connection is not None:
            self.came(connection)
        playing = self.loop.create_task(self._ask_whether_it_plays(connection))
        try:
            await self._look_after(connection)
        finally:
            playing.cancel()
            await asyncio.gather(playing, return_exceptions=True)

    async def _look_after(self, connection: Connection) -> None:
        silence = Silence(self.loop.time())
        assert self._ended is not None
        while True:
            await asyncio.wait([self._ended], timeout=LOOK_S)
            if self._ended.done():
                return
            verdict = silence.judge(self.loop.time(), connection.heard_at, self.waits_since)
            if verdict is Verdict.ASK:
                self.ping(connection)
            elif verdict is Verdict.DEAD:
                connection.lose(f"{connection.server} has not answered for {DEAD_S:.0f} s")

    async def _ask_whether_it_plays(self, connection: Connection) -> None:
        while connection.is_open:
            await asyncio.sleep(PLAYS_S)
            with suppress(LayerUnavailable):
                if not await self._routes.still_plays(self.place, connection.server):
                    connection.lose(f"{connection.server} is not the server to talk to any more")

    def _lost(self, why: str) -> None:
        self._problem = why
        self._end(why)
        self._routes.look(self.place.shard)
        if self.is_wanted:
            self.want()

    def _end(self, why: str, *, is_over: bool = False) -> None:
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.close()
            self.went(why, is_over=is_over)
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)

    def _lose_patience(self) -> None:
        self._patience = None
        if self.connection is not None:
            return
        self._waited += 1
        if self._waited * TICK_S >= WAIT_S:
            error = LayerUnavailable(f"Redis cannot be reached: {self._problem}.")
            self.give_up(error, self.loop.time())
        if self.is_wanted:
            self._patience = self.loop.call_later(TICK_S, self._lose_patience)

    def _stop(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
