"""What does a group message cost that one of eight threads sends, who have no event loop?

``python -m benchmarks.threads SECONDS`` has eight threads send to the group "room" for so long and prints how many
messages, in which time, at which CPU time, as JSON.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from dataclasses import dataclass, replace
from typing import Any

from benchmarks import report
from benchmarks.measure import Settings, alternated, tree_cpu_s
from benchmarks.programs import run, started
from benchmarks.redis_groups import CORE, ON_REDIS, PUB_SUB
from benchmarks.servers import LOAD_CORE, Server, carrying

THREADS = 8
CONTENDERS = (
    replace(ON_REDIS, name="Raceway, Group.send"),
    replace(PUB_SUB, name="Channels, Redis pub/sub, async_to_sync(group_send)"),
    replace(CORE, name="Channels, Redis core, async_to_sync(group_send)"),
)


@dataclass(frozen=True)
class Sent:
    """One run, in CPU µs per message."""

    cost: float
    redis_us: float
    per_second: float
    disturbance: float = 0.0


def answer(settings: Settings) -> str:
    """Measure, and answer in Markdown."""

    def once(server: Server) -> dict[str, Sent]:
        with (
            carrying(server) as redis,
            started(server, "crowd", variables=redis.variables, core=LOAD_CORE) as crowd,
        ):
            crowd.ask("join 1")
            redis_s = tree_cpu_s(redis.pid)
            sent = run(server, "threads", settings.seconds, variables=redis.variables)
            redis_s = tree_cpu_s(redis.pid) - redis_s
            if not crowd.ask("count")["delivered"]:
                raise RuntimeError("nothing arrived")
        messages = sent["sent"]
        return {
            "send": Sent(sent["cpu_s"] / messages * 1e6, redis_s / messages * 1e6, messages / sent["wall_s"])
        }

    results = alternated(CONTENDERS, settings, once)
    ours, *theirs = (server.name for server in CONTENDERS)
    best = results.best(CONTENDERS[1:], "send")
    target = report.Target(f"CPU per message, of {best}", results.ratio(ours, best, "send"), 1.0)
    rows = [
        [
            name,
            report.number(results.median(name, "send")),
            report.number(results.median(name, "send", lambda sent: sent.redis_us)),
            report.number(results.ratio(name, ours, "send")),
            report.number(results.median(name, "send", lambda sent: sent.per_second)),
        ]
        for name in (ours, *theirs)
    ]
    head = ["sender", "CPU µs per message", "Redis' µs", "of Raceway's", "messages per second"]
    table = report.table(head, rows)
    return f"{target}\n\n{THREADS} threads:\n\n{table}\n\n{report.notes(results)}"


def main(seconds: float) -> dict[str, Any]:
    send = sender()
    counts = [0] * THREADS
    begin, end = threading.Barrier(THREADS + 1), threading.Barrier(THREADS + 1)
    until = 0.0

    def work(number: int) -> None:
        send()
        begin.wait()
        while time.perf_counter() < until:
            send()
            counts[number] += 1
        end.wait()

    for number in range(THREADS):
        threading.Thread(target=work, args=(number,), daemon=True).start()
    while begin.n_waiting < THREADS:
        time.sleep(0.01)  # until all are warm
    cpu, began = time.process_time(), time.perf_counter()
    until = began + seconds
    begin.wait()
    end.wait()
    return {
        "sent": sum(counts),
        "wall_s": time.perf_counter() - began,
        "cpu_s": time.process_time() - cpu,
    }


def sender() -> Any:
    from benchmarks.project.layer import ROOM, project_layer
    from benchmarks.project.messages import COMPACT, event
    from benchmarks.project.settings import RACEWAY_IS_HERE

    message = event(COMPACT)
    if RACEWAY_IS_HERE:
        from raceway import Group

        return lambda: Group(ROOM).send(message)
    from asgiref.sync import async_to_sync

    layer = project_layer()
    return lambda: async_to_sync(layer.group_send)(ROOM, message)


if __name__ == "__main__":
    print(json.dumps(main(float(sys.argv[1]))))
