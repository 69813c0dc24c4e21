"""How much memory does an idle WebSocket take, of a raw ASGI application?"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence

from benchmarks import report
from benchmarks.load import Load
from benchmarks.measure import Figure, Results, Settings, alternated, tree_private_kib
from benchmarks.servers import ALL, RACEWAY, Running, Server, running

WARM_CONNECTIONS = 500  # stay open: what the server makes once is made, and no freed memory is used again
CONNECTIONS = 5000
CONTENDERS = ALL
SETTLE_S = 1.0
ORIENTATION = {"Raceway": 6, "Uvicorn": 20, "Daphne": 21, "Granian": 148}


def answer(settings: Settings) -> str:
    """Measure, and answer in Markdown."""
    connections = CONNECTIONS // 5 if settings.quick else CONNECTIONS

    def once(server: Server) -> dict[str, Figure]:
        with running(server, "echo") as process, Load(process) as load:
            return {"": memory_of(process, load, connections)}

    results = alternated(CONTENDERS, settings, once, patience_s=0)
    target = report.Target("KiB per idle WebSocket", results.median(RACEWAY.name, ""), 8)
    return f"{target}\n\n{memory_table(results, CONTENDERS, connections, ORIENTATION)}"


def memory_of(process: Running, load: Load, connections: int) -> Figure:
    """Open some sockets, and then those that count: KiB of private memory for each."""
    load.websockets(WARM_CONNECTIONS)
    time.sleep(SETTLE_S)
    before = tree_private_kib(process.pid)
    load.websockets(connections)
    time.sleep(SETTLE_S)
    return Figure((tree_private_kib(process.pid) - before) / connections)


def memory_table(
    results: Results[Figure], contenders: Sequence[Server], connections: int, orientation: Mapping[str, float]
) -> str:
    rows = []
    for server in contenders:
        runs = [memory.cost for memory in results.of.get((server.name, ""), ())]
        median = report.number(results.median(server.name, ""))
        spread = f"{min(runs):.1f} to {max(runs):.1f}" if runs else "**FAILED**"
        rows.append([server.name, median, spread, report.number(orientation.get(server.name, math.nan))])
    head = ["server", "KiB per connection", "lowest to highest", "orientation"]
    beyond = f"{connections:,} connections beyond the first {WARM_CONNECTIONS}"
    return f"{beyond}:\n\n{report.table(head, rows)}"
