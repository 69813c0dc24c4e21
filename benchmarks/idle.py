"""How much memory does an idle WebSocket take, of a raw ASGI application?"""

from __future__ import annotations

import time
from dataclasses import dataclass

from benchmarks import report
from benchmarks.load import Load
from benchmarks.measure import Settings, alternated, tree_private_kib
from benchmarks.servers import ALL, RACEWAY, Server, running

WARM_CONNECTIONS = 500  # stay open: what the server makes once is made, and no freed memory is used again
CONNECTIONS = 5000
SETTLE_S = 2.0
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
            load.websockets(WARM_CONNECTIONS)
            time.sleep(SETTLE_S)
            before = tree_private_kib(process.pid)
            load.websockets(connections)
            time.sleep(SETTLE_S)
            return {"": Memory((tree_private_kib(process.pid) - before) / connections)}

    results = alternated(ALL, settings, once, patience_s=0)
    rows = []
    for server in ALL:
        runs = [memory.kib for memory in results.of.get((server.name, ""), ())]
        measured = report.number(results.median(server.name, "", lambda memory: memory.kib))
        spread = f"{min(runs):.1f} to {max(runs):.1f}" if runs else "**FAILED**"
        rows.append(
            [server.name, measured, spread, report.number(ORIENTATION.get(server.name, float("nan")))]
        )
    target = report.Target(
        "KiB per idle WebSocket", results.median(RACEWAY.name, "", lambda memory: memory.kib), 8
    )
    head = ["server", "KiB per connection", "lowest to highest", "orientation"]
    beyond = f"{connections:,} connections beyond the first {WARM_CONNECTIONS}"
    return f"{target}\n\n{beyond}:\n\n{report.table(head, rows)}"
