"""A process that listens, or works, for ``test_processes``: says on stdout what it is and what it hears."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import tests.project  # noqa: F401  Django's settings
from raceway.layers import decode_event
from raceway.layers.postgres import PostgresLayer
from tests.servers.postgres import add_alias


def say(*words: Any) -> None:
    print(*words, flush=True)


def is_sequencer(layer: PostgresLayer) -> bool:
    return any(part.carrier._reader._is_sequencer for part in layer._parts.values())  # type: ignore[attr-defined]


async def listen(layer: PostgresLayer) -> None:
    """Be in the group "g"."""

    def deliver(encoded: bytes) -> bool:
        say("heard", decode_event(encoded)["n"])
        return True

    channel = await layer.new_channel()
    layer.open(channel, deliver, gap=lambda reason: say("gap"))
    await layer.group_add("g", channel)
    say("ready", channel)
    was_sequencer = False
    while True:
        if is_sequencer(layer) and not was_sequencer:
            was_sequencer = True
            say("sequencer")
        await asyncio.sleep(0.02)


async def work(layer: PostgresLayer) -> None:
    """Take from "tasks"; be stuck in the one called "stop"."""
    say("ready")
    while True:
        work = await layer.take_work("tasks")
        task = decode_event(work.encoded)["n"]
        say("took", task)
        if task == "stop":
            await asyncio.sleep(60)
        work.done()
        say("did", task)


if __name__ == "__main__":
    what, settings, options = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
    add_alias("postgres", settings)
    asyncio.run({"listen": listen, "work": work}[what](PostgresLayer(using="postgres", **options)))
