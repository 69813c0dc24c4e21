"""How much memory does an idle WebSocket take, of a raw ASGI application?"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks import report
from benchmarks.load import Load
from benchmarks.measure import Results, Settings, alternated, tree_private_kib
from benchmarks.servers import ALL, RACEWAY, Running, Server, running

WARM_CONNECTIONS = 500  # stay open: what the server makes once is made, and no freed memory is used again
CONNECTIONS = 5000
CONTENDERS = ALL
SETTLE_S = 1.0
ORIENTATION = {"Raceway": 6, "Uvicorn": 20, "Daphne": 21, "Granian": 148}


@dataclass(frozen=True)
class Memory:
    """KiB of private process memory per connection."""

    kib: float
    disturbance: float = 0.0  # other processes do not change it


def answer(settings: Settings) -> str:
    """Measure, and answer in Markdown."""
    connections = CONNECTIONS // 5 if settings.quick else CONNECTIONS

    def once(server: Server) -> dict[str, Memory]:
        with running(server, "echo") as process, Load(process) as load:
            return {"": memory_of(process, load, connections)}

    results = alternated(CONTENDERS, settings, once, patience_s=0)
    target = report.Target("KiB per idle WebSocket", results.median(RACEWAY.name, "", kib), 8)
    return f"{target}\n\n{memory_table(results, CONTENDERS, connections, ORIENTATION)}"


def memory_of(process: Running, load: Load, connections: int) -> Memory:
    """Open some sockets, and then those that count."""
    load.websockets(WARM_CONNECTIONS)
    time.sleep(SETTLE_S)
    before = tree_private_kib(process.pid)
    load.websockets(connections)
    time.sleep(SETTLE_S)
    return Memory((tree_private_kib(process.pid) - before) / connections)


def kib(memory: Memory) -> float:
    return memory.kib


def memory_table(
    results: Results[Memory], contenders: Sequence[Server], connections: int, orientation: Mapping[str, float]
) -> str:
    rows = []
    for server in contenders:
        runs = [memory.kib for memory in results.of.get((server.name, ""), ())]
        median = report.number(results.median(server.name, "", kib))
        spread = f"{min(runs):.1f} to {max(runs):.1f}" if runs else "**FAILED**"
        rows.append([server.name, median, spread, report.number(orientation.get(server.name, math.nan))])
    head = ["server", "KiB per connection", "lowest to highest", "orientation"]
    beyond = f"{connections:,} connections beyond the first {WARM_CONNECTIONS}"
    return f"{beyond}:\n\n{report.table(head, rows)}"
