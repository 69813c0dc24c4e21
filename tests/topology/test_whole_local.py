"""Any process of a project reaches any socket: nothing is configured, and nothing else runs."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.docs.project import CSRF, PREPARE, copied
from tests.docs.serving import WAIT_S, environment, started
from tests.interop.environment import PYTHON, NotInstalled, install
from tests.server.process import Process

SETTINGS = """
from config.settings import *

del CHANNEL_LAYERS  # so that it is the default
RACEWAY["PRESENCE_GRACE_S"] = 1
"""

APPLICATION = "config.asgi:application"
SERVE = ["-m", "raceway", "serve", APPLICATION, "--port", "0", "--drain-seconds", "0"]
SAYS = r"Serving on http://\S+:(\d+)"
SERVERS = {
    "serve": (SERVE, SAYS),
    "workers": ([*SERVE, "--workers", "4"], SAYS),
    "runserver": (["manage.py", "runserver", "--noreload", "0"], r"server at http://\S+:(\d+)/"),
    "reloader": (["manage.py", "runserver", "0"], r"server at http://\S+:(\d+)/"),
    "uvicorn": (["-m", "uvicorn", APPLICATION, "--port", "0"], r"running on http://\S+:(\d+)"),
    "daphne": (["-m", "daphne", "--port", "0", APPLICATION], r"Listening on TCP address \S+:(\d+)"),
}

PREFORK = """
import os
import django
django.setup()
from raceway import Group

kitchen = Group("kitchen")
kitchen.broadcast({"from": "the parent"})
counts = []
for number in range(2):
    child = os.fork()
    if not child:
        kitchen.broadcast({"from": f"child {number}"})
        os._exit(kitchen.count())
    counts.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
kitchen.broadcast({"from": "the parent again"})
print(kitchen.count(), counts)
"""
"""As a worker of Celery's does that has sent before it forks."""


BAD_SETTINGS = """
from config.settings import *

CHANNEL_LAYERS["default"]["CONFIG"]["path"] = "/nowhere/at/all/broker"
DATABASES = {}
"""

MEMORY_SETTINGS = """
from config.settings import *

CHANNEL_LAYERS = {"default": {"BACKEND": "raceway.layers.memory.MemoryLayer"}}
"""

CHAT = """
import os
from raceway.consumers import AsyncJsonWebsocketConsumer


class Chat(AsyncJsonWebsocketConsumer):
    groups = ["lobby"]

    async def connect(self):
        await self.accept()
        await self.send_json({"worker": os.getpid()})

    async def receive_json(self, content):
        await self.group_send("lobby", {"type": "said", "text": content})

    async def said(self, event):
        await self.send_json(event["text"])


application = Chat.as_asgi()
"""

SCRIPT = """
from raceway import Group

Group("lobby").broadcast({"from": "a script"})
print(Group("lobby").count())
"""

LOG_IN = """
from django.conf import settings
from django.contrib.auth import get_user_model
from django.test import Client
client = Client()
client.force_login(get_user_model().objects.get(username="fry"))
print(client.cookies[settings.SESSION_COOKIE_NAME].value)
"""


