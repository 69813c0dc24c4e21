"""What does a WebSocket cost that opens and closes: a bare consumer, and behind origin, session and auth?"""

from __future__ import annotations

from functools import partial

from benchmarks import report
from benchmarks.floor import ECHO_BYTES
from benchmarks.load import Load
from benchmarks.measure import Sample, Settings, alternated, measured
from benchmarks.project.database import make_session
from benchmarks.servers import CHANNELS_IN_MEMORY, CONSUMERS, FLOOR, Running, Server, running

CONTENDERS = (CONSUMERS, *CHANNELS_IN_MEMORY, FLOOR)
AT_A_TIME = 16
BARE, ECHOED, ANONYMOUS, SIGNED_IN = "bare", "echoed", "without cookie", "signed in"
RATIOS = {ANONYMOUS: 1 / 4, SIGNED_IN: 1 / 2}
TITLES = {
    BARE: "a bare consumer",
    ECHOED: f"a bare consumer, which echoes one message of {ECHO_BYTES} bytes in between",
    ANONYMOUS: "behind origin, session and auth middleware, without a cookie",
    SIGNED_IN: "behind the same, signed in: session and user come from SQLite",
}
ORIENTATION: dict[str, dict[str, float]] = {
    BARE: {
        "Raceway": 53,
        "Channels on Granian, in memory": 525,
        "Channels on Daphne, in memory": 795,
        "Channels on Uvicorn, in memory": 805,
    },
    ANONYMOUS: {
        "Channels on Granian, in memory": 645,
        "Channels on Daphne, in memory": 863,
        "Channels on Uvicorn, in memory": 908,
    },
    ECHOED: {},
    SIGNED_IN: {},
}


def answer(settings: Settings) -> str:
    """Measure, and answer in Markdown."""
    session_key = make_session()

    def handshakes(process: Running, session_key: str | None = None, payload: str = "") -> Sample:
        headers = browser_headers(process, session_key)
        with Load(process, sleeps=settings.load_sleeps, payload=payload, headers=headers) as load:
            return measured(process, load, partial(load.handshakes, settings.seconds, AT_A_TIME))

    def once(server: Server) -> dict[str, Sample]:
        with running(server, "bare") as process:
            samples = {BARE: handshakes(process), ECHOED: handshakes(process, payload="x" * ECHO_BYTES)}
        if server is not FLOOR:
            with running(server, "stack") as process:
                samples[ANONYMOUS] = handshakes(process)
                samples[SIGNED_IN] = handshakes(process, session_key)
        return samples

    results = alternated(CONTENDERS, settings, once)
    text = report.against_best(results, CONSUMERS, CHANNELS_IN_MEMORY, RATIOS, "handshake")
    for variant, title in TITLES.items():
        contenders = CONTENDERS if variant in (BARE, ECHOED) else CONTENDERS[:-1]
        text += f"\n\n{AT_A_TIME} at a time, {title}:\n\n"
        text += report.cost_table(results, contenders, variant, ORIENTATION[variant], "handshake")
    return f"{text}\n\n{report.notes(results)}"


def browser_headers(process: Running, session_key: str | None) -> dict[str, str]:
    """What a page of the project sends with a handshake, as far as the middleware looks at it."""
    headers = {"Origin": f"http://127.0.0.1:{process.port}"}
    if session_key is not None:
        headers["Cookie"] = f"sessionid={session_key}"
    return headers
