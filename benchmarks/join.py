"""What do joining and leaving a group of 10 to 10,000 cost, and a group's message, in the memory layers alone?"""

from __future__ import annotations

from dataclasses import replace

from benchmarks import report
from benchmarks.measure import Figure, Results, Settings, alternated
from benchmarks.programs import run
from benchmarks.servers import CHANNELS_IN_MEMORY, CONSUMERS, Server

OPENED = replace(CONSUMERS, module="raceway.layers.memory.MemoryLayer")
NAMED = replace(OPENED, name="Raceway, by receive()")
CHANNELS = replace(
    CHANNELS_IN_MEMORY[0],
    name="Channels",
    distributions=("channels",),
    module="channels.layers.InMemoryChannelLayer",
)
CONTENDERS = (OPENED, NAMED, CHANNELS)
SIZES = (10, 1_000, 10_000)
SEND = "send"
MEMBERS = 1_000
GROWTH = 1.2


def answer(settings: Settings) -> str:
    """Measure, and answer in Markdown."""

    def once(server: Server) -> dict[str, Figure]:
        way = "open" if server is OPENED else "receive"
        costs = run(server, "layer", server.module, way, settings.seconds / 4, MEMBERS, *SIZES)
        return {variant: Figure(us) for variant, us in costs.items()}

    results = alternated(CONTENDERS, settings, once)
    growth = results.median(OPENED.name, f"{SIZES[-1]}") / results.median(OPENED.name, f"{SIZES[0]}")
    target = report.Target(
        f"joining and leaving as one of {SIZES[-1]:,}, of one of {SIZES[0]}", growth, GROWTH
    )
    head = ["layer", *(f"join and leave, {size:,} members" for size in SIZES)]
    head.append(f"message to {MEMBERS:,} members, per delivery")
    rows = [
        [server.name, *(_cell(results, server, variant) for variant in (*map(str, SIZES), SEND))]
        for server in CONTENDERS
    ]
    return f"{target}\n\nCPU µs:\n\n{report.table(head, rows)}"


def _cell(results: Results[Figure], server: Server, variant: str) -> str:
    if server.name in results.failures:
        return "**FAILED**"
    return report.number(results.median(server.name, variant))
