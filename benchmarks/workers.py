"""What does a broadcast to 4,000 consumers cost in four processes, beside one process?"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from benchmarks import report
from benchmarks.load import Load
from benchmarks.measure import Sample, Settings, alternated, measured
from benchmarks.project.messages import TEXT
from benchmarks.servers import CONSUMERS, Server, running

SOCKETS = 4_000
PROCESSES = 4
WORSE = 1 / 0.85  # deliveries per second of CPU within 15 %


def _in_processes(arguments: Callable[[str, int, bool], list[str]]) -> Callable[[str, int, bool], list[str]]:
    return lambda app, port, log: [*arguments(app, port, log), "--workers", f"{PROCESSES}"]


def _contender(name: str, layer: str, *, four: bool = False) -> Server:
    arguments = _in_processes(CONSUMERS.arguments) if four else CONSUMERS.arguments
    return replace(CONSUMERS, name=f"{name}, {layer}", layer=layer, arguments=arguments)


ONE = _contender("one process", "memory")
CONTENDERS = (
    ONE,
    _contender("one process", "local"),
    _contender("four processes", "local", four=True),
    _contender("one process", "redis"),
    _contender("four processes", "redis", four=True),
)


def answer(settings: Settings) -> str:
    """Measure, and answer in Markdown."""

    def once(server: Server) -> dict[str, Sample]:
        with (
            running(server, "bare") as process,
            Load(process, sleeps=settings.load_sleeps, path="/room/", payload=TEXT) as load,
        ):
            load.websockets(SOCKETS)
            load.publish(0, "message")  # a first one finds everything warm, and every member there
            return {"message": measured(process, load, partial(load.publish, settings.seconds, "message"))}

    results = alternated(CONTENDERS, settings, once)
    targets = [
        report.Target(
            f"CPU per delivery, {server.name}, of one process",
            results.ratio(server.name, ONE.name, "message"),
            WORSE,
        )
        for server in CONTENDERS[1:]
    ]
    table = report.cost_table(results, CONTENDERS, "message", {"": math.nan}, "delivery")
    return "\n".join(map(str, targets)) + f"\n\n{SOCKETS:,} sockets:\n\n{table}\n\n{report.notes(results)}"
