"""What does one GET of 5 bytes cost, from a raw ASGI application, with and without an access log?"""

from __future__ import annotations

from functools import partial

from benchmarks import report
from benchmarks.load import Load
from benchmarks.measure import Sample, Settings, alternated, measured
from benchmarks.servers import ALL, GRANIAN, RACEWAY, UVICORN, Server, running

CONTENDERS = ALL
CONNECTIONS = 16
ORIENTATION = {"Raceway": 9, "Uvicorn": 19.6, "Granian": 21, "Daphne": 150, "Hypercorn": 172}

# wrk sends Host alone; a program's HTTP client adds these three; a browser sends about this much.
FEW_HEADERS = (
    "GET / HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nUser-Agent: load/1.0\r\nAccept: */*\r\n"
    "Accept-Encoding: gzip, deflate\r\n\r\n"
)
BROWSER_HEADERS = (
    "GET / HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nConnection: keep-alive\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n"
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
    "Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n"
    "Referer: http://127.0.0.1:8000/documents/\r\n"
    "Cookie: sessionid=4kq2zjw0m0f1k6i8ofw1f3z3q0w0s9nh; csrftoken=Rk8bqJ7m3Yw5cZtV0eXhU1sLdGnPiOaF\r\n"
    "Sec-Fetch-Site: same-origin\r\n\r\n"
)
FEW, BROWSER, LOGGED = "4 headers, access log off", "9 headers, access log off", "4 headers, access log on"


def answer(settings: Settings) -> str:
    """Measure, and answer in Markdown."""

    def get(server: Server, request: str, access_log: bool) -> Sample:
        with (
            running(server, "hello", access_log=access_log) as process,
            Load(process, sleeps=settings.load_sleeps, request=request) as load,
        ):
            load.keepalives(CONNECTIONS)
            return measured(process, load, partial(load.get, settings.seconds))

    def once(server: Server) -> dict[str, Sample]:
        return {
            FEW: get(server, FEW_HEADERS, False),
            BROWSER: get(server, BROWSER_HEADERS, False),
            LOGGED: get(server, FEW_HEADERS, True),
        }

    results = alternated(CONTENDERS, settings, once)
    best = results.best((UVICORN, GRANIAN), FEW)
    logged = results.median(RACEWAY.name, LOGGED) / results.median(RACEWAY.name, FEW)
    text = "\n".join(
        [
            str(report.Target(f"GET, of {best}'s CPU", results.ratio(RACEWAY.name, best, FEW), 0.6)),
            str(report.Target("GET with access log, of the same without", logged, 1.25)),
        ]
    )
    for variant in (FEW, BROWSER, LOGGED):
        orientation = ORIENTATION if variant == FEW else {}
        text += f"\n\n{CONNECTIONS} connections, {variant}:\n\n"
        text += report.cost_table(results, CONTENDERS, variant, orientation, "request")
    return f"{text}\n\n{report.notes(results)}"
