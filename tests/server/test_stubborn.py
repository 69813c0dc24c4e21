"""Processes whose application does not want to start, to stop, or to let go."""

from __future__ import annotations

import contextlib
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.server.process import process
from tests.server.rawhttp import request

pytestmark = pytest.mark.topology

STUBBORN = """
import asyncio
import time


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await asyncio.sleep(1.5)
        print("shutdown", flush=True)
        await send({"type": "lifespan.shutdown.complete"})
        return
    print("called", flush=True)
    if scope["path"].startswith("/stream"):
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b": begin", "more_body": True})
        while True:
            await asyncio.sleep(0.05 if scope["path"] == "/stream/talks" else 120)
            await send({"type": "http.response.body", "body": b"data: x", "more_body": True})
    if scope["path"] == "/thread":
        await asyncio.get_running_loop().run_in_executor(None, time.sleep, 120)
    while scope["path"] == "/uncancellable":
        try:
            await asyncio.sleep(120)
        except asyncio.CancelledError:
            pass
    raise RuntimeError("on purpose")


async def never_starts(scope, receive, send):
    await receive()
    print("starting", flush=True)
    await asyncio.sleep(120)
"""


@pytest.fixture
def launch(tmp_path: Path) -> Any:
    (tmp_path / "stubborn.py").write_text(STUBBORN)
    with contextlib.ExitStack() as stack:

        def launch(name: str, *arguments: str) -> Any:
            quiet = ("--port", "0", "--no-access-log", "--drain-seconds", "0.2", *arguments)
            return stack.enter_context(process(tmp_path, f"stubborn:{name}", *quiet))

        yield launch


@pytest.mark.parametrize("path", ["/thread", "/uncancellable"])
def test_what_does_not_end_does_not_hold_the_process(launch: Any, raw: Any, path: str) -> None:
    server = launch("app").ready()
    raw(server.port).send(request("GET", path))
    server.said("called")
    began = time.monotonic()
    server.signal(signal.SIGTERM)
    assert server.ended() == 0
    assert time.monotonic() - began < 9
    assert "shutdown" in server.rest_of_stdout()


@pytest.mark.parametrize("path", ["/stream/talks", "/stream/sleeps"])
def test_an_event_stream_that_does_not_listen_ends_soon(launch: Any, raw: Any, path: str) -> None:
    """It must not use up the drain time."""
    server = launch("app", "--drain-seconds", "60").ready()
    client = raw(server.port)
    client.send(request("GET", path))
    assert client.head().status == 200
    began = time.monotonic()
    server.signal(signal.SIGTERM)
    assert server.ended() == 0
    assert time.monotonic() - began < 9


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_start_that_hangs_can_be_stopped(launch: Any, number: signal.Signals) -> None:
    server = launch("never_starts")
    server.said("starting")
    began = time.monotonic()
    server.signal(number)
    assert server.ended() == 0
    assert time.monotonic() - began < 4


def test_a_second_signal_leaves_the_lifespan_its_time(launch: Any) -> None:
    server = launch("app").ready()
    server.signal(signal.SIGTERM)
    server.logged("SIGTERM")
    server.signal(signal.SIGTERM)
    assert server.ended() == 0
    assert "shutdown" in server.rest_of_stdout()


def test_a_path_cannot_forge_a_log_record(launch: Any, raw: Any) -> None:
    server = launch("app").ready()
    client = raw(server.port)
    client.send(request("GET", "/a%0aforged%1b[31m"))
    assert client.response().status == 500
    server.signal(signal.SIGTERM)
    assert server.ended() == 0
    records = server.rest_of_stderr()
    assert any("/a%0aforged%1b[31m" in line for line in records)
    assert not any(line.startswith("forged") or "\x1b" in line for line in records)
