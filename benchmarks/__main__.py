"""``python -m benchmarks``: run the questions and write their answers into ``benchmarks/README.md``."""

from __future__ import annotations

import argparse
import os
import resource
import signal
import sys

from benchmarks import (
    broadcast,
    consumer_broadcast,
    consumer_echo,
    consumer_idle,
    echo,
    get,
    handshake,
    idle,
    join,
    load,
    local,
    membership,
    named,
    postgres,
    presence,
    redis_broadcast,
    redis_groups,
    report,
    threads,
    view,
    workers,
)
from benchmarks.measure import Settings
from benchmarks.servers import LOAD_CORE, SERVER_CORE

QUESTIONS = {
    "echo": echo,
    "get": get,
    "idle": idle,
    "broadcast": broadcast,
    "consumer-broadcast": consumer_broadcast,
    "consumer-echo": consumer_echo,
    "handshake": handshake,
    "consumer-idle": consumer_idle,
    "view": view,
    "join": join,
    "workers": workers,
    "local": local,
    "presence": presence,
    "redis": redis_groups,
    "redis-broadcast": redis_broadcast,
    "threads": threads,
    "membership": membership,
    "named": named,
    "postgres": postgres,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", choices=QUESTIONS, action="append", help="one question; may be repeated")
    parser.add_argument("--runs", type=int, default=3, help="alternated runs of each server (default: 3)")
    parser.add_argument("--seconds", type=float, default=1.0, help="of load in each run (default: 1)")
    parser.add_argument(
        "--quick", action="store_true", help="one short run, on a busy machine too; not written down"
    )
    parser.add_argument(
        "--load-sleeps", action="store_true", help="let servers pay for waking the load generator"
    )
    arguments = parser.parse_args()

    if not {SERVER_CORE, LOAD_CORE} <= os.sched_getaffinity(0):
        parser.error(f"needs cores {SERVER_CORE} and {LOAD_CORE}: one for the server, one for the load")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    os.sched_setaffinity(0, {LOAD_CORE})
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the servers are stopped, as after Ctrl-C
    load.build()

    settings = Settings(runs=arguments.runs, seconds=arguments.seconds, load_sleeps=arguments.load_sleeps)
    if arguments.quick:
        settings = Settings(runs=1, seconds=1.0, quick=True, load_sleeps=arguments.load_sleeps)
    for name in arguments.only or QUESTIONS:
        question = QUESTIONS[name]
        print(f"== {question.__doc__}", file=sys.stderr, flush=True)
        answer = question.answer(settings)
        print(answer)
        if not settings.quick:
            report.write_section(name, f"Measured {report.machine(question.CONTENDERS)}\n\n{answer}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