class Project:
    """The project of the how-tos, with the default layer and a database in which two people are logged in."""

    def __init__(self, folder: Path) -> None:
        self.folder = copied(folder)
        (self.folder / "config/settings_default.py").write_text(SETTINGS)
        self.environ = environment(
            "config.settings_default", SNIPPETS_DATABASE=str(folder / "db.sqlite3"), PYTHONWARNINGS="error"
        )
        self.run("manage.py", "migrate", "--run-syncdb", "--verbosity", "0")
        self.fry, self.zoidberg, _ = self.shell(PREPARE).split()

    def run(self, *command: str, python: Path | str = sys.executable) -> str:
        """Run it to its end; its output, which is all on stdout."""
        done = subprocess.run(
            [str(python), *command],
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=3 * WAIT_S,
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
        return done.stdout

    def shell(self, code: str) -> str:
        return self.run("manage.py", "shell", "--no-imports", "-c", code).strip()

    @contextmanager
    def served(self, kind: str) -> Iterator[Callable[..., ClientConnection]]:
        """Serve it; gives what opens sockets."""
        command, says = SERVERS[kind]
        python: Path | str = sys.executable
        if kind in ("uvicorn", "daphne"):
            try:
                install()
            except NotInstalled as error:
                pytest.skip(f"{kind} could not be installed from PyPI: {error}")
            python = PYTHON
        settings = self.environ["DJANGO_SETTINGS_MODULE"]
        with (
            started(self.folder, [str(python), *command], settings, says, **self.environ) as port,
            ExitStack() as stack,
        ):

            def open_socket(path: str, session: str = "") -> ClientConnection:
                return stack.enter_context(opened(port, path, session))

            yield open_socket

    def server(self, *options: str) -> Server:
        """A server of its own, that can be killed."""
        command = [APPLICATION, "--port", "0", "--drain-seconds", "0", *options]
        return Server(self.folder, *command, environ=self.environ)


class Server(Process):
    def __enter__(self) -> Server:
        self.ready()
        return self

    def __exit__(self, *details: object) -> None:
        self.kill()


@contextmanager
def opened(port: int, path: str, session: str = "") -> Iterator[ClientConnection]:
    headers = {"Cookie": f"sessionid={session}; csrftoken={CSRF}"} if session else {}
    with connect(f"ws://127.0.0.1:{port}{path}", additional_headers=headers) as client:
        yield client


def heard(client: ClientConnection) -> Any:
    return json.loads(client.recv(WAIT_S))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("whole") / "project")


@pytest.mark.parametrize("kind", SERVERS)
def test_one_line_reaches_every_socket(project: Project, kind: str) -> None:
    with project.served(kind) as open_socket:
        cooks = [open_socket("/kitchen/") for _ in range(12)]
        fries = [open_socket("/account/", project.fry) for _ in range(3)]
        zoidberg = open_socket("/account/", project.zoidberg)
        fries[0].ping().wait(WAIT_S)

        # Who is there
        said = project.shell(
            "from raceway import Group\n"
            "kitchen = Group('kitchen')\n"
            "print(kitchen.count(), *kitchen.members())"
        )
        count, *members = said.split()
        assert (count, len(set(members))) == ("12", 12)
        assert (len(processes_of(members)) > 1) == (kind == "workers")

        # To all, from a command
        project.run("manage.py", "close_kitchen")
        assert [heard(cook) for cook in cooks] == [{"closed": "We are sold out."}] * 12

        # To one user, and to one connection, from a shell
        project.shell("from raceway import User; User(1).broadcast({'lunch': 'is ready'})")
        assert [heard(fry) for fry in fries] == [{"lunch": "is ready"}] * 3
        project.shell(
            "from raceway import Channel, Group, User\n"
            f"Channel({members[0]!r}).send({{'text': '\"for you\"'}})\n"
            "Group('kitchen').broadcast('\"for all\"')\n"
            "User(1).broadcast('\"for all\"'); User(2).broadcast('\"for all\"')"
        )
        got = [heard(cook) for cook in cooks]
        assert sorted(got) == ["for all"] * 11 + ["for you"]
        assert heard(cooks[got.index("for you")]) == "for all"
        accounts = (*fries, zoidberg)
        assert [heard(account) for account in accounts] == ["for all"] * 4  # nothing else came before

        # From processes that fork
        assert project.run("-c", PREFORK).strip() == "12 [12, 12]"
        for sender in ("the parent", "child 0", "child 1", "the parent again"):
            assert [heard(cook) for cook in cooks] == [{"from": sender}] * 12

        # Between sockets
        cooks[0].send(json.dumps({"note": "hello"}))
        assert [heard(cook) for cook in cooks[1:]] == [{"note": "hello"}] * 11


