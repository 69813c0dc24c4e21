"""A process for ``test_local.py``: a connection in the group ``g``, that does what it reads and says what it hears.

``python -m tests.topology.local_member PATH LEASE_S``; each line of stdin is a method of ``Connection`` and its
arguments, as JSON, and each line of stdout something that it says.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from raceway.layers.local import LocalLayer
from raceway.layers.local.serving import BrokerHost
from raceway.layers.spec import decode_event


class Connection:
    def __init__(self, path: str, lease_s: float) -> None:
        self.layer = LocalLayer(path=path, lease_s=lease_s)
        self.loop = asyncio.get_running_loop()
        self.channel = self.layer.new_channel_name()
        self.tasks: set[asyncio.Task[None]] = set()
        self.ends = asyncio.Event()

    def say(self, **what: Any) -> None:
        print(json.dumps(what), flush=True)

    async def main(self) -> None:
        self.layer.open(self.channel, self.deliver, gap=lambda reason: self.say(gap=reason))
        await self.layer.group_add("g", self.channel)
        self.say(channel=self.channel, pid=os.getpid())
        threading.Thread(target=self.read, daemon=True).start()
        await self.ends.wait()
        await self.layer.aclose()

    def deliver(self, encoded: bytes) -> bool:
        self.say(heard=decode_event(encoded)["n"])
        return True

    def read(self) -> None:
        for line in sys.stdin:
            self.loop.call_soon_threadsafe(self.do, *json.loads(line))
        self.loop.call_soon_threadsafe(self.ends.set)

    def do(self, method: str, *args: Any) -> None:
        task = self.loop.create_task(getattr(self, method)(*args))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    # Orders

    async def publish(self, *numbers: Any) -> None:
        for number in numbers:
            await self.layer.group_send("g", {"type": "n", "n": number})
        self.say(published=len(numbers))

    async def publish_on(self, name: str, pause_s: float) -> None:
        """Publish ever higher numbers, from now on."""
        number = 0
        while True:
            await self.layer.group_send("g", {"type": "n", "n": [name, number]})
            number += 1
            await asyncio.sleep(pause_s)

    async def send(self, channel: str, number: int) -> None:
        try:
            await self.layer.send(channel, {"type": "n", "n": number})
            self.say(sent=number)
        except Exception as error:
            self.say(failed=type(error).__name__)

    async def send_from_thread(self, channel: str, number: int) -> None:
        message = self.layer.prepare({"type": "n", "n": number})
        try:
            await asyncio.to_thread(self.layer.send_from_thread, channel, message)
            self.say(sent=number)
        except Exception as error:
            self.say(failed=type(error).__name__)

    async def take(self, channel: str) -> None:
        self.say(taken=(await self.layer.receive(channel))["n"])

    async def count(self) -> None:
        self.say(count=await self.layer.group_count("g"))

    async def fork(self) -> None:
        """Leave a child behind that does nothing."""
        if os.fork() == 0:
            for number in (0, 1, 2):
                os.close(number)
            time.sleep(60)  # noqa: ASYNC251
            os._exit(0)
        self.say(forked=True)

    async def stay_silent(self) -> None:
        self.say(silent=True)
        time.sleep(3600)  # noqa: ASYNC251


def host(path: str, lease_s: str) -> None:
    """Only host a broker."""
    host = BrokerHost(Path(path), float(lease_s))
    host.start()
    print(json.dumps({"hosts": host.is_owner}), flush=True)
    sys.stdin.read()
    host.stop()


async def main(path: str, lease_s: str) -> None:
    await Connection(path, float(lease_s)).main()


if __name__ == "__main__":
    if sys.argv[1] == "host":
        host(*sys.argv[2:])
    else:
        asyncio.run(main(*sys.argv[1:]))
