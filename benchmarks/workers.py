"""What does a broadcast to 4,000 consumers cost in four workers, beside one process?"""

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
WORKERS = 4
WORSE = 1 / 0.85  # deliveries per second of CPU within 15 %


def _with_workers(arguments: Callable[[str, int, bool], list[str]]) -> Callable[[str, int, bool], list[str]]:
    return lambda app, port, log: [*arguments(app, port, log), "--workers", f"{WORKERS}"]


LOCAL = {"BENCHMARKS_LAYER": "local"}
ONE = replace(CONSUMERS, name="one process, memory")
ONE_LOCAL = replace(CONSUMERS, name="one process, local")
FOUR = replace(CONSUMERS, name="four workers, local", arguments=_with_workers(CONSUMERS.arguments))
CONTENDERS = (ONE, ONE_LOCAL, FOUR)


def answer(settings: Settings) -> str:
    """Measure, and answer in Markdown."""

    def once(server: Server) -> dict[str, Sample]:
        with (
            running(server, "bare", variables=None if server is ONE else LOCAL) as process,
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
