"""How many group messages does PostgreSQL carry in a second, and how long after the commit is a socket told?"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, replace

from benchmarks import report
from benchmarks.measure import Settings, alternated, tree_cpu_s
from benchmarks.programs import Program, run, started
from benchmarks.servers import CONSUMERS, LOAD_CORE, Server, carrying, running

ON_POSTGRES = replace(CONSUMERS, layer="postgres", distributions=("raceway", "django", "psycopg"))
CONTENDERS = (ON_POSTGRES,)
SENDS_PER_SECOND = 5_000
LATENCY_MS = 10.0
COMMITS = 300
ARRIVE_S = 30.0
RATE, LATENCY = "rate", "latency"


@dataclass(frozen=True)
class Flood:
    """One run; ``cost`` is the µs of time for each message, until the last has arrived."""

    cost: float
    sender_us: float
    receiver_us: float
    postgres_us: float
    disturbance: float = 0.0


@dataclass(frozen=True)
class Latency:
    """One run; ``cost`` is the median in ms."""

    cost: float
    worst_percent: float
    disturbance: float = 0.0


def answer(settings: Settings) -> str:
    """Measure, and answer in Markdown."""

    def once(server: Server) -> dict[str, Flood | Latency]:
        return {RATE: flood(server, settings.seconds), LATENCY: latency(server)}

    results = alternated(CONTENDERS, settings, once)
    name = ON_POSTGRES.name
    us, ms = results.median(name, RATE), results.median(name, LATENCY)
    targets = [
        report.Target("µs per group message, batched", us, 1e6 / SENDS_PER_SECOND),
        report.Target("ms from commit to socket (median)", ms, LATENCY_MS),
    ]
    rows = [
        ["group messages per second, one process to another", report.number(1e6 / us)],
        *(
            [f"CPU µs per message, {what}", report.number(results.median(name, RATE, figure))]
            for what, figure in (
                ("sender", lambda flood: flood.sender_us),
                ("receiver", lambda flood: flood.receiver_us),
                ("PostgreSQL", lambda flood: flood.postgres_us),
            )
        ),
        ["ms from commit to socket, median", report.number(ms)],
        [
            "ms from commit to socket, 99 of 100 are faster",
            report.number(results.median(name, LATENCY, lambda latency: latency.worst_percent)),
        ],
    ]
    table = report.table(["what", "PostgreSQL"], rows)
    return "\n\n".join(["\n".join(map(str, targets)), table, report.notes(results)])


def flood(server: Server, seconds: float) -> Flood:
    """As many messages as fit, from one process to a member in another."""
    with (
        carrying(server) as carrier,
        started(server, "crowd", variables=carrier.variables, core=LOAD_CORE) as crowd,
    ):
        crowd.ask("join 1")
        crowd.ask("send 0 own")
        before = crowd.ask("count")["delivered"]
        receiver_s, postgres_s = tree_cpu_s(crowd.pid), tree_cpu_s(carrier.pid)
        sent = run(server, "floods", seconds, variables=carrier.variables, core=LOAD_CORE)
        last_at = arrived(crowd, before + sent["sent"])
        receiver_s = tree_cpu_s(crowd.pid) - receiver_s
        postgres_s = tree_cpu_s(carrier.pid) - postgres_s
    each_us = 1e6 / sent["sent"]
    return Flood(
        (last_at - sent["began"]) * each_us,
        sent["cpu_s"] * each_us,
        receiver_s * each_us,
        postgres_s * each_us,
    )


def arrived(crowd: Program, expected: int) -> float:
    """When the last one did. Raises ``RuntimeError`` if some do not."""
    deadline = time.monotonic() + ARRIVE_S
    while True:
        count = crowd.ask("count")
        if count["delivered"] == expected:
            return float(count["at"])
        if time.monotonic() > deadline:
            raise RuntimeError(f"{count['delivered']} messages arrived of {expected}")
        time.sleep(0.1)


def latency(server: Server) -> Latency:
    """From the commit of a process to a socket of another."""
    with running(server, "bare") as process:
        variables = process.carrier.variables
        took_ms = run(server, "commits", process.port, COMMITS, variables=variables, core=LOAD_CORE)
    return Latency(statistics.median(took_ms), statistics.quantiles(took_ms, n=100)[-1])
