"""What does a broadcast of 128 bytes cost by the fast lane, beside the barest loop of writes?"""

from __future__ import annotations

from functools import partial

from benchmarks import report
from benchmarks.apps import BROADCAST_BYTES
from benchmarks.load import Load
from benchmarks.measure import Results, Sample, Settings, alternated, measured
from benchmarks.servers import FLOOR, RACEWAY, Server, running

SIZES = (1, 10, 1_000, 10_000)
CONTENDERS = (RACEWAY, FLOOR)
FIXED_US = 30.0
LOOP_RATIO = 1.3
ORIENTATION = "2.9 for the loop at 1,000 sockets"


def answer(settings: Settings) -> str:
    """Measure, and answer in Markdown."""

    def once(server: Server) -> dict[str, Sample]:
        samples = {}
        connected = 0
        with (
            running(server, "broadcast") as process,
            Load(process, sleeps=settings.load_sleeps, payload="x" * BROADCAST_BYTES) as load,
        ):
            for size in SIZES:
                load.websockets(size - connected)
                connected = size
                samples[f"{size}"] = measured(
                    process, load, partial(load.broadcast, _broadcasts(size, settings.seconds))
                )
        return samples

    results = alternated(CONTENDERS, settings, once)
    targets = [
        report.Target(
            f"broadcast to {size:,} sockets, after {FIXED_US:g} µs, of the loop's CPU",
            _beyond_fixed(results, size),
            LOOP_RATIO,
        )
        for size in SIZES[1:]
    ]
    head = ["sockets", "server", "CPU µs per delivery", "CPU µs per broadcast", "lowest to highest"]
    head += ["writes per delivery", "deliveries per second", "server's core busy", "generator's µs"]
    rows = [_row(results, server, size) for size in SIZES for server in CONTENDERS]
    once_us = [results.median(server.name, "1") for server in CONTENDERS]
    text = "\n".join(map(str, targets))
    text += f"\n- a broadcast to one socket: {report.number(once_us[0] - once_us[1])} µs more than the loop"
    return f"{text}\n\n{report.table(head, rows)}\n\nOrientation: {ORIENTATION}. {report.notes(results)}"


def _broadcasts(size: int, seconds: float) -> int:
    """About as many as fill the time."""
    return max(10, int(seconds / (25e-6 + size * 3e-6)))


def _beyond_fixed(results: Results[Sample], size: int) -> float:
    """Raceway's CPU per broadcast beyond what it may cost once, of the loop's; below 0 if that is all."""
    ratio = results.ratio(RACEWAY.name, FLOOR.name, f"{size}")
    loop_us = size * results.median(FLOOR.name, f"{size}")
    return ratio - FIXED_US / loop_us


def _row(results: Results[Sample], server: Server, size: int) -> list[str]:
    variant = f"{size}"
    samples = results.of.get((server.name, variant), [])
    if not samples:
        return [f"{size:,}", server.name, "**FAILED**", *[""] * 6]
    per_delivery = results.median(server.name, variant)
    costs = [sample.cost for sample in samples]
    busy = results.median(server.name, variant, lambda s: s.server_cpu_s / s.wall_s)
    writes = results.median(server.name, variant, lambda s: s.writes / s.messages)
    bound = " **GENERATOR-BOUND**" if any(sample.load_bound for sample in samples) else ""
    return [
        f"{size:,}",
        server.name,
        report.number(per_delivery),
        report.number(per_delivery * size),
        f"{report.number(min(costs))} to {report.number(max(costs))}",
        f"{writes:.2f}" + (" **JOINED**" if writes < 0.99 else ""),
        report.number(results.median(server.name, variant, lambda s: s.per_second)) + bound,
        f"{busy:.0%}",
        report.number(results.median(server.name, variant, lambda s: s.load_us)),
    ]
