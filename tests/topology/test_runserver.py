"""``manage.py runserver`` as a real process: our server, Django's manners."""

from __future__ import annotations

import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

DEADLINE_S = 20.0

SETTINGS = """
SECRET_KEY = "x"
DEBUG = True
INSTALLED_APPS = ["raceway", "django.contrib.staticfiles"]
ROOT_URLCONF = "urls"
STATIC_URL = "static/"
DATABASES = {}
"""

URLS = """
from django.http import HttpResponse
from django.urls import path

urlpatterns = [path("hello/", lambda request: HttpResponse("hello"))]
"""

ROUTING = """
from django.urls import path
from raceway.consumers import AsyncWebsocketConsumer


class Greeter(AsyncWebsocketConsumer):
    async def connect(self):
        await self.accept()
        await self.send("first")


websocket_urlpatterns = [path("greet/", Greeter.as_asgi())]
"""


class Runserver:
    """The process, its lines of output, and where it serves."""

    def __init__(self, folder: Path, *options: str) -> None:
        environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "settings", "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "django", "runserver", *options, "0"],
            cwd=folder,
            env={**environment, "PYTHONPATH": str(folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)

    def until(self, pattern: str) -> re.Match[str]:
        """The first line of output, of those to come, that matches."""
        seen = []
        try:
            while True:
                seen.append(self._lines.get(timeout=DEADLINE_S))
                if found := re.search(pattern, seen[-1]):
                    return found
        except queue.Empty:
            raise AssertionError(f"{pattern!r} is not in the output: {''.join(seen)}") from None

    def port(self) -> int:
        return int(self.until(r"Starting development server at http://127.0.0.1:(\d+)/")[1])

    def stop(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_S)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(DEADLINE_S)
        self._reader.join(DEADLINE_S)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in (("settings", SETTINGS), ("urls", URLS), ("routing", ROUTING)):
        (tmp_path / f"{name}.py").write_text(text)
    return tmp_path


@pytest.fixture
def runserver(folder: Path) -> Iterator[Callable[..., Runserver]]:
    started: list[Runserver] = []

    def start(*options: str) -> Runserver:
        started.append(Runserver(folder, *options))
        return started[-1]

    yield start
    for server in started:
        server.close()


def get(port: int, path: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=DEADLINE_S) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, b""


def greeting(port: int) -> Any:
    with connect(f"ws://127.0.0.1:{port}/greet/", origin=f"http://127.0.0.1:{port}") as client:  # type: ignore
        return client.recv(DEADLINE_S)


def test_http_static_files_and_websockets_with_coloured_lines(
    runserver: Callable[..., Runserver],
) -> None:
    server = runserver("--noreload", "--force-color")
    port = server.port()
    assert get(port, "/hello/") == (200, b"hello")
    assert server.until(r'"GET /hello/ HTTP/1.1" 200 5')
    assert get(port, "/nowhere/?a=b")[0] == 404
    assert "\x1b[" in server.until(r'.*"GET /nowhere/\?a=b HTTP/1.1" 404')[0]
    status, script = get(port, "/static/raceway/raceway.js")
    assert (status, b"WebSocket" in script) == (200, True)
    assert greeting(port) == "first"
    assert server.until('"WebSocket /greet/"')


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_at_once_and_tells_sockets(runserver: Callable[..., Runserver], number: int) -> None:
    server = runserver("--noreload")
    port = server.port()
    with connect(f"ws://127.0.0.1:{port}/greet/", origin="http://localhost") as client:  # type: ignore
        assert client.recv(DEADLINE_S) == "first"
        assert server.stop(number) == 0
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(DEADLINE_S)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012


def test_a_changed_file_is_served_changed(runserver: Callable[..., Runserver], folder: Path) -> None:
    server = runserver()
    port = server.port()
    assert greeting(port) == "first"
    (folder / "routing.py").write_text(ROUTING.replace("first", "second"))
    os.utime(folder / "routing.py", (0, 2_000_000_000))
    server.until("changed, reloading")
    assert greeting(server.port()) == "second"
    assert server.stop(signal.SIGTERM) == 0


def test_a_taken_port_is_one_sentence(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = subprocess.run(
            [sys.executable, "-m", "django", "runserver", "--noreload", str(taken.getsockname()[1])],
            cwd=folder,
            env={**os.environ, "DJANGO_SETTINGS_MODULE": "settings", "PYTHONPATH": str(folder)},
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert "Traceback" not in done.stderr
