"""One process of the ``local`` layer: ``python -m benchmarks.member PATH ROLE [ARGUMENT ...]``.

Roles: ``broker`` hosts until its stdin ends. ``echo`` publishes to the group "pong" what comes to "ping", until its
stdin ends. ``ping COUNT`` publishes to "ping" and waits for "pong", one after the other, and prints the round trips'
microseconds; with PATH ``memory`` both ends are in this process. ``take`` receives from the channel "work" with many
receivers, ``listen`` has it open, until stdin ends. ``send SECONDS`` sends to "work" as fast as a window of messages
that have not been answered allows, and prints how many. ``join SECONDS SIZE`` joins and leaves a presence of SIZE and
prints CPU microseconds of one join with its leave. All print JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import uvloop
from django.conf import settings

from raceway.layers import ChannelLayer
from raceway.layers.memory import MemoryLayer
from raceway.layers.roster import presence_group

RECEIVERS = 50
WINDOW = 50
JOINS = 100


def make_layer(path: str, **options: Any) -> ChannelLayer:
    if path == "memory":
        return MemoryLayer(**options)
    from raceway.layers.local import LocalLayer

    return LocalLayer(path=path, **options)


async def ended() -> None:
    """Wait for the end of stdin."""
    print(json.dumps("ready"), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def echo(layer: ChannelLayer) -> None:
    await answer_pings(layer)
    await ended()


async def answer_pings(layer: ChannelLayer) -> None:
    message = layer.prepare({"type": "pong"})

    def deliver(encoded: bytes) -> bool:
        layer.start_publish("pong", message)
        return True

    channel = layer.new_channel_name()
    layer.open(channel, deliver)
    await layer.start_join("ping", channel)


async def ping(layer: ChannelLayer, count: int) -> None:
    if type(layer) is MemoryLayer:
        await answer_pings(layer)
    loop = asyncio.get_running_loop()
    came = loop.create_future()

    def deliver(encoded: bytes) -> bool:
        came.set_result(time.perf_counter())
        return True

    channel = layer.new_channel_name()
    layer.open(channel, deliver)
    await layer.start_join("pong", channel)
    message = layer.prepare({"type": "ping"})
    round_trips_us = []
    for _ in range(count):
        came = loop.create_future()
        began = time.perf_counter()
        layer.start_publish("ping", message)
        round_trips_us.append(((await came) - began) * 1e6)
        await asyncio.sleep(0.0005)  # as between messages that nobody waits for
    print(json.dumps(round_trips_us))


async def take(layer: ChannelLayer) -> None:
    async def receive() -> None:
        while True:
            await layer.receive("work")

    tasks = [asyncio.ensure_future(receive()) for _ in range(RECEIVERS)]
    await ended()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def listen(layer: ChannelLayer) -> None:
    layer.open("work", lambda encoded: True)
    await ended()


async def send(layer: ChannelLayer, seconds: float) -> None:
    message = {"type": "work", "text": "x" * 128}
    sent = 0
    began = time.perf_counter()

    async def sender() -> None:
        nonlocal sent
        while time.perf_counter() - began < seconds:
            try:
                await layer.send("work", message)
                sent += 1
            except layer.ChannelFull:
                await asyncio.sleep(0.001)

    await asyncio.gather(*(sender() for _ in range(WINDOW)))
    print(json.dumps({"sent": sent, "wall_s": time.perf_counter() - began}))


async def join(layer: ChannelLayer, seconds: float, size: int) -> None:
    async def come(number: int) -> str:
        channel = layer.new_channel_name()
        layer.open(channel, lambda encoded: True)
        await layer.start_join(presence_group("room"), channel)
        await layer.start_enter("room", f"person {number}", channel, {"name": f"Person {number}"}, 0.0)
        return channel

    for number in range(size - 1):
        await come(number)
    await asyncio.sleep(3.0)  # longer than the window in which 10,000 are told of those
    joins = 0
    began_cpu, began = time.process_time(), time.perf_counter()
    while time.perf_counter() - began < seconds:
        channels = [await come(-number) for number in range(1, JOINS + 1)]
        for channel in channels:
            layer.close(channel)
        joins += JOINS
        await asyncio.sleep(0)
    print(json.dumps({"us": (time.process_time() - began_cpu) / joins * 1e6, "joins": joins}))


async def host(path: str) -> None:
    from raceway.layers.local.serving import BrokerHost

    broker = BrokerHost(Path(path))
    broker.start()
    await ended()
    broker.stop()


async def main(path: str, role: str, *arguments: str) -> None:
    if role == "broker":
        await host(path)
        return
    layer = make_layer(path, capacity=10_000)
    if role == "echo":
        await echo(layer)
    elif role == "ping":
        await ping(layer, int(arguments[0]))
    elif role == "take":
        await take(layer)
    elif role == "listen":
        await listen(layer)
    elif role == "send":
        await send(layer, float(arguments[0]))
    elif role == "join":
        await join(layer, float(arguments[0]), int(arguments[1]))
    with suppress(NotImplementedError):
        await layer.aclose()


if __name__ == "__main__":
    settings.configure()
    uvloop.run(main(*sys.argv[1:]))
