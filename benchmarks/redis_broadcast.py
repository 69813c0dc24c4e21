"""What does a delivery to one of 1,000 sockets cost, when another process publishes by way of Redis?"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from benchmarks import report
from benchmarks.load import Load
from benchmarks.measure import Sample, Settings, alternated, measured
from benchmarks.programs import started
from benchmarks.project.messages import COMPACT, SPACED, TEXT, as_json, event
from benchmarks.servers import CHANNELS_ON_CORE, CHANNELS_ON_REDIS, CONSUMERS, Server, running

SOCKETS = 1_000
ON_REDIS = replace(CONSUMERS, layer="redis")
CHANNELS = (*CHANNELS_ON_REDIS, CHANNELS_ON_CORE)
CONTENDERS = (ON_REDIS, *CHANNELS)
MESSAGE, EVENT = "message", "event"
FIFTEENTH = 1 / 15


def answer(settings: Settings) -> str:
    """Measure, and answer in Markdown."""

    def once(server: Server) -> dict[str, Sample]:
        separators = COMPACT if server is ON_REDIS else SPACED
        payloads = {MESSAGE: TEXT, EVENT: as_json(event(separators), separators)}
        publisher_of = (
            ON_REDIS if server is ON_REDIS else CHANNELS_ON_REDIS[0]
        )  # whose environment has uvloop
        samples = {}
        with running(server, "bare") as process:
            for variant, payload in payloads.items():
                with (
                    started(
                        publisher_of, "publisher", variant, variables=process.carrier.variables
                    ) as publisher,
                    Load(
                        process,
                        sleeps=settings.load_sleeps,
                        path="/room/",
                        payload=payload,
                        publisher=publisher.stdin,
                    ) as load,
                ):
                    load.websockets(SOCKETS)
                    load.listen(0)  # a first one finds everything warm, and every member there
                    samples[variant] = measured(
                        process, load, partial(load.listen, settings.seconds), helper=publisher.pid
                    )
        return samples

    results = alternated(CONTENDERS, settings, once)
    best = results.best(CHANNELS, MESSAGE)
    target = report.Target(
        f"CPU per delivery, of {best}", results.ratio(ON_REDIS.name, best, MESSAGE), FIFTEENTH
    )
    of_event = results.best(CHANNELS, EVENT)
    text = f"{target}\n- for scale, an event through handlers, of {of_event}: "
    text += report.number(results.ratio(ON_REDIS.name, of_event, EVENT))
    for variant, what in (
        (MESSAGE, "text; Raceway's is a client message"),
        (EVENT, "an event, of which each consumer's handler makes JSON"),
    ):
        table = report.cost_table(results, CONTENDERS, variant, {}, "delivery")
        text += f"\n\n{SOCKETS:,} sockets, {what}:\n\n{table}"
    return f"{text}\n\n{report.notes(results)}"
