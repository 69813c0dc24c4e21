"""Measure on a machine that others use too: CPU and memory of a process tree, quiet, alternation."""

from __future__ import annotations

import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from benchmarks.load import Load, Loaded
from benchmarks.servers import Running, Server

TICKS = os.sysconf("SC_CLK_TCK")

QUIET_IDLE = 0.9  # of each core, over one second, before a run
QUIET_PATIENCE_S = 120.0
DISTURBED = 0.1  # cores that other processes may use during a run
ATTEMPTS = 3


@dataclass(frozen=True)
class Settings:
    """How thoroughly to measure."""

    runs: int = 3  # each starts the server anew: one process may be a fifth slower than the next
    seconds: float = 1.0
    quick: bool = False
    load_sleeps: bool = False


@dataclass(frozen=True)
class Sample:
    """One run: what was done, and what it cost whom."""

    messages: int
    wall_s: float
    server_cpu_s: float
    load_busy_s: float
    others_cpu_s: float
    writes: int
    redis_cpu_s: float = 0.0

    @property
    def cost(self) -> float:
        """CPU microseconds of the server per message."""
        return self.server_cpu_s / self.messages * 1e6

    @property
    def redis_us(self) -> float:
        return self.redis_cpu_s / self.messages * 1e6

    @property
    def load_us(self) -> float:
        return self.load_busy_s / self.messages * 1e6

    @property
    def per_second(self) -> float:
        return self.messages / self.wall_s

    @property
    def disturbance(self) -> float:
        return self.others_cpu_s / self.wall_s

    @property
    def load_bound(self) -> bool:
        """The generator was the bottleneck: then the rate is not the server's."""
        return self.load_busy_s > 0.95 * self.wall_s and self.server_cpu_s < 0.9 * self.wall_s


@dataclass(frozen=True)
class Figure:
    """One run of which other processes hardly change the result: KiB, or CPU microseconds of an idle process."""

    cost: float
    disturbance: float = 0.0


class Result(Protocol):
    """What one run of one variant gives; ``disturbance`` is the CPU of other processes, in cores, where it is known
    better than on the average over the run with all its preparations."""

    @property
    def cost(self) -> float: ...
    @property
    def disturbance(self) -> float: ...


R = TypeVar("R", bound=Result)


def cost(result: Result) -> float:
    return result.cost


