"""How much memory does one more member of a group take, in its process and in Redis?"""

from __future__ import annotations

import socket
from dataclasses import dataclass

from benchmarks import report
from benchmarks.measure import Settings, alternated, tree_private_kib
from benchmarks.programs import started
from benchmarks.redis_groups import CONTENDERS, CORE, ON_REDIS, PUB_SUB
from benchmarks.servers import Server, carrying

FIRST = 500
MEMBERS = 5_000


@dataclass(frozen=True)
class Memory:
    """One run, in KiB per member; ``cost`` is that of the process."""

    cost: float
    redis: float
    disturbance: float = 0.0


def answer(settings: Settings) -> str:
    """Measure, and answer in Markdown."""

    def once(server: Server) -> dict[str, Memory]:
        with carrying(server) as redis, started(server, "crowd", variables=redis.variables) as crowd:
            crowd.ask(f"join {FIRST}")
            crowd.ask("send 0 own")
            process_kib, redis_kib = tree_private_kib(crowd.pid), _redis_kib(redis.port)
            crowd.ask(f"join {MEMBERS}")
            process_kib = tree_private_kib(crowd.pid) - process_kib
            redis_kib = _redis_kib(redis.port) - redis_kib
        return {"member": Memory(process_kib / MEMBERS, redis_kib / MEMBERS)}

    results = alternated(CONTENDERS, settings, once)
    best = results.best((PUB_SUB, CORE), "member")
    target = report.Target(
        f"memory of the process per member, of {best}", results.ratio(ON_REDIS.name, best, "member"), 1.0
    )
    rows = [
        [
            server.name,
            report.number(results.median(server.name, "member")),
            report.number(results.median(server.name, "member", lambda memory: memory.redis)),
            report.number(results.ratio(server.name, ON_REDIS.name, "member")),
        ]
        for server in CONTENDERS
    ]
    head = ["layer", "KiB of the process per member", "KiB of Redis per member", "of Raceway's"]
    return f"{target}\n\n{MEMBERS:,} members beyond the first {FIRST}:\n\n{report.table(head, rows)}"


def _redis_kib(port: int) -> float:
    """What the server says that it uses (``INFO memory``, used_memory)."""
    with socket.create_connection(("127.0.0.1", port)) as connection, connection.makefile("rb") as answer:
        connection.sendall(b"INFO memory\r\n")
        for line in answer:
            if line.startswith(b"used_memory:"):
                return int(line.partition(b":")[2]) / 1024
    raise RuntimeError("Redis did not say how much memory it uses")