def test_a_logout_closes_the_sockets_of_the_session_in_every_worker(project: Project) -> None:
    session = project.shell(LOG_IN)
    with project.server("--workers", "4") as server, ExitStack() as stack:
        accounts = [stack.enter_context(opened(server.port, "/account/", session)) for _ in range(8)]
        other = stack.enter_context(opened(server.port, "/account/", project.fry))
        whoami = stack.enter_context(opened(server.port, "/whoami/", session))
        assert heard(whoami) == {"name": "fry"}
        whoami.send(json.dumps("logout"))
        for account in accounts:
            with pytest.raises(ConnectionClosed) as closed:
                account.recv(WAIT_S)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 4401
        project.shell("from raceway import User; User(1).broadcast({'still': 'there'})")
        assert heard(other) == {"still": "there"}


def test_a_message_to_a_named_channel_waits_for_who_takes_it(project: Project) -> None:
    with project.server():
        project.shell(
            "from raceway import Channel\n"
            "for number in range(3): Channel('thumbnails').send({'type': 'make', 'number': number})"
        )
        taken = project.shell(
            "import asyncio\n"
            "from raceway import get_channel_layer\n"
            "async def take(): return [(await get_channel_layer().receive('thumbnails'))['number'] for _ in range(3)]\n"
            "print(asyncio.run(take()))"
        )
        assert taken == "[0, 1, 2]"


def test_without_a_server_it_is_said_once(project: Project) -> None:
    said = project.shell(
        "import logging, sys; logging.basicConfig(level='INFO', stream=sys.stdout)\n"
        "from raceway import Channel, Group\n"
        "from raceway.errors import LayerUnavailable\n"
        "for _ in range(3): Group('kitchen').broadcast('nobody hears this')\n"
        "try: Channel('thumbnails').send({'type': 'make'})\n"
        "except LayerUnavailable as error: print(error)"
    )
    logged = [line for line in said.splitlines() if line.startswith("INFO:raceway")]
    assert len(logged) == 1, said
    assert "No broker of this user is running" in logged[0]
    assert re.fullmatch(r"No broker is running at /\S+: start the server.*", said.splitlines()[-1]), said


