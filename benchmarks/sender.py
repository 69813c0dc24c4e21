"""``python -m benchmarks.sender``: send to a named channel, as asked by lines of stdin; answers are JSON.

``CHANNEL SECONDS``: messages of 128 bytes for so long, then one that says that it is the last; prints how many, from
when, in which time and at which CPU time. With the argument ``beside`` a worker of Raceway runs in the same loop.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from functools import partial
from typing import Any

import uvloop

from benchmarks.apps import BROADCAST_BYTES
from benchmarks.project.layer import project_layer
from benchmarks.project.work import WORK

AT_ONCE = 50
"""Senders that wait for the layer at the same time."""

MESSAGE = {"type": "work.item", "last": False, "text": "x" * BROADCAST_BYTES}


async def send(channel: str, seconds: float, *, beside: bool) -> dict[str, Any]:
    layer = project_layer()
    sent = 0

    async def sender() -> None:
        nonlocal sent
        while time.perf_counter() - began < seconds:
            await layer.send(channel, MESSAGE)
            sent += 1
            if beside:
                await asyncio.sleep(0)  # the worker's turn: nothing else lets it have one

    cpu, began = time.process_time(), time.perf_counter()
    await asyncio.gather(*(sender() for _ in range(AT_ONCE)))
    await layer.send(channel, {**MESSAGE, "last": True})
    wall_s = time.perf_counter() - began
    return {"sent": sent + 1, "began": began, "wall_s": wall_s, "cpu_s": time.process_time() - cpu}


def start_worker() -> Any:
    from benchmarks.project.on_raceway import working
    from raceway.workers import Worker

    worker = Worker(working, [WORK], project_layer())
    worker.start()
    return worker


async def main(*, beside: bool) -> None:
    asked = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(partial(asyncio.StreamReaderProtocol, asked), sys.stdin)
    worker = start_worker() if beside else None
    print(json.dumps("ready"), flush=True)
    while line := await asked.readline():
        channel, seconds = line.decode().split()
        print(json.dumps(await send(channel, float(seconds), beside=beside)), flush=True)
    if worker is not None:
        await worker.stop(1.0)


if __name__ == "__main__":
    uvloop.run(main(beside=sys.argv[1:] == ["beside"]))
