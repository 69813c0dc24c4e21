"""Carriers whose ears remember."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from raceway.errors import LayerUnavailable
from raceway.layers.postgres.carrier import PostgresCarrier
from raceway.layers.postgres.commands import Wake
from raceway.layers.postgres.connecting import Place
from raceway.layers.postgres.limits import LEASE_S, WAKE_EVERY_S
from tests.servers.postgres import Database

ARRIVAL_S = 20.0
"""On a busy machine, with a server that has to start again."""


class Ears:
    def __init__(self) -> None:
        self.frames: list[tuple[str, bytes]] = []
        self.told: list[str] = []
        """``lost`` and ``missed``, in order."""
        self.reasons: list[str] = []

    def heard(self, address: str, frame: bytes) -> None:
        self.frames.append((address, frame))

    def lost(self, reason: str) -> None:
        self.told.append("lost")
        self.reasons.append(reason)

    def missed(self, reason: str) -> None:
        self.told.append("missed")
        self.reasons.append(reason)

    def payloads(self) -> list[bytes]:
        return [frame for _, frame in self.frames]


class Listening:
    """A carrier and what it hears."""

    def __init__(self, database: Database, *, listen_dsn: str | None = None, **options: Any) -> None:
        self.ears = Ears()
        given: dict[str, Any] = {
            "prefix": "test",
            "wake": Wake(WAKE_EVERY_S),
            "lease_s": LEASE_S,
            "log_kept_s": 60.0,
        }
        loop = asyncio.get_running_loop()
        place = Place(database.alias, listen_dsn)
        self.carrier = PostgresCarrier(loop, place, self.ears, **{**given, **options})

    async def subscribe(self, *addresses: str) -> None:
        for address in addresses:
            waiting = self.carrier.subscribe(address)
            if waiting is not None:
                await waiting

    @property
    def is_sequencer(self) -> bool:
        return self.carrier._reader._is_sequencer


@asynccontextmanager
async def listening(database: Database, *addresses: str, **options: Any) -> AsyncIterator[Listening]:
    one = Listening(database, **options)
    try:
        await one.subscribe(*addresses)
        yield one
    finally:
        await one.carrier.aclose()


async def until(condition: Callable[[], object], what: str, within_s: float = ARRIVAL_S) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    while not condition():
        assert loop.time() < deadline, what
        await asyncio.sleep(0.005)


async def cast_until_it_goes(one: Listening, address: str, frame: bytes) -> None:
    """Send once: again only if it is certain that it was not sent, for nothing could be reached."""
    while True:
        with suppress(LayerUnavailable):
            await one.carrier.cast(address, frame)
            return
        await asyncio.sleep(0.05)
