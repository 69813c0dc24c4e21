"""What does a broadcast of 128 bytes to 1,000 consumers cost: a client message, and an event through handlers?"""

from __future__ import annotations

from functools import partial

from benchmarks import report
from benchmarks.load import Load
from benchmarks.measure import Sample, Settings, alternated, measured
from benchmarks.project.messages import COMPACT, SPACED, TEXT, as_json, event
from benchmarks.servers import CHANNELS_IN_MEMORY, CHANNELS_ON_REDIS, CONSUMERS, FLOOR, Server, running

SOCKETS = 1_000
CHANNELS = (*CHANNELS_IN_MEMORY, *CHANNELS_ON_REDIS)
CONTENDERS = (CONSUMERS, *CHANNELS, FLOOR)
MESSAGE, EVENT = "message", "event"
LOOP_RATIO = 1.3
MESSAGE_RATIO = 1 / 25
EVENT_RATIO = 1 / 10
ORIENTATION: dict[str, dict[str, float]] = {
    EVENT: {"Raceway": 6.6},
    MESSAGE: {
        "uvloop loop": 2.9,
        "Channels on Granian, Redis pub/sub": 102,
        "Channels on Uvicorn, Redis pub/sub": 132,
        "Channels on Granian, in memory": 201,
        "Channels on Uvicorn, in memory": 258,
        "Channels on Daphne, in memory": 278,
    },
}


def answer(settings: Settings) -> str:
    """Measure, and answer in Markdown."""

    def once(server: Server) -> dict[str, Sample]:
        separators = COMPACT if server is CONSUMERS else SPACED
        payloads = {MESSAGE: TEXT, EVENT: as_json(event(separators), separators)}
        if server is FLOOR:
            del payloads[EVENT]
        samples = {}
        with (
            running(server, "room" if server is FLOOR else "bare") as process,
            Load(process, sleeps=settings.load_sleeps, path="/room/") as load,
        ):
            load.websockets(SOCKETS)
            for variant, payload in payloads.items():
                load.expect(payload)
                load.publish(0, variant)  # a first one finds everything warm, and every member there
                samples[variant] = measured(process, load, partial(load.publish, settings.seconds, variant))
        return samples

    results = alternated(CONTENDERS, settings, once)
    of_channels = {variant: results.best(CHANNELS, variant) for variant in (MESSAGE, EVENT)}
    text = "\n".join(
        str(report.Target(name, results.ratio(CONSUMERS.name, reference, variant), at_most))
        for name, reference, variant, at_most in (
            ("client message, of the loop's CPU", FLOOR.name, MESSAGE, LOOP_RATIO),
            (f"client message, of {of_channels[MESSAGE]}", of_channels[MESSAGE], MESSAGE, MESSAGE_RATIO),
            (f"event, of {of_channels[EVENT]}", of_channels[EVENT], EVENT, EVENT_RATIO),
        )
    )
    alone = results.ratio(FLOOR.name, of_channels[MESSAGE], MESSAGE)
    text += f"\n- for scale, the loop alone, of {of_channels[MESSAGE]}: {report.number(alone)}"
    for variant, contenders, what in (
        (MESSAGE, CONTENDERS, "text; Raceway's is a client message"),
        (EVENT, CONTENDERS[:-1], "an event, of which each consumer's handler makes JSON"),
    ):
        text += f"\n\n{SOCKETS:,} sockets, {what}:\n\n"
        text += report.cost_table(results, contenders, variant, ORIENTATION[variant], "delivery")
    return f"{text}\n\n{report.notes(results)}"
