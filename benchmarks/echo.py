"""What does one echo of 64 bytes over a WebSocket cost, from a raw ASGI application?"""

from __future__ import annotations

from functools import partial

from benchmarks import report
from benchmarks.floor import ECHO_BYTES
from benchmarks.load import Load
from benchmarks.measure import Sample, Settings, alternated, measured
from benchmarks.servers import ALL, RACEWAY, UVICORN, Server, running

CONTENDERS = ALL
CONNECTIONS = 8
DEPTHS = (1, 16)
ORIENTATION = {
    "Raceway": 7.4,
    "Uvicorn": 15.9,
    "Granian": 26,
    "Hypercorn": 42,
    "Daphne": 59,
    "uvloop loop": 5.1,
}


def answer(settings: Settings) -> str:
    """Measure, and answer in Markdown."""

    def once(server: Server) -> dict[str, Sample]:
        with (
            running(server, "echo") as process,
            Load(process, sleeps=settings.load_sleeps, payload="x" * ECHO_BYTES) as load,
        ):
            load.websockets(CONNECTIONS)
            return {
                f"{depth}": measured(process, load, partial(load.echo, settings.seconds, depth))
                for depth in DEPTHS
            }

    results = alternated(CONTENDERS, settings, once)
    ratio = results.ratio(RACEWAY.name, UVICORN.name, "1")
    text = str(report.Target("echo, of Uvicorn's CPU", ratio, 0.5))
    for depth in DEPTHS:
        orientation = ORIENTATION if depth == 1 else {}
        text += f"\n\n{CONNECTIONS} connections, {depth} in flight on each:\n\n"
        text += report.cost_table(results, CONTENDERS, f"{depth}", orientation, "message")
    return f"{text}\n\n{report.notes(results)}"