@dataclass
class Results(Generic[R]):
    """All runs of one question, by contender and variant, in the order of the rounds."""

    of: dict[tuple[str, str], list[R]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    disturbed_runs: int = 0

    def median(self, contender: str, variant: str, figure: Callable[[R], float] = cost) -> float:
        """The median of the rounds; not a number where the contender failed."""
        values = [figure(result) for result in self.of.get((contender, variant), ())]
        return statistics.median(values) if values else math.nan

    def best(self, contenders: Iterable[Server], variant: str) -> str:
        """The contender with the lowest median cost; any of them if all failed."""
        return min(
            (contender.name for contender in contenders),
            key=lambda name: _last_if_nan(self.median(name, variant)),
        )

    def ratio(self, contender: str, reference: str, variant: str) -> float:
        """The median over the rounds of one contender's cost divided by the other's in the same round."""
        pairs = zip(
            self.of.get((contender, variant), ()), self.of.get((reference, variant), ()), strict=False
        )
        values = [one.cost / other.cost for one, other in pairs]
        return statistics.median(values) if values else math.nan


def _last_if_nan(value: float) -> float:
    return math.inf if math.isnan(value) else value


# ---- processes ----


def _stat(pid: int) -> list[str]:
    """The fields of ``/proc/PID/stat`` from the third on (proc(5)); the second may contain anything."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def process_tree(pid: int) -> list[int]:
    """The process and all its descendants."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                children.setdefault(int(_stat(int(name))[1]), []).append(int(name))
            except OSError:
                continue  # it ended just now
    tree = [pid]
    for member in tree:
        tree.extend(children.get(member, ()))
    return tree


def tree_cpu_s(pid: int) -> float:
    """CPU seconds, user and system, that a process tree has used, with ended threads and reaped children.

    ``/proc/PID/stat`` counts in hundredths of a second; the process's own CPU clock, whose number comes from
    the pid as in clock_getcpuclockid(3), counts the same in nanoseconds.
    """
    total = 0.0
    for member in process_tree(pid):
        try:
            children_ticks = sum(map(int, _stat(member)[13:15]))
            total += time.clock_gettime((~member << 3) | 2) + children_ticks / TICKS
        except OSError:
            continue
    return total


def _writes(pid: int) -> int:
    """How often the process has called write(2) and the like: what uvloop sends with (proc(5), io)."""
    fields = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return int(fields["syscw"])


def tree_private_kib(pid: int) -> int:
    """Memory that would be free without this process tree: its private pages (proc(5), smaps_rollup)."""
    total = 0
    for member in process_tree(pid):
        for line in Path(f"/proc/{member}/smaps_rollup").read_text().splitlines():
            if line.startswith(("Private_Clean:", "Private_Dirty:")):
                total += int(line.split()[1])
    return total


def _cores() -> dict[str, tuple[float, float]]:
    """Busy and idle seconds of each core and of all (``cpu``) since the machine started."""
    cores = {}
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith("cpu"):
            name, *fields = line.split()
            times = [int(field) / TICKS for field in fields[:8]]
            idle_s = times[3] + times[4]
            cores[name] = (sum(times) - idle_s, idle_s)
    return cores


# ---- quiet ----


def wait_for_quiet(patience_s: float) -> None:
    """Wait until every core has been idle for a second, but not for ever."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        before = _cores()
        time.sleep(1.0)
        idle = [after[1] - before[name][1] for name, after in _cores().items() if name != "cpu"]
        if min(idle) >= QUIET_IDLE:
            return


# ---- measuring ----


def measured(server: Running, load: Load, run: Callable[[], Loaded], *, helper: int | None = None) -> Sample:
    """Measure one run of the generator: the server's CPU from just before it to just after.

    ``helper`` is the pid of a process that works for the run too.
    """
    busy = _cores()["cpu"][0]
    harness = time.process_time()
    writes = _writes(server.pid)
    redis_cpu_s = _cpu_s(server.redis_pid)
    helper_cpu_s = _cpu_s(helper)
    cpu = tree_cpu_s(server.pid)
    loaded = run()
    server_cpu_s = tree_cpu_s(server.pid) - cpu
    redis_cpu_s = _cpu_s(server.redis_pid) - redis_cpu_s
    helper_cpu_s = _cpu_s(helper) - helper_cpu_s
    writes = _writes(server.pid) - writes
    ours = server_cpu_s + redis_cpu_s + helper_cpu_s + loaded.cpu_s + time.process_time() - harness
    others_cpu_s = _cores()["cpu"][0] - busy - ours
    return Sample(
        loaded.messages, loaded.wall_s, server_cpu_s, loaded.busy_s, others_cpu_s, writes, redis_cpu_s
    )


def _cpu_s(pid: int | None) -> float:
    return 0.0 if pid is None else tree_cpu_s(pid)


def alternated(
    contenders: Sequence[Server],
    settings: Settings,
    once: Callable[[Server], dict[str, R]],
    *,
    patience_s: float = QUIET_PATIENCE_S,
) -> Results[R]:
    """Run A B C A B C ..., each on a quiet machine; ``once`` returns a result for each variant."""
    results: Results[R] = Results()
    attempts = 1 if settings.quick else ATTEMPTS
    wait = partial(wait_for_quiet, 0.0 if settings.quick else patience_s)
    for contender in contenders:
        try:
            contender.install()
        except subprocess.CalledProcessError:
            results.failures[contender.name] = "could not be installed"
    for round_ in range(settings.runs):
        for contender in contenders:
            if contender.name not in results.failures:
                _say(f"round {round_ + 1} of {settings.runs}: {contender.name}")
                try:
                    outcome = _undisturbed(partial(once, contender), attempts, wait, results)
                except RuntimeError as error:
                    _say(f"{contender.name} FAILED: {error}")
                    results.failures[contender.name] = str(error)
                    results.of = {key: runs for key, runs in results.of.items() if key[0] != contender.name}
                    continue
                for variant, result in outcome.items():
                    results.of.setdefault((contender.name, variant), []).append(result)
    return results


def _undisturbed(
    once: Callable[[], dict[str, R]], attempts: int, wait: Callable[[], object], results: Results[R]
) -> dict[str, R]:
    """One run; repeated if other processes took part of the machine meanwhile, and the least disturbed kept."""
    least, kept = math.inf, dict[str, R]()
    for _ in range(attempts):
        wait()
        began, others_s = time.monotonic(), _others_cpu_s()
        outcome = once()
        others = (_others_cpu_s() - others_s) / (time.monotonic() - began)
        disturbance = max(others, *(result.disturbance for result in outcome.values()))
        if disturbance < least:
            least, kept = disturbance, outcome
        if disturbance <= DISTURBED:
            return kept
        _say(f"other processes used {disturbance:.2f} cores")
    results.disturbed_runs += 1
    return kept


def _others_cpu_s() -> float:
    """What has been used since the machine started by whoever we have not started."""
    return _cores()["cpu"][0] - tree_cpu_s(os.getpid())


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
