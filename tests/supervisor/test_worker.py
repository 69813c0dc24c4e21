"""What a worker does with its orders."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from raceway.server import Config, Server
from raceway.server.running import Stop, run_server

pytestmark = pytest.mark.shell


class StopsBeforeItListens:
    """As a supervisor to which a SIGHUP comes in the moment in which a worker is ready."""

    log_level = 10

    def attach(self, server: Server, stop: Callable[[Stop], None]) -> None:
        self.stop = stop

    async def loaded(self) -> None:
        self.stop(Stop(0.0, "Supervisor"))
        await asyncio.Event().wait()

    def listening(self) -> None:
        raise AssertionError("it was told to stop")


def test_an_application_that_was_started_is_shut_down_also_if_nobody_listened() -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for _ in range(2):
            kind = (await receive())["type"]
            seen.append(kind)
            await send({"type": f"{kind}.complete"})

    run_server(Server(app, Config(port=0)), StopsBeforeItListens())
    assert seen == ["lifespan.startup", "lifespan.shutdown"]
