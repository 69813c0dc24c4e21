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
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

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
    groups = ["greeted"]

    async def connect(self):
        await self.accept()
        await self.send("first")


websocket_urlpatterns = [path("greet/", Greeter.as_asgi())]
"""


def environment(folder: Path) -> dict[str, str]:
    python_path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "settings",
        "PYTHONPATH": python_path,
        "PYTHONUNBUFFERED": "1",
    }


class Runserver:
    """The process on a terminal of its own, its lines of output, and where it serves."""

    def __init__(self, folder: Path, *options: str) -> None:
        terminal, inner_end = os.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "django", "runserver", *options, "0"],
            cwd=folder,
            env=environment(folder),
            stdout=inner_end,
            stderr=inner_end,
        )
        os.close(inner_end)
        self._output = os.fdopen(terminal, errors="replace")
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.seen: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with suppress(OSError):  # how a terminal says that nobody writes to it any more
            for line in self._output:
                self._lines.put(line)

    def says(self, pattern: str, timeout_s: float) -> re.Match[str] | None:
        """The first line of output, of those to come, that matches; ``None`` if there is none for so long."""
        try:
            while True:
                self.seen.append(self._lines.get(timeout=timeout_s))
                if found := re.search(pattern, self.seen[-1]):
                    return found
        except queue.Empty:
            return None

    def until(self, pattern: str) -> re.Match[str]:
        found = self.says(pattern, DEADLINE_S)
        assert found is not None, f"{pattern!r} is not in the output: {''.join(self.seen)}"
        return found

    def port(self) -> int:
        return int(self.until(r"Starting Raceway's development server at http://127.0.0.1:(\d+)/")[1])

    def stop(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_S)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(DEADLINE_S)
        self._reader.join(DEADLINE_S)
        self._output.close()


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


def greeted(port: int) -> ClientConnection:
    return connect(f"ws://127.0.0.1:{port}/greet/", origin=f"http://127.0.0.1:{port}")  # type: ignore


def greeting(port: int) -> Any:
    with greeted(port) as client:
        return client.recv(DEADLINE_S)


def test_http_static_files_and_websockets_with_coloured_lines(
    runserver: Callable[..., Runserver],
) -> None:
    server = runserver("--noreload")
    port = server.port()
    assert get(port, "/hello/") == (200, b"hello")
    assert server.until(r'"GET /hello/ HTTP/1.1" 200 5')
    assert get(port, "/nowhere/?a=b")[0] == 404
    assert "\x1b[" in server.until(r'.*"GET /nowhere/\?a=b HTTP/1.1" 404')[0]
    status, script = get(port, "/static/raceway/raceway.js")
    assert (status, b"WebSocket" in script) == (200, True)
    assert greeting(port) == "first"
    assert server.until(r'"WebSocket /greet/" 101 0')
    with pytest.raises(InvalidStatus), connect(f"ws://127.0.0.1:{port}/greet/", origin="http://evil.org"):  # type: ignore
        pass
    assert server.until(r"its origin b?'http://evil.org' is not allowed \(ALLOWED_HOSTS\)")
    assert "\x1b[" in server.until(r'.*"WebSocket /greet/" 403')[0]
    with (
        pytest.raises(InvalidStatus),
        connect(f"ws://127.0.0.1:{port}/nowhere/", origin="http://localhost"),  # type: ignore
    ):
        pass
    assert server.until(r'"WebSocket /nowhere/" 404')


def test_nostatic_means_no_static_files(runserver: Callable[..., Runserver]) -> None:
    port = runserver("--noreload", "--nostatic").port()
    assert get(port, "/hello/") == (200, b"hello")
    assert get(port, "/static/raceway/raceway.js")[0] == 404


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
    # Django's reloader looks once a second, and must have seen the file once before.
    attempts = count(2_000_000_000)
    while not server.says("changed, reloading", 1.5):
        os.utime(folder / "routing.py", (0, next(attempts)))
    port = server.port()
    assert not [
        line for line in server.seen if "broker" in line
    ]  # its end is no loss: it was this process's own
    with greeted(port) as client:
        assert client.recv(DEADLINE_S) == "second"
        command = "from raceway import Group; Group('greeted').broadcast('from a shell')"
        subprocess.run(
            [sys.executable, "-m", "django", "shell", "-c", command],
            cwd=folder,
            env=environment(folder),
            check=True,
        )
        assert client.recv(DEADLINE_S) == "from a shell"
    assert server.stop(signal.SIGTERM) == 0


@pytest.mark.parametrize("options", [[], ["--noreload"]], ids=["reloader", "no-reloader"])
def test_a_port_that_does_not_exist_is_one_sentence(folder: Path, options: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "django", "runserver", *options, "99999"],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(
        "Error: Port 99999 does not exist"
    )  # the reloader speaks first
    assert "Traceback" not in done.stderr


def test_a_taken_port_is_one_sentence(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = subprocess.run(
            [sys.executable, "-m", "django", "runserver", "--noreload", str(taken.getsockname()[1])],
            cwd=folder,
            env=environment(folder),
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert "Traceback" not in done.stderr


ASK_FOR_WORK = """
from django.http import HttpResponse
from django.urls import path
from raceway import Channel


def order(request):
    Channel("work").send({"greeting": "from a worker"})
    return HttpResponse()


urlpatterns = [path("order/", order)]
"""

WORK = """
from raceway import Group


def work(message):
    Group("greeted").broadcast(message["greeting"])


channel_routes = {"work": work}
"""

MEMORY = """
CHANNEL_LAYERS = {"default": {"BACKEND": "raceway.layers.memory.MemoryLayer"}}
"""


@pytest.mark.parametrize("layer", ["", MEMORY], ids=["local", "memory"])
@pytest.mark.parametrize("options", [[], ["--noreload"]], ids=["reloader", "no-reloader"])
def test_named_channels_are_served_in_the_same_process(
    runserver: Callable[..., Runserver], folder: Path, options: list[str], layer: str
) -> None:
    (folder / "settings.py").write_text(SETTINGS + layer)
    (folder / "urls.py").write_text(ASK_FOR_WORK)
    (folder / "routing.py").write_text(ROUTING + WORK)
    server = runserver(*options)
    port = server.port()
    with greeted(port) as client:
        assert client.recv(DEADLINE_S) == "first"
        assert get(port, "/order/")[0] == 200
        assert client.recv(DEADLINE_S) == "from a worker"
    assert server.stop(signal.SIGTERM) == 0


def test_noworker_leaves_named_channels_to_others(runserver: Callable[..., Runserver], folder: Path) -> None:
    (folder / "urls.py").write_text(ASK_FOR_WORK)
    (folder / "routing.py").write_text(ROUTING + WORK)
    port = runserver("--noreload", "--noworker").port()
    with greeted(port) as client:
        assert client.recv(DEADLINE_S) == "first"
        assert get(port, "/order/")[0] == 200
        with pytest.raises(TimeoutError):
            client.recv(0.3)
        worker = subprocess.Popen(
            [sys.executable, "-m", "django", "runworker"],
            cwd=folder,
            env=environment(folder),
            stderr=subprocess.DEVNULL,
        )
        try:
            assert client.recv(DEADLINE_S) == "from a worker"
        finally:
            worker.terminate()
        assert worker.wait(DEADLINE_S) == 0
