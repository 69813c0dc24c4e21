"""What a channel layer costs alone, in this process: prints CPU µs as JSON.

``python -m benchmarks.layer LAYER open|receive SECONDS MEMBERS SIZE...`` measures joining and leaving a group as
the last of each SIZE, and a message of 128 bytes to a group of MEMBERS. With ``receive`` it uses what the channel
layer specification has; with ``open``, what Raceway's consumers use: messages are handed over, then decoded.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from django.conf import settings
from django.utils.module_loading import import_string

from benchmarks.apps import BROADCAST_BYTES

EVENT = {"type": "room.text", "text": "x" * BROADCAST_BYTES}
AT_ONCE = 100


class Received:
    """Channels of the specification: each delivery is one ``receive``."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer
        self.members: list[str] = []

    async def join(self, group: str) -> None:
        channel = await self.layer.new_channel()
        self.members.append(channel)
        await self.layer.group_add(group, channel)

    async def join_and_leave(self, group: str) -> None:
        for _ in range(AT_ONCE):
            await self.layer.group_add(group, self.members[-1])
            await self.layer.group_discard(group, self.members[-1])

    async def publish(self, group: str) -> None:
        await self.layer.group_send(group, EVENT)
        for channel in self.members:
            assert (await self.layer.receive(channel)) == EVENT


class Opened(Received):
    """Channels of consumers."""

    def __init__(self, layer: Any) -> None:
        super().__init__(layer)
        self.delivered = 0
        self.everyone = asyncio.Event()

    async def join(self, group: str) -> None:
        from raceway.layers import decode_event

        def deliver(encoded: bytes) -> bool:
            assert decode_event(encoded) == EVENT
            self.delivered += 1
            if self.delivered == len(self.members):
                self.everyone.set()
            return True

        channel = self.layer.new_channel_name()
        self.members.append(channel)
        self.layer.open(channel, deliver)
        self.layer.join(group, channel)

    async def join_and_leave(self, group: str) -> None:
        for _ in range(AT_ONCE):
            self.layer.join(group, self.members[-1])
            self.layer.leave(group, self.members[-1])

    async def publish(self, group: str) -> None:
        self.delivered = 0
        self.everyone.clear()
        await self.layer.group_send(group, EVENT)
        await self.everyone.wait()


async def cpu_us(work: Callable[[], Awaitable[None]], seconds: float) -> float:
    """The CPU time of one ``work()``, of as many as fill the time, after one that finds everything cold."""
    await work()
    times = 0
    began = time.process_time()
    while (used := time.process_time() - began) < seconds or not times:
        await work()
        times += 1
    return used / times * 1e6


async def measure(
    make: Callable[[], Received], seconds: float, members: int, sizes: list[int]
) -> dict[str, float]:
    costs = {}
    for size in sizes:
        room = make()
        for _ in range(size):
            await room.join("room")
        costs[f"{size}"] = await cpu_us(partial(room.join_and_leave, "room"), seconds) / AT_ONCE
    room = make()
    for _ in range(members):
        await room.join("room")
    costs["send"] = await cpu_us(partial(room.publish, "room"), seconds) / members
    return costs


if __name__ == "__main__":
    settings.configure()
    layer_class = import_string(sys.argv[1])
    channels_of = Opened if sys.argv[2] == "open" else Received
    arguments = [int(argument) for argument in sys.argv[4:]]
    costs = asyncio.run(
        measure(lambda: channels_of(layer_class()), float(sys.argv[3]), arguments[0], arguments[1:])
    )
    print(json.dumps(costs))
