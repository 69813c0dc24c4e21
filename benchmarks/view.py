"""What does one GET of an ``async def`` view of Django cost, without middleware and with the usual ones?"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from benchmarks import report
from benchmarks.get import CONNECTIONS, FEW_HEADERS
from benchmarks.load import Load
from benchmarks.measure import Sample, Settings, alternated, measured
from benchmarks.servers import CONSUMERS, DJANGO, Server, running

RACEWAY = replace(CONSUMERS, module="benchmarks.project.asgi")
WHOLE = replace(CONSUMERS, name="Raceway, get_application()")
CONTENDERS = (RACEWAY, WHOLE, *DJANGO)
NONE, USUAL = "no middleware", "the usual middleware"
MIDDLEWARE = {NONE: "none", USUAL: "usual"}
GRANIAN = "Granian"
ORIENTATION = {GRANIAN: 426, "Uvicorn": 543, "Daphne": 732}


def answer(settings: Settings) -> str:
    """Measure, and answer in Markdown."""

    def once(server: Server) -> dict[str, Sample]:
        samples = {}
        for variant, middleware in MIDDLEWARE.items():
            app = "whole" if server is WHOLE else "view"
            with (
                running(server, app, variables={"BENCHMARKS_MIDDLEWARE": middleware}) as process,
                Load(process, sleeps=settings.load_sleeps, request=FEW_HEADERS) as load,
            ):
                load.keepalives(CONNECTIONS)
                samples[variant] = measured(process, load, partial(load.get, settings.seconds))
        return samples

    results = alternated(CONTENDERS, settings, once)
    text = "\n".join(
        str(
            report.Target(
                f"{server.name}, {variant}, of {GRANIAN}'s CPU",
                results.ratio(server.name, GRANIAN, variant),
                1,
            )
        )
        for variant in MIDDLEWARE
        for server in (RACEWAY, WHOLE)
    )
    for variant in MIDDLEWARE:
        orientation = ORIENTATION if variant == NONE else {}
        text += f"\n\n{CONNECTIONS} connections, {variant}:\n\n"
        text += report.cost_table(results, CONTENDERS, variant, orientation, "request")
    return f"{text}\n\n{report.notes(results)}"
