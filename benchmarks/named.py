"""What does a message to a named channel cost, to send, and on its way through to a worker?"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from benchmarks import report
from benchmarks.local import broker
from benchmarks.measure import Settings, alternated, tree_cpu_s
from benchmarks.programs import Program, started
from benchmarks.project.work import WORK
from benchmarks.redis_groups import CORE
from benchmarks.servers import (
    BUILD,
    CONSUMERS,
    HERE,
    LOAD_CORE,
    SERVER_CORE,
    Carrier,
    Server,
    carrying,
    django_command,
    pin,
)

CAPACITY = 10_000_000  # no sender waits for a worker
WARM_S = 30.0
DONE_S = 60.0
MEMORY = replace(CONSUMERS, name="Raceway, memory: the worker in the sender's process")
LOCAL = replace(CONSUMERS, name="Raceway, local", layer="local")
REDIS = replace(CONSUMERS, name="Raceway, redis", layer="redis")
POSTGRES = replace(CONSUMERS, name="Raceway, postgres", layer="postgres")
CONTENDERS = (REDIS, CORE, MEMORY, LOCAL, POSTGRES)
SEND, THROUGH = "send", "through"


@dataclass(frozen=True)
class Flow:
    """One run, in CPU µs per message; ``cost`` is that of the project's processes."""

    cost: float
    carrier_us: float
    per_second: float
    disturbance: float = 0.0


def answer(settings: Settings) -> str:
    """Measure, and answer in Markdown."""

    def once(server: Server) -> dict[str, Flow]:
        with ExitStack() as stack:
            carrier = stack.enter_context(carrying_here(server))
            reading, writing = os.pipe()
            stack.callback(os.close, reading)
            stack.callback(os.close, writing)
            variables = {
                **carrier.variables,
                "BENCHMARKS_CAPACITY": f"{CAPACITY}",
                "BENCHMARKS_DONE": f"{writing}",
            }
            flows = {}
            if server is MEMORY:
                sender = stack.enter_context(
                    started(server, "sender", "beside", variables=variables, pass_fds=[writing])
                )
                flows[THROUGH] = flow(settings.seconds, sender, carrier, None, reading)
            else:
                sender = stack.enter_context(started(server, "sender", variables=variables, core=LOAD_CORE))
                flows[SEND] = flow(settings.seconds, sender, carrier, None, None)
                worker = stack.enter_context(working(server, variables, writing))
                flows[THROUGH] = flow(settings.seconds, sender, carrier, worker, reading)
        return flows

    results = alternated(CONTENDERS, settings, once)
    targets, tables = [], []
    for variant, what in ((SEND, "sent, nobody receives"), (THROUGH, "sent, and handled by a worker")):
        ratio = results.ratio(REDIS.name, CORE.name, variant)
        targets.append(str(report.Target(f"CPU per message {what}, redis, of {CORE.name}", ratio, 1.0)))
        rows = [
            [
                server.name,
                report.number(results.median(server.name, variant)),
                report.number(results.median(server.name, variant, lambda flow: flow.carrier_us)),
                report.number(results.ratio(server.name, REDIS.name, variant)),
                report.number(results.median(server.name, variant, lambda flow: flow.per_second)),
            ]
            for server in CONTENDERS
            if (server.name, variant) in results.of or server.name in results.failures
        ]
        head = ["layer", "CPU µs per message", "what carries, µs", "of Raceway's on redis"]
        head.append("messages per second")
        tables.append(f"Messages {what}:\n\n{report.table(head, rows)}")
    return "\n\n".join(["\n".join(targets), *tables, report.notes(results)])


def flow(seconds: float, sender: Program, carrier: Carrier, worker: int | None, reading: int | None) -> Flow:
    """One run; with ``reading`` until a worker, the pid ``worker`` if it is a process, has handled the last message."""
    channel = "nobody" if reading is None else WORK
    if reading is not None:
        sender.ask(f"{channel} 0")
        handled(reading, WARM_S)
    cpu_s = [0.0 if pid is None else tree_cpu_s(pid) for pid in (worker, carrier.pid or None)]
    sent = sender.ask(f"{channel} {seconds}")
    wall_s, messages, sender_s = sent["wall_s"], sent["sent"], sent["cpu_s"]
    if reading is not None:
        done = handled(reading, DONE_S)
        if done["handled"] != messages:
            raise RuntimeError(f"{done['handled']} messages were handled of {messages}")
        wall_s = done["at"] - sent["began"]
    worker_s, carrier_s = (
        0.0 if pid is None else tree_cpu_s(pid) - before
        for pid, before in zip((worker, carrier.pid or None), cpu_s, strict=True)
    )
    return Flow((sender_s + worker_s) / messages * 1e6, carrier_s / messages * 1e6, messages / wall_s)


def handled(reading: int, within_s: float) -> Any:
    """What a worker says after the last message. Raises ``RuntimeError``."""
    if not select.select([reading], [], [], within_s)[0]:
        raise RuntimeError("the worker has not handled the last message")
    return json.loads(os.read(reading, 4096))


@contextmanager
def carrying_here(server: Server) -> Iterator[Carrier]:
    """``carrying``, and a broker for the layer ``local``, which a supervisor has otherwise."""
    if server.layer == "local":
        with broker() as (path, process):
            yield Carrier({"BENCHMARKS_LAYER": "local", "BENCHMARKS_LOCAL_PATH": path}, process.pid)
    else:
        with carrying(server) as carrier:
            yield carrier


@contextmanager
def working(server: Server, variables: dict[str, str], writing: int) -> Iterator[int]:
    """``manage.py runworker work``; its pid."""
    with (BUILD / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            django_command(server, "runworker", WORK),
            cwd=HERE.parent,
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[writing],
            preexec_fn=pin(SERVER_CORE),
        )
        try:
            yield process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
