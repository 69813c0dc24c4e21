"""One loop's connections to PostgreSQL: one that hears and numbers, one that writes and takes."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import Any

from raceway.layers.distributed.carrier import Carrier, Ears, Popped, group_address
from raceway.layers.postgres.commands import (
    AddNamed,
    Begin,
    Cancel,
    Cast,
    DiscardNamed,
    Elect,
    Figures,
    Flush,
    Named,
    Names,
    Pop,
    Put,
    PutBack,
    PutLater,
    Release,
    Resign,
    Wake,
    as_handle,
)
from raceway.layers.postgres.connecting import Place
from raceway.layers.postgres.reader import Reader
from raceway.layers.postgres.writer import Writer
from raceway.layers.statistics import Statistics
from raceway.layers.strand import Outcome


class PostgresCarrier(Carrier):
    """``prefix`` sets apart layers in one database. See ``Reader`` for the lease and the log."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        place: Place,
        ears: Ears,
        *,
        prefix: str,
        wake: Wake,
        lease_s: float,
        log_kept_s: float,
    ) -> None:
        self._lease_s = lease_s
        self._wake = wake
        self._has_held = False
        names = Names(prefix, secrets.token_hex(8))
        self._reader = Reader(loop, place, names, ears, lease_s=lease_s, log_kept_s=log_kept_s)
        self._writer = Writer(loop, place, names, self._wake_sequencer)

    def _wake_sequencer(self) -> bool:
        if self._reader.is_sequencing:
            self._reader.wake_sequencer()
            return False
        return self._wake.is_due(time.monotonic())

    # Frames

    def subscribe(self, address: str) -> asyncio.Future[None] | None:
        return self._reader.subscribe(address)

    def unsubscribe(self, address: str) -> None:
        self._reader.unsubscribe(address)

    def cast(self, address: str, frame: bytes) -> asyncio.Future[int]:
        return self._writer.add(Cast(address, frame))

    def publish(self, group: str, frame: bytes) -> asyncio.Future[list[str]]:
        return self._writer.add(Cast(group_address(group), frame, publishes=True))

    # Queues

    def put(self, channel: str, entry: bytes, capacity: int, expiry_s: float) -> asyncio.Future[None]:
        return self._writer.add(Put(channel, entry, capacity, expiry_s))

    def put_later(
        self, channel: str, entry: bytes, expiry_s: float, delay_s: float, token: str
    ) -> asyncio.Future[None]:
        return self._writer.add(PutLater(channel, entry, expiry_s, delay_s, token))

    def cancel(self, channel: str, token: str) -> asyncio.Future[bool]:
        return self._writer.add(Cancel(channel, token))

    def pop(self, channel: str, hold: bool) -> asyncio.Future[Popped]:
        if hold and not self._has_held:
            self._has_held = True
            self._do(Begin(self._lease_s))
            self._reader.start()  # which renews the lease
        return self._writer.add(Pop(channel, hold))

    def release(self, popped: Popped) -> None:
        self._do(Release(as_handle(popped).id))

    def put_back(self, popped: Popped) -> None:
        self._do(PutBack(as_handle(popped)))

    def _do(self, command: Any) -> None:
        """Have something done that nobody waits for; if it fails, the log tells."""
        Outcome(self._writer.add(command), f"{type(command).__name__} on the PostgreSQL layer")

    # Members by name

    def add_named(self, group: str, channel: str, expiry_s: float) -> asyncio.Future[None]:
        return self._writer.add(AddNamed(group, channel, expiry_s))

    def discard_named(self, group: str, channel: str) -> asyncio.Future[None]:
        return self._writer.add(DiscardNamed(group, channel))

    def named(self, group: str) -> asyncio.Future[list[str]]:
        return self._writer.add(Named(group))

    # The rest

    def figures(self, channel: str | None) -> asyncio.Future[Statistics]:
        return self._writer.add(Figures(channel))

    def elect(self, role: str, lease_s: float) -> asyncio.Future[bool]:
        return self._writer.add(Elect(role, lease_s))

    def resign(self, role: str) -> asyncio.Future[None]:
        return self._writer.add(Resign(role))

    def flush(self) -> asyncio.Future[None]:
        return self._writer.add(Flush())

    async def aclose(self) -> None:
        await self._writer.aclose()
        await self._reader.aclose()

    def forsake(self) -> None:
        self._writer.forsake()
        self._reader.forsake()
