"""``python -m benchmarks.publisher WHAT``: publish once to the group "room" for each byte of stdin.

WHAT is ``message``, text for the consumers' clients; ``event``, of which each consumer makes JSON; or ``timed``, an
event of 128 bytes that says when it was sent. Prints "ready" when the layer has been used.
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
from benchmarks.project.layer import ROOM, broadcast, project_layer
from benchmarks.project.messages import COMPACT, SPACED, event
from benchmarks.project.settings import RACEWAY_IS_HERE


def timed() -> dict[str, Any]:
    """The clock is that of all processes of the machine."""
    return {"type": "room.text", "text": "x" * BROADCAST_BYTES, "at": time.perf_counter()}


async def publish(what: str) -> None:
    if what == "message":
        await broadcast()
    elif what == "event":
        await project_layer().group_send(ROOM, event(COMPACT if RACEWAY_IS_HERE else SPACED))
    else:
        await project_layer().group_send(ROOM, timed())


async def main(what: str) -> None:
    asked = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(partial(asyncio.StreamReaderProtocol, asked), sys.stdin)
    await project_layer().group_send("nobody", {"type": "hello"})
    print(json.dumps("ready"), flush=True)
    while await asked.read(1):
        await publish(what)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
