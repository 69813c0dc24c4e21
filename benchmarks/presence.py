"""What does joining and leaving a presence of 10 to 10,000 people cost, with all that its members are told?"""

from __future__ import annotations

from dataclasses import replace

from benchmarks import report
from benchmarks.local import broker, run_member
from benchmarks.measure import Figure, Settings, alternated, tree_cpu_s
from benchmarks.servers import CONSUMERS, Server

SIZES = (10, 1_000, 10_000)
GROWTH = 2.0
MEMORY = replace(CONSUMERS, name="memory")
LOCAL = replace(CONSUMERS, name="local, with its broker")
CONTENDERS = (MEMORY, LOCAL)


def answer(settings: Settings) -> str:
    """Measure, and answer in Markdown."""
    seconds = f"{settings.seconds * 3}"  # several of the windows in which a crowd is told

    def once(server: Server) -> dict[str, Figure]:
        figures = {}
        for size in SIZES:
            if server is MEMORY:
                us = run_member("memory", "join", seconds, f"{size}")["us"]
            else:
                with broker() as (path, process):
                    cpu_s = tree_cpu_s(process.pid)
                    joined = run_member(path, "join", seconds, f"{size}")
                    # The broker has also let the first ones in: that is part of its CPU, so counted as joins are.
                    cpu_s = tree_cpu_s(process.pid) - cpu_s
                    us = joined["us"] + cpu_s / (joined["joins"] + size) * 1e6
            figures[f"{size}"] = Figure(us)
        return figures

    results = alternated(CONTENDERS, settings, once)
    first, last = f"{SIZES[0]}", f"{SIZES[-1]}"
    targets = [
        report.Target(
            f"{server.name}: joining as one of {SIZES[-1]:,}, of one of {SIZES[0]}",
            results.median(server.name, last) / results.median(server.name, first),
            GROWTH,
        )
        for server in CONTENDERS
    ]
    head = ["layer", *(f"one of {size:,}" for size in SIZES)]
    rows = [
        [server.name, *(report.number(results.median(server.name, f"{size}")) for size in SIZES)]
        for server in CONTENDERS
    ]
    return "\n".join(map(str, targets)) + f"\n\nCPU µs of joining and leaving:\n\n{report.table(head, rows)}"
