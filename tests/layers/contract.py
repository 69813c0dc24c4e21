"""A layer as other people write them: the published contract, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import count
from typing import Any

from raceway.layers.memory import MemoryLayer


class ChannelFull(Exception):
    """Everybody has one of their own."""


class Contract:
    """Keep the channel layer specification in one event loop, as most do, and note the calls.

    What stands in ``failures`` under the name of a method is raised by it, one exception per call.
    """

    extensions = ["groups", "flush"]

    def __init__(self, **options: Any) -> None:
        self._memory = MemoryLayer(**options)
        self._numbers: Iterator[int] = count()
        self.capacity = self._memory.capacity
        self.expiry = self._memory.expiry
        self.group_expiry = self._memory.group_expiry
        self.calls: list[tuple[Any, ...]] = []
        self.failures: dict[str, list[BaseException]] = {}
        self.loops: set[asyncio.AbstractEventLoop] = set()
        self.receiving: set[str] = set()
        self.gate = asyncio.Event()
        """Sends wait for it."""
        self.gate.set()

    def _note(self, name: str, *args: Any) -> None:
        self.calls.append((name, *args))
        self.loops.add(asyncio.get_running_loop())
        if self.failures.get(name):
            raise self.failures[name].pop(0)

    async def new_channel(self, prefix: str = "foreign") -> str:
        self._note("new_channel")
        return f"{prefix}!{next(self._numbers)}"

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        await self.gate.wait()
        self._note("send", channel, message)
        try:
            await self._memory.send(channel, message)
        except self._memory.ChannelFull:
            raise ChannelFull from None

    async def receive(self, channel: str) -> dict[str, Any]:
        self.receiving.add(channel)
        try:
            self._note("receive", channel)
            return await self._memory.receive(channel)
        except asyncio.CancelledError:
            if self.failures.get("cancel"):
                raise self.failures["cancel"].pop() from None
            raise
        finally:
            self.receiving.discard(channel)

    async def group_add(self, group: str, channel: str) -> None:
        await asyncio.sleep(0)
        self._note("group_add", group, channel)
        await self._memory.group_add(group, channel)

    async def group_discard(self, group: str, channel: str) -> None:
        await asyncio.sleep(0)
        self._note("group_discard", group, channel)
        await self._memory.group_discard(group, channel)

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        self._note("group_send", group, message)
        await self._memory.group_send(group, message)

    async def flush(self) -> None:
        self._note("flush")
        await self._memory.flush()
