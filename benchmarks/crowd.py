"""``python -m benchmarks.crowd``: members of the group "room" in one process, which are asked for by lines of stdin.

``join N``: N more members that hear what is sent. ``send SECONDS own|other``: events one after the other, sent by this
process or by another one; prints the milliseconds from each send until the last member has it, and the CPU µs of
this process per delivery. ``count``: how many have been delivered, and when the last one was. Answers are JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import uvloop

from benchmarks.project.layer import ROOM, project_layer
from benchmarks.project.settings import RACEWAY_IS_HERE
from benchmarks.publisher import timed

LEAST_SENDS = 3
SILENCE_S = 20.0


class Crowd:
    """Members as consumers are: Raceway's have a channel open, Channels' a task in ``receive``."""

    def __init__(self) -> None:
        self.layer = project_layer()
        self.members = 0
        self.delivered = 0
        self.last_at = 0.0
        self.latest: dict[str, Any] = {}
        self._everyone = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def join(self, members: int) -> None:
        for _ in range(members):
            await (self._open() if RACEWAY_IS_HERE else self._receive())
        self.members += members

    async def _open(self) -> None:
        from raceway.layers import decode_event

        def deliver(encoded: bytes) -> bool:
            self._take(decode_event(encoded))
            return True

        channel = self.layer.new_channel_name()
        self.layer.open(channel, deliver)
        await self.layer.start_join(ROOM, channel)

    async def _receive(self) -> None:
        channel = await self.layer.new_channel()
        await self.layer.group_add(ROOM, channel)

        async def receive() -> None:
            while True:
                self._take(await self.layer.receive(channel))

        self._tasks.append(asyncio.get_running_loop().create_task(receive()))

    def _take(self, event: dict[str, Any]) -> None:
        self.delivered += 1
        if self.delivered % self.members == 0:
            self.latest, self.last_at = event, time.perf_counter()
            self._everyone.set()

    async def once(self, publish: Callable[[], Awaitable[object]]) -> float:
        """Seconds from a send until the last member has it."""
        self._everyone.clear()
        await publish()
        async with asyncio.timeout(SILENCE_S):
            await self._everyone.wait()
        return self.last_at - float(self.latest["at"])

    async def send(self, seconds: float, publish: Callable[[], Awaitable[object]]) -> dict[str, Any]:
        await self.once(publish)
        took: list[float] = []
        began, cpu = time.perf_counter(), time.process_time()
        while time.perf_counter() - began < seconds or len(took) < LEAST_SENDS:
            took.append(await self.once(publish) * 1e3)
        cpu = time.process_time() - cpu
        return {"ms": took, "us": cpu / len(took) / self.members * 1e6, "sends": len(took)}

    async def send_own(self) -> None:
        await self.layer.group_send(ROOM, timed())


async def send_by_other(crowd: Crowd, seconds: float) -> dict[str, Any]:
    with publisher() as other:
        assert other.stdin is not None
        assert other.stdout is not None
        await asyncio.to_thread(other.stdout.readline)
        pipe = other.stdin.fileno()

        async def ask() -> None:
            os.write(pipe, b".")

        return await crowd.send(seconds, ask)


def publisher() -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "benchmarks.publisher", "timed"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)


async def main() -> None:
    asked = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(partial(asyncio.StreamReaderProtocol, asked), sys.stdin)
    crowd = Crowd()
    print(json.dumps("ready"), flush=True)
    while line := await asked.readline():
        command, *arguments = line.decode().split()
        answer: Any = None
        if command == "join":
            await crowd.join(int(arguments[0]))
        elif command == "send" and arguments[1] == "own":
            answer = await crowd.send(float(arguments[0]), crowd.send_own)
        elif command == "send":
            answer = await send_by_other(crowd, float(arguments[0]))
        elif command == "count":
            answer = {"delivered": crowd.delivered, "at": crowd.last_at}
        print(json.dumps(answer), flush=True)
    os._exit(0)  # thousands of tasks that nobody has to end one by one


if __name__ == "__main__":
    uvloop.run(main())
