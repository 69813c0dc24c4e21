"""Turn results into Markdown, and put it between its markers in ``README.md``."""

from __future__ import annotations

import datetime
import math
import os
import platform
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import servers
from benchmarks.measure import Results, Sample

README = servers.HERE / "README.md"


@dataclass(frozen=True)
class Target:
    """One promise: a measured figure and the most that it may be."""

    text: str
    measured: float
    at_most: float

    def __str__(self) -> str:
        if math.isnan(self.measured):
            return f"- **not measured**: {self.text}: at most {number(self.at_most)}"
        verdict = "met" if self.measured <= self.at_most else "MISSED"
        return f"- **{verdict}**: {self.text}: {number(self.measured)}, at most {number(self.at_most)}"


def against_best(
    results: Results[Sample],
    contender: servers.Server,
    peers: Sequence[servers.Server],
    at_most: Mapping[str, float],
    what: str,
) -> str:
    """For each variant the target: ``contender``'s cost, of the best peer's."""
    targets = []
    for variant, most in at_most.items():
        best = results.best(peers, variant)
        ratio = results.ratio(contender.name, best, variant)
        targets.append(Target(f"{what} {variant}, of {best}", ratio, most))
    return "\n".join(map(str, targets))


def number(value: float) -> str:
    """Three significant digits, or a dash."""
    if math.isnan(value):
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table: names to the left, figures to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cost_table(
    results: Results[Sample],
    contenders: Sequence[servers.Server],
    variant: str,
    orientation: Mapping[str, float],
    unit: str,
) -> str:
    """CPU per message of each contender, with what one must know to trust it."""
    head = [
        "server",
        f"CPU µs per {unit}",
        "lowest to highest",
        "of Raceway's",
        f"{_plural(unit)} per second",
    ]
    head += ["server's core busy", "generator's µs", "orientation"]
    has_redis = any(contender.has_redis for contender in contenders)
    if has_redis:
        head.insert(2, "Redis' µs")
    rows = []
    for contender in contenders:
        name = contender.name
        samples = results.of.get((name, variant), [])
        if not samples:
            rows.append([name, "**FAILED**", *[""] * (len(head) - 2)])
            continue
        costs = [sample.cost for sample in samples]
        busy = results.median(name, variant, lambda sample: sample.server_cpu_s / sample.wall_s)
        bound = " **GENERATOR-BOUND**" if any(sample.load_bound for sample in samples) else ""
        rows.append(
            [
                name,
                number(results.median(name, variant)),
                f"{number(min(costs))} to {number(max(costs))}",
                number(results.ratio(name, servers.RACEWAY.name, variant)),
                number(results.median(name, variant, lambda sample: sample.per_second)) + bound,
                f"{busy:.0%}",
                number(results.median(name, variant, lambda sample: sample.load_us)),
                number(orientation.get(name, math.nan)),
            ]
        )
        if has_redis:
            beside = results.median(name, variant, lambda sample: sample.redis_us)
            rows[-1].insert(2, number(beside) if contender.has_redis else "-")
    return table(head, rows)


def _plural(word: str) -> str:
    return word[:-1] + "ies" if word.endswith("y") else word + "s"


def notes(results: Results[Any]) -> str:
    """What would make a reader distrust the figures above it."""
    if not results.disturbed_runs:
        return "No run was disturbed by other processes."
    return f"**{results.disturbed_runs} runs were disturbed by other processes, and so when repeated.**"


def machine(contenders: Collection[servers.Server]) -> str:
    """Where and with what the figures were taken."""
    versions: dict[str, str] = {}
    for contender in contenders:
        versions |= servers.versions(contender)
    if any(contender.has_redis for contender in contenders):
        versions["redis-server"] = servers.redis_version()
    if any(contender.layer == "postgres" for contender in contenders):
        versions["PostgreSQL"] = servers.postgres_version()
    return (
        f"{datetime.date.today():%Y-%m-%d}; {os.cpu_count()} cores ({_processor()}), "
        f"Linux {platform.release().partition('-')[0]}, Python {platform.python_version()}; "
        f"{', '.join(f'{name} {version}' for name, version in versions.items())}."
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def write_section(name: str, text: str) -> None:
    """Replace what stands between ``<!-- name -->`` and ``<!-- /name -->`` in the README."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, _, rest = README.read_text().partition(begin)
    after = rest.partition(end)[2]
    README.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}")
