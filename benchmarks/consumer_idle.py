"""How much memory does an idle WebSocket take, of a consumer behind origin, session and auth, signed in?"""

from __future__ import annotations

from benchmarks import report
from benchmarks.handshake import browser_headers
from benchmarks.idle import memory_of, memory_table
from benchmarks.load import Load
from benchmarks.measure import Figure, Settings, alternated
from benchmarks.project.database import make_session
from benchmarks.servers import CHANNELS_IN_MEMORY, CONSUMERS, Server, running

CONTENDERS = (CONSUMERS, *CHANNELS_IN_MEMORY)
CONNECTIONS = 2000
ORIENTATION = {
    "Channels on Uvicorn, in memory": 34,
    "Channels on Granian, in memory": 157,
    "Channels on Daphne, in memory": 30,
}


def answer(settings: Settings) -> str:
    """Measure, and answer in Markdown."""
    session_key = make_session()

    def once(server: Server) -> dict[str, Figure]:
        with (
            running(server, "stack") as process,
            Load(process, headers=browser_headers(process, session_key)) as load,
        ):
            return {"": memory_of(process, load, CONNECTIONS)}

    results = alternated(CONTENDERS, settings, once, patience_s=0)
    target = report.Target("KiB per idle WebSocket", results.median(CONSUMERS.name, ""), 16)
    return f"{target}\n\n{memory_table(results, CONTENDERS, CONNECTIONS, ORIENTATION)}"
