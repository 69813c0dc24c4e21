"""The tutorial, followed step by step in a new project, and ``examples/chat``, which is its result."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.docs.blocks import DOCS, ROOT, Block, blocks_of, commands_of
from tests.docs.serving import WAIT_S, environment, get, runserver, serve

pytestmark = pytest.mark.topology

FILES = [
    "examples/chat/config/settings.py",
    "examples/chat/config/urls.py",
    "examples/chat/config/routing.py",
    "examples/chat/config/asgi.py",
    "examples/chat/chat/consumers.py",
    "examples/chat/chat/templates/chat/room.html",
    "examples/chat/chat/static/chat/room.js",
]

TUTORIAL = DOCS / "tutorial/chat.md"
EXAMPLE = ROOT / "examples/chat"


class Reader:
    """Somebody who does what the page says, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def follow(self, block: Block) -> None:
        if block.language == "console":
            for command in commands_of(block):
                self.run(command)
        elif block.mark == "file":
            assert block.file is not None
            path = self.path_of(block.file)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
        else:
            assert block.file is not None
            self.change(self.path_of(block.file), block.text)

    def run(self, command: str) -> None:
        words = shlex.split(command)
        if words[:4] == ["python", "-m", "pip", "install"]:
            return  # this environment has Raceway
        if words[-1] == "runserver" or words[:2] == ["raceway", "serve"]:
            return  # the tests do that, and stop it again
        if words[0] == "mkdir":
            (self.folder / words[1]).mkdir()
        elif words[0] == "cd":
            self.folder /= words[1]
        else:
            assert words[0] in ("python", "django-admin")
            program = {"python": [], "django-admin": ["-m", "django"]}[words[0]]
            self.said = subprocess.run(
                [sys.executable, *program, *words[1:]],
                cwd=self.folder,
                env=environment(),
                check=True,
                capture_output=True,
                text=True,
            ).stdout

    def path_of(self, file: str) -> Path:
        return self.folder / Path(file).relative_to("examples/chat")

    @staticmethod
    def change(path: Path, lines: str) -> None:
        """Put a setting in the place of the one of its name, or at the end."""
        text = path.read_text()
        name = lines.partition(" ")[0]
        old = re.compile(rf"^{name} = \[.*?^\]\n", re.MULTILINE | re.DOTALL)
        path.write_text(old.sub(lines, text) if old.search(text) else f"{text}\n{lines}")


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """The project of somebody who has read to the end."""
    reader = Reader(tmp_path_factory.mktemp("tutorial"))
    for block in blocks_of(TUTORIAL):
        reader.follow(block)
    return reader


@contextmanager
def room(port: int, name: str) -> Iterator[ClientConnection]:
    origin = f"http://127.0.0.1:{port}"
    with connect(f"ws://127.0.0.1:{port}/chat/{name}/", origin=origin) as client:  # type: ignore[arg-type]
        yield client


def chat(port: int) -> None:
    """What the tutorial promises of the consumer."""
    with room(port, "moon") as leela, room(port, "moon") as fry, room(port, "mars") as bender:
        for text in ("hello", "bye"):
            leela.send(json.dumps({"name": "Leela", "text": text}))
            for client in (leela, fry):
                assert json.loads(client.recv(WAIT_S)) == {"name": "Leela", "text": text}
        with pytest.raises(TimeoutError):
            bender.recv(0)
        bender.send(json.dumps({"name": "Bender"}))
        with pytest.raises(ConnectionClosed) as closed:
            bender.recv(WAIT_S)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008
    with pytest.raises(InvalidStatus) as refused, room(port, "no~room"):
        pass
    assert refused.value.response.status_code == 404


def test_it_has_four_steps() -> None:
    assert re.findall(r"^## (Step \d)", TUTORIAL.read_text(), re.MULTILINE) == [
        f"Step {number}" for number in (1, 2, 3, 4)
    ]


def test_the_check_of_step_3_is_content(followed: Reader) -> None:
    assert "no issues" in followed.said


def test_the_reader_has_what_the_example_has(followed: Reader) -> None:
    for file in FILES[1:]:
        assert followed.path_of(file).read_text() == (ROOT / file).read_text()


def test_the_chat_of_the_reader_runs(followed: Reader) -> None:
    with runserver(followed.folder, "config.settings") as port:
        chat(port)
        assert get(port, "/")[0] == 200
        status, page = get(port, "/chat/moon/")
        assert (status, b"raceway/raceway.js" in page) == (200, True)
        for script in ("/static/raceway/raceway.js", "/static/chat/room.js"):
            assert get(port, script)[0] == 200


def test_the_wrong_order_of_apps_is_said(followed: Reader, tmp_path: Path) -> None:
    project = shutil.copytree(followed.folder, tmp_path / "project")
    settings = project / "config/settings.py"
    settings.write_text(settings.read_text() + "\nINSTALLED_APPS = INSTALLED_APPS[1:] + INSTALLED_APPS[:1]\n")
    done = subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=project,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "raceway.E001" in done.stderr


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """A copy of ``examples/chat``: its database is made in it."""
    ignore = shutil.ignore_patterns("*.sqlite3", "__pycache__")
    return shutil.copytree(EXAMPLE, tmp_path / "chat", ignore=ignore)


def test_the_example_runs_on_the_development_server(example: Path) -> None:
    with runserver(example, "config.settings") as port:
        chat(port)


def test_the_example_runs_on_raceway_serve(example: Path) -> None:
    with serve(example, "config.asgi:application", "config.settings") as port:
        chat(port)
        assert get(port, "/chat/moon/")[0] == 200
        assert get(port, "/static/chat/room.css")[0] == 200