@pytest.mark.parametrize("options", [[], ["--workers", "2"]], ids=["one process", "workers"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_another_server_takes_over(project: Project, number: signal.Signals, options: list[str]) -> None:
    """It joins the broker of the first; when that ends, its sockets are told of a gap, and go on."""
    with project.server(*options) as first, project.server(*options) as second, ExitStack() as stack:
        ones = [stack.enter_context(opened(first.port, "/kitchen/")) for _ in range(4)]
        others = [stack.enter_context(opened(second.port, "/kitchen/")) for _ in range(4)]
        project.run("manage.py", "close_kitchen")
        assert [heard(cook) for cook in (*ones, *others)] == [{"closed": "We are sold out."}] * 8
        first.signal(number)
        for one in ones:
            with pytest.raises(ConnectionClosed):
                one.recv(WAIT_S)
        assert [heard(other) for other in others] == [{"open": []}] * 4
        with project.server(*options) as third, opened(third.port, "/kitchen/") as last:
            assert project.shell("from raceway import Group; print(Group('kitchen').count())") == "5"
            project.run("manage.py", "close_kitchen")
            assert [heard(cook) for cook in (*others, last)] == [{"closed": "We are sold out."}] * 5


def test_a_killed_worker_leaves_no_ghost(project: Project) -> None:
    asked = "from raceway import Group; print(*sorted(Group('kitchen').members()))"
    with project.server("--workers", "4") as server, ExitStack() as stack:
        cooks = [stack.enter_context(opened(server.port, "/kitchen/")) for _ in range(16)]
        before = project.shell(asked).split()
        assert len(before) == 16
        os.kill(min(server.workers()), signal.SIGKILL)
        project.run("manage.py", "close_kitchen")
        left = [cook for cook in cooks if is_told(cook)]
        after = project.shell(asked).split()
        assert len(after) == len(left)
        assert set(after) <= set(before)
        gone = processes_of(set(before) - set(after))
        assert len(gone) <= 1  # chance may have given it no socket
        assert gone.isdisjoint(processes_of(after))


def test_who_was_in_a_killed_worker_is_there_no_more(project: Project) -> None:
    ask = "from orders.shift import cooks; print(*cooks.list())"
    with project.server("--workers", "4") as server, ExitStack() as stack:
        fries = [stack.enter_context(opened(server.port, "/shift/", project.fry)) for _ in range(8)]
        zoidberg = stack.enter_context(opened(server.port, "/shift/", project.zoidberg))
        assert all("cooks" in heard(cook) for cook in (*fries, zoidberg))
        assert sorted(project.shell(ask).split()) == ["1", "2"]

        victims = server.workers()
        while zoidberg.close_code is None:
            os.kill(victims.pop(), signal.SIGKILL)
            with suppress(TimeoutError, ConnectionClosed):
                while True:
                    zoidberg.recv(0.5)

        watcher = stack.enter_context(opened(server.port, "/shift/", project.fry))
        there = set(heard(watcher)["cooks"])
        while "2" in there:
            diff = heard(watcher)
            there = there.union(diff["joined"]).difference(diff["left"])
        assert there == {"1"}
        assert project.shell(ask) == "1"


def processes_of(channels: Iterable[str]) -> set[str]:
    return {name.partition("!")[0] for name in channels}


def is_told(cook: ClientConnection) -> bool:
    """Whether it hears what the command says; the sockets of the killed worker are closed."""
    try:
        return bool(heard(cook) == {"closed": "We are sold out."})
    except ConnectionClosed:
        return False


@pytest.mark.parametrize("kind", ["serve", "workers", "runserver"])
def test_a_path_that_cannot_be_is_one_sentence(project: Project, kind: str) -> None:
    (project.folder / "config/settings_bad.py").write_text(BAD_SETTINGS)
    done = subprocess.run(
        [sys.executable, *SERVERS[kind][0]],
        cwd=project.folder,
        env={**project.environ, "DJANGO_SETTINGS_MODULE": "config.settings_bad"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_S,
    )
    assert done.returncode in (1, 2)
    assert len(done.stderr.splitlines()) == 1, done.stderr
    sentence = done.stderr
    assert "'/nowhere/at/all' for the broker's socket cannot be made" in sentence
    assert "set CONFIG['path'] of the local layer" in sentence


def test_workers_whose_layer_is_memory_are_told_of(project: Project) -> None:
    (project.folder / "config/settings_memory.py").write_text(MEMORY_SETTINGS)
    environ = {**project.environ, "DJANGO_SETTINGS_MODULE": "config.settings_memory"}
    command = [APPLICATION, "--port", "0", "--drain-seconds", "0", "--workers", "2"]
    server = Server(project.folder, *command, environ=environ)
    try:
        server.logged(
            "The channel layer 'default' is memory, so each of 2 workers reaches its own sockets only"
        )
    finally:
        server.kill()


@pytest.mark.parametrize("options", [[], ["--workers", "4"]], ids=["one process", "workers"])
def test_an_application_without_django(tmp_path: Path, options: list[str]) -> None:
    """Where it is started stands for the project: who sends does so from there."""
    (tmp_path / "chat.py").write_text(CHAT)
    environ = {"DJANGO_SETTINGS_MODULE": "", "PYTHONWARNINGS": "error"}
    command = ["chat:application", "--port", "0", "--drain-seconds", "0", *options]
    with Server(tmp_path, *command, environ=environ) as server, ExitStack() as stack:
        sockets = [stack.enter_context(opened(server.port, "/")) for _ in range(8)]
        workers = {heard(socket)["worker"] for socket in sockets}
        assert (len(workers) > 1) == bool(options)
        sockets[0].send(json.dumps("from a socket"))
        assert [heard(socket) for socket in sockets] == ["from a socket"] * 8
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT],
            cwd=tmp_path,
            env={**os.environ, **environ},
            capture_output=True,
            text=True,
            check=False,
            timeout=WAIT_S,
        )
        assert (done.stdout, done.stderr) == ("8\n", "")
        assert [heard(socket) for socket in sockets] == [{"from": "a script"}] * 8
