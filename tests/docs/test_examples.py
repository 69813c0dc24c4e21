"""``examples/liveblog`` and ``examples/udp``, copied and served by real processes."""

from __future__ import annotations

import ast
import re
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.docs.blocks import ROOT
from tests.docs.project import CSRF, run
from tests.docs.serving import WAIT_S, environment, get, runserver, serve, started
from tests.test_public_names import NAMES

pytestmark = pytest.mark.topology

FILES = [
    "examples/liveblog/blog/consumers.py",
    "examples/liveblog/blog/models.py",
    "examples/liveblog/blog/tests.py",
    "examples/liveblog/config/routing.py",
    "examples/udp/config/routing.py",
    "examples/udp/lines/consumers.py",
    "examples/udp/lines/server.py",
]


def copied(name: str, folder: Path) -> Path:
    ignore = shutil.ignore_patterns("*.sqlite3", "__pycache__")
    return shutil.copytree(ROOT / "examples" / name, folder / name, ignore=ignore)


def opened(port: int) -> ClientConnection:
    return connect(f"ws://127.0.0.1:{port}/", origin=f"http://127.0.0.1:{port}")  # type: ignore[arg-type]


# The liveblog


@pytest.fixture
def liveblog(tmp_path: Path) -> Path:
    folder = copied("liveblog", tmp_path)
    run(folder, "manage.py", "migrate", "--verbosity", "0")
    return folder


def post(port: int, text: str) -> None:
    headers = {"Cookie": f"csrftoken={CSRF}", "X-CSRFToken": CSRF}
    body = f"text={text}".encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/", body, headers)
    with urllib.request.urlopen(request, timeout=WAIT_S) as response:
        assert response.status == 200


@contextmanager
def with_a_worker(folder: Path) -> Iterator[int]:
    """What is sent before the worker is ready waits for it."""
    command = [sys.executable, "manage.py", "runworker"]
    with serve(folder, "config.asgi:application", "config.settings") as port:
        worker = subprocess.Popen(command, cwd=folder, env=environment("config.settings"))
        try:
            yield port
        finally:
            worker.terminate()
            assert worker.wait(WAIT_S) == 0


def in_runserver(folder: Path) -> AbstractContextManager[int]:
    return runserver(folder, "config.settings")


def test_the_tests_of_the_liveblog(liveblog: Path) -> None:
    assert re.search(r"Ran 6 tests.*OK", run(liveblog, "-W", "error", "manage.py", "test"), re.DOTALL)


def test_the_models_of_the_liveblog_are_those_of_its_migrations(liveblog: Path) -> None:
    assert "No changes" in run(liveblog, "manage.py", "makemigrations", "--check")


@pytest.mark.parametrize("serving", [in_runserver, with_a_worker])
def test_readers_of_the_liveblog_see_new_posts(
    liveblog: Path, serving: Callable[[Path], AbstractContextManager[int]]
) -> None:
    with serving(liveblog) as port:
        assert get(port, "/")[0] == 200
        with opened(port) as fry, opened(port) as leela:
            post(port, "hello")
            assert [reader.recv(WAIT_S) for reader in (fry, leela)] == ["hello", "hello"]
            script = "from blog.models import LiveblogPost; LiveblogPost.objects.create(text='From a shell')"
            run(liveblog, "manage.py", "shell", "-c", script)
            assert [reader.recv(WAIT_S) for reader in (fry, leela)] == ["From a shell", "From a shell"]
        assert b"<li>From a shell</li>" in get(port, "/")[1]


# Lines over UDP


class Datagrams:
    """A UDP client of the server at ``port``."""

    def __init__(self, port: int) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect(("127.0.0.1", port))
        self._socket.settimeout(WAIT_S)

    def say(self, data: bytes) -> None:
        self._socket.send(data)

    def hear(self) -> bytes:
        return self._socket.recv(65536)

    def close(self) -> None:
        self._socket.close()


@contextmanager
def lines(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """The ports of the web server and of the UDP server, which waits for the other's broker."""
    folder = copied("udp", tmp_path)
    command = [sys.executable, "manage.py", "runudp", "--port", "0"]
    with (
        started(folder, command, "config.settings", r"udp://127\.0\.0\.1:(\d+)") as udp,
        runserver(folder, "config.settings") as web,
    ):
        yield web, udp


@pytest.fixture
def clients() -> Iterator[Callable[[int], Datagrams]]:
    opened: list[Datagrams] = []

    def open_client(port: int) -> Datagrams:
        opened.append(Datagrams(port))
        return opened[-1]

    yield open_client
    for one in opened:
        one.close()


def test_udp_clients_and_websockets_in_one_group(tmp_path: Path, clients: Callable[[int], Datagrams]) -> None:
    with lines(tmp_path) as (web, udp):
        fry, leela, nobody = (clients(udp) for _ in range(3))
        for client in (fry, leela):
            client.say(b"/join\n")
            assert client.hear() == b"welcome"
        fry.say(b"/whisper good news\n")
        assert fry.hear() == b"GOOD NEWS"
        with opened(web) as page:
            fry.say("hällo".encode())
            assert [fry.hear(), leela.hear(), page.recv(WAIT_S)] == ["hällo".encode()] * 2 + ["hällo"]
            page.send("from the web")
            assert [fry.hear(), leela.hear(), page.recv(WAIT_S)] == [b"from the web"] * 2 + ["from the web"]
            leela.say(b"/leave")
            for number in range(20):
                fry.say(b"%d" % number)
            assert [fry.hear() for _ in range(20)] == [b"%d" % number for number in range(20)]
            assert [page.recv(WAIT_S) for _ in range(20)] == [str(number) for number in range(20)]
        nobody.say(b"/whisper only me")
        assert nobody.hear() == b"ONLY ME"
        leela.say(b"/whisper only me")
        assert leela.hear() == b"ONLY ME", "who has left hears the group still"


def test_what_is_no_line_harms_nobody(tmp_path: Path, clients: Callable[[int], Datagrams]) -> None:
    with lines(tmp_path) as (_, udp):
        fry = clients(udp)
        fry.say(b"/join")
        assert fry.hear() == b"welcome"
        fry.say(b"/whisper \xff\xfe hm")
        assert fry.hear() == b"\xff\xfe HM"
        fry.say(b"\xff" * 60_000)  # longer than a datagram, once it is text
        fry.say(b"\xff")
        assert fry.hear() == "\ufffd".encode()


def test_the_udp_server_is_about_forty_lines() -> None:
    text = (ROOT / "examples/udp/lines/server.py").read_text()
    assert sum(1 for line in text.splitlines() if line.strip()) <= 55


@pytest.mark.parametrize("example", ["chat", "liveblog", "udp"])
def test_examples_use_public_names_only(example: str) -> None:
    used = {
        (node.module, name.name)
        for file in (ROOT / "examples" / example).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "raceway"
        for name in node.names
    }
    assert used
    assert used <= {(module, name) for module, names in NAMES.items() for name in names}
