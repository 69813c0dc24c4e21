"""What does one echo of 64 bytes cost through a consumer, whose handler is ``async def`` or ``def``?"""

from __future__ import annotations

from functools import partial

from benchmarks import report
from benchmarks.floor import ECHO_BYTES
from benchmarks.load import Load
from benchmarks.measure import Sample, Settings, alternated, measured
from benchmarks.servers import CHANNELS_IN_MEMORY, CONSUMERS, Server, running

CONTENDERS = (CONSUMERS, *CHANNELS_IN_MEMORY)
CONNECTIONS = 8
ASYNC, SYNC = "AsyncWebsocketConsumer", "WebsocketConsumer"
PATHS = {ASYNC: "/", SYNC: "/sync/"}
RATIOS = {ASYNC: 1 / 6, SYNC: 1 / 2}
ORIENTATION: dict[str, dict[str, float]] = {
    ASYNC: {
        "Raceway": 7.4,
        "Channels on Uvicorn, in memory": 82,
        "Channels on Granian, in memory": 84,
        "Channels on Daphne, in memory": 142,
    },
    SYNC: {
        "Channels on Uvicorn, in memory": 163,
        "Channels on Granian, in memory": 201,
        "Channels on Daphne, in memory": 262,
    },
}


def answer(settings: Settings) -> str:
    """Measure, and answer in Markdown."""

    def once(server: Server) -> dict[str, Sample]:
        samples = {}
        with running(server, "bare") as process:
            for variant, path in PATHS.items():
                with Load(process, sleeps=settings.load_sleeps, payload="x" * ECHO_BYTES, path=path) as load:
                    load.websockets(CONNECTIONS)
                    samples[variant] = measured(process, load, partial(load.echo, settings.seconds, 1))
        return samples

    results = alternated(CONTENDERS, settings, once)
    text = report.against_best(results, CONSUMERS, CHANNELS_IN_MEMORY, RATIOS, "echo through")
    for variant in PATHS:
        text += f"\n\n{CONNECTIONS} connections, 1 in flight on each, `{variant}`:\n\n"
        text += report.cost_table(results, CONTENDERS, variant, ORIENTATION[variant], "message")
    return f"{text}\n\n{report.notes(results)}"
