"""What does the ``local`` layer add to a group message, and how much does its broker carry?"""

from __future__ import annotations

import math
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any

from benchmarks import report
from benchmarks.measure import Figure, Settings, alternated, tree_cpu_s
from benchmarks.programs import Program, run, started
from benchmarks.servers import CONSUMERS, LOAD_CORE, SERVER_CORE, Server

LATENCY_MS = 1.0
MESSAGES_PER_SECOND = 20_000
PINGS = 2_000

MEMORY = replace(CONSUMERS, name="memory, one process")
LOCAL = replace(CONSUMERS, name="local, two processes")
CONTENDERS = (MEMORY, LOCAL)
PING, TAKEN, LISTENED, RATE = "ping", "take", "listen", "rate"


def answer(settings: Settings) -> str:
    """Measure, and answer in Markdown."""

    def once(server: Server) -> dict[str, Figure]:
        if server is MEMORY:
            return {PING: Figure(_one_way_us(run_member("memory", "ping", f"{PINGS}")))}
        with broker() as (path, process):
            with _member(path, "echo"):
                figures = {PING: Figure(_one_way_us(run_member(path, "ping", f"{PINGS}", core=LOAD_CORE)))}
            for role in (TAKEN, LISTENED):
                with _member(path, role, core=LOAD_CORE):
                    cpu_s = tree_cpu_s(process.pid)
                    sent = run_member(path, "send", f"{settings.seconds * 2}", core=LOAD_CORE)
                    cpu_s = tree_cpu_s(process.pid) - cpu_s
                    figures[role] = Figure(cpu_s / sent["sent"] * 1e6)
                    figures[f"{role} {RATE}"] = Figure(sent["sent"] / sent["wall_s"])
        return figures

    results = alternated(CONTENDERS, settings, once)
    memory_us, local_us = (results.median(server.name, PING) for server in CONTENDERS)
    targets = [
        report.Target(
            "ms that a group message takes longer to another process",
            (local_us - memory_us) / 1e3,
            LATENCY_MS,
        )
    ]
    targets += [
        report.Target(
            f"CPU µs of the broker per named message, {what}",
            results.median(LOCAL.name, role),
            1e6 / MESSAGES_PER_SECOND,
        )
        for role, what in ((TAKEN, "taken with receive()"), (LISTENED, "handed to who has it open"))
    ]
    rows = [
        ["group message, one way, µs (median)", report.number(memory_us), report.number(local_us)],
        *(
            [f"named messages, {role}: broker's CPU µs", "-", report.number(results.median(LOCAL.name, role))]
            for role in (TAKEN, LISTENED)
        ),
        *(
            [
                f"named messages, {role}: per second, sender and receiver on one core",
                "-",
                report.number(results.median(LOCAL.name, f"{role} {RATE}")),
            ]
            for role in (TAKEN, LISTENED)
        ),
    ]
    head = ["what", *(server.name for server in CONTENDERS)]
    return "\n".join(map(str, targets)) + f"\n\n{report.table(head, rows)}"


def _one_way_us(round_trips_us: list[float]) -> float:
    return statistics.median(round_trips_us[len(round_trips_us) // 10 :]) / 2 if round_trips_us else math.nan


def run_member(path: str, role: str, *arguments: str, core: int = SERVER_CORE) -> Any:
    """What a member prints that does its work and ends; with PATH ``memory`` it needs no broker."""
    return run(CONSUMERS, "member", path, role, *arguments, core=core)


def _member(path: str, role: str, core: int = SERVER_CORE) -> AbstractContextManager[Program]:
    """A member that works until it is told to end."""
    return started(CONSUMERS, "member", path, role, core=core)


@contextmanager
def broker() -> Iterator[tuple[str, Program]]:
    """The path of a broker, and its process."""
    with tempfile.TemporaryDirectory(prefix="rw") as folder:
        path = f"{folder}/broker.sock"
        with _member(path, "broker") as process:
            yield path, process
