"""How long does a group message take to reach 1,000 and 5,000 members in one process, by way of Redis?"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, replace

from benchmarks import report
from benchmarks.measure import Settings, alternated, tree_cpu_s
from benchmarks.programs import started
from benchmarks.servers import CHANNELS_ON_CORE, CHANNELS_ON_REDIS, CONSUMERS, Server, carrying

SIZES = (1_000, 5_000)
OWN, OTHER = "own", "other"
SENDERS = {OWN: "sent by the same process", OTHER: "sent by another process"}
FIFTH = 1 / 5
ORIENTATION = {
    ("Channels, Redis core", 1_000): 41.0,
    ("Channels, Redis core", 5_000): 548.0,
    ("Channels, Redis pub/sub", 1_000): 6.0,
    ("Channels, Redis pub/sub", 5_000): 58.0,
}

ON_REDIS = replace(CONSUMERS, layer="redis", distributions=("raceway", "django", "uvloop"))
PUB_SUB = replace(
    CHANNELS_ON_REDIS[0],
    name="Channels, Redis pub/sub",
    distributions=("channels", "channels_redis", "redis", "hiredis", "uvloop"),
)
CORE = replace(PUB_SUB, name="Channels, Redis core", layer=CHANNELS_ON_CORE.layer)
CONTENDERS = (ON_REDIS, PUB_SUB, CORE)


@dataclass(frozen=True)
class Spread:
    """One run: the median of the times until the last member had it is its cost."""

    times_ms: list[float]
    cpu_us: float
    redis_us: float
    disturbance: float = 0.0

    @property
    def cost(self) -> float:
        return statistics.median(self.times_ms)


def answer(settings: Settings) -> str:
    """Measure, and answer in Markdown."""

    def once(server: Server) -> dict[str, Spread]:
        spreads = {}
        with carrying(server) as redis, started(server, "crowd", variables=redis.variables) as crowd:
            members = 0
            for size in SIZES:
                crowd.ask(f"join {size - members}")
                members = size
                for sender in SENDERS:
                    redis_s = tree_cpu_s(redis.pid)
                    sent = crowd.ask(f"send {settings.seconds} {sender}")
                    redis_us = (tree_cpu_s(redis.pid) - redis_s) / sent["sends"] / size * 1e6
                    spreads[f"{size} {sender}"] = Spread(sent["ms"], sent["us"], redis_us)
        return spreads

    results = alternated(CONTENDERS, settings, once)
    targets, tables = [], []
    for size in SIZES:
        for sender, what in SENDERS.items():
            variant = f"{size} {sender}"
            best = results.best((PUB_SUB, CORE), variant)
            ratio = results.ratio(ON_REDIS.name, best, variant)
            text = f"time to the last of {size:,} members, {what}, of {best}"
            targets.append(str(report.Target(text, ratio, FIFTH)))
            rows = []
            for server in CONTENDERS:
                if server.name in results.failures:
                    rows.append([server.name, "**FAILED**", *[""] * 5])
                    continue
                runs = results.of[server.name, variant]
                rows.append(
                    [
                        server.name,
                        report.number(results.median(server.name, variant)),
                        f"{report.number(min(min(run.times_ms) for run in runs))} to "
                        f"{report.number(max(max(run.times_ms) for run in runs))}",
                        report.number(1 / results.ratio(ON_REDIS.name, server.name, variant)),
                        report.number(results.median(server.name, variant, lambda run: run.cpu_us)),
                        report.number(results.median(server.name, variant, lambda run: run.redis_us)),
                        report.number(ORIENTATION.get((server.name, size), math.nan)),
                    ]
                )
            head = ["layer", "ms", "lowest to highest", "of Raceway's", "CPU µs per delivery", "Redis' µs"]
            head.append("orientation, ms")
            tables.append(f"{size:,} members, {what}:\n\n{report.table(head, rows)}")
    return "\n\n".join(["\n".join(targets), *tables, report.notes(results)])
