"""Servers, and a Redis, as real processes, each in a session of its own that ends with the test."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.interop.environment import PYTHON, ROOT

START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 5.0
RUN_TIMEOUT_S = 30.0

SETTINGS = {"DJANGO_SETTINGS_MODULE": "tests.interop.project.settings"}
"""Other tests of this run may have set one."""

APPLICATION = "tests.interop.project.asgi:application"

SERVERS: dict[str, Callable[[str, str], list[str]]] = {
    "raceway": lambda app, port: ["-m", "raceway", "serve", app, "--port", port],
    "uvicorn": lambda app, port: ["-m", "uvicorn", app, "--port", port],
    "daphne": lambda app, port: ["-m", "daphne", "--port", port, app],
    "hypercorn": lambda app, port: ["-m", "hypercorn", "--bind", f"127.0.0.1:{port}", app],
    "granian": lambda app, port: ["-m", "granian", "--interface", "asgi", "--port", port, app],
}


class Process:
    """Something that listens on ``port`` and writes to ``log``; ``name`` says what it is."""

    def __init__(
        self, name: str, command: list[str], port: int, log: Path, environ: Mapping[str, str]
    ) -> None:
        self.name = name
        self.port = port
        self.log = log
        with log.open("wb") as output:
            self.popen = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **environ},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self.popen.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError(f"it did not start: {self.said()}")

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def stop(self) -> None:
        self.popen.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self.popen.wait(STOP_TIMEOUT_S)
        with suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)  # the session that was made for it
        self.popen.wait()


@contextmanager
def server(
    name: str, folder: Path, app: str = APPLICATION, layer: Mapping[str, Any] | None = None
) -> Iterator[Process]:
    """Run a server of the environment, with ``CHANNEL_LAYERS["default"] = layer``."""
    port = free_port()
    command = [str(PYTHON), *SERVERS[name](app, str(port))]
    environ = {**of(layer), **SETTINGS}
    with listening(Process(name, command, port, folder / f"{name}-{port}.log", environ)) as process:
        yield process


@contextmanager
def redis(folder: Path, port: int | None = None) -> Iterator[Process]:
    port = port or free_port()
    options = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(folder)]
    command = ["redis-server", "--port", str(port), *options]
    with listening(Process("redis", command, port, folder / f"redis-{port}.log", {})) as process:
        yield process


@contextmanager
def listening(process: Process) -> Iterator[Process]:
    try:
        process.wait_until_ready()
        yield process
    finally:
        process.stop()


def run_script(script: str, layer: Mapping[str, Any] | None = None) -> str:
    """What ``script`` prints, run with Django set up in the environment."""
    start = "import django; django.setup()\n"
    return run_python("-W", "error", "-c", start + script, environ={**of(layer), **SETTINGS})


def run_python(*options: str, environ: Mapping[str, str] = SETTINGS, timeout_s: float = RUN_TIMEOUT_S) -> str:
    """What the environment's interpreter prints."""
    done = subprocess.run(
        [str(PYTHON), *options],
        cwd=ROOT,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def of(layer: Mapping[str, Any] | None) -> dict[str, str]:
    """The environment that says it to the settings; a layer may bring its ``DATABASE``."""
    if layer is None:
        return {}
    layer = dict(layer)
    database = layer.pop("DATABASE", None)
    environ = {"INTEROP_LAYER": json.dumps(layer)}
    return environ if database is None else {**environ, "INTEROP_DATABASE": json.dumps(database)}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
