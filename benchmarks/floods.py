"""``python -m benchmarks.floods SECONDS``: as many messages to the group "room" as fit; prints as JSON how many.

Coroutines wait for the layer at the same time, so that it can batch what they send.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import uvloop

from benchmarks.project.layer import ROOM, project_layer
from benchmarks.publisher import timed

AT_ONCE = 500


async def main(seconds: float) -> dict[str, Any]:
    layer = project_layer()
    sent = 0

    async def sender() -> None:
        nonlocal sent
        while time.perf_counter() - began < seconds:
            await layer.group_send(ROOM, timed())
            sent += 1

    await layer.group_send("nobody", {"type": "hello"})
    cpu, began = time.process_time(), time.perf_counter()
    await asyncio.gather(*(sender() for _ in range(AT_ONCE)))
    return {"sent": sent, "began": began, "cpu_s": time.process_time() - cpu}


if __name__ == "__main__":
    print(json.dumps(uvloop.run(main(float(sys.argv[1])))))
