"""``manage.py runworker`` as real processes: each message is handled once, also when workers are stopped and killed.

What layer they share is a parameter: ``SHARED``.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any, NamedTuple

import pytest
from django.utils.module_loading import import_string

import tests.project  # noqa: F401  Django's settings
from raceway.layers.front import ChannelLayer
from raceway.layers.local.serving import BrokerHost
from tests.servers import postgres as postgres_server
from tests.servers.redis import new_prefix, shared_server

DEADLINE_S = 30.0
POLL_S = 0.02

SETTINGS = """
SECRET_KEY = "x"
INSTALLED_APPS = ["raceway", *{apps!r}]
ROOT_URLCONF = "urls"
DATABASES = {databases!r}
CHANNEL_LAYERS = {layers!r}
"""

ROUTING = """
import os
import time
from pathlib import Path

LOG = Path(__file__).parent / "log"


def note(what, n):
    with LOG.open("a") as log:  # one write, at the end of the file
        log.write(f"{what} {os.getpid()} {n}\\n")


def work(message):
    note("began", message["n"])
    time.sleep(message.get("for_s", 0))
    note("ended", message["n"])


async def quick(message):
    note("quick", message["n"])


channel_routes = {"work": work, "quick": quick}
"""


ASGI = """
from raceway.asgi import get_application

application = get_application()
"""


class Shared(NamedTuple):
    """A layer that processes share, as ``CHANNEL_LAYERS`` says it."""

    backend: str
    config: dict[str, Any]
    databases: dict[str, Any] = {}
    apps: tuple[str, ...] = ()

    @property
    def setting(self) -> dict[str, Any]:
        return {"default": {"BACKEND": self.backend, "CONFIG": self.config}}

    def make(self) -> ChannelLayer:
        layer: ChannelLayer = import_string(self.backend)(**self.config)
        return layer


@contextmanager
def local() -> Iterator[Shared]:
    with TemporaryDirectory(prefix="rw-") as folder:
        path = Path(folder, "broker")
        host = BrokerHost(path)
        host.start()
        try:
            yield Shared("raceway.layers.local.LocalLayer", {"path": str(path), "capacity": 10_000})
        finally:
            host.stop()


@contextmanager
def redis() -> Iterator[Shared]:
    hosts, prefix = [shared_server().url], new_prefix()
    yield Shared("raceway.layers.redis.RedisLayer", {"hosts": hosts, "prefix": prefix, "capacity": 10_000})


@contextmanager
def postgres() -> Iterator[Shared]:
    database = postgres_server.shared_database()
    yield Shared(
        "raceway.layers.postgres.PostgresLayer",
        {"using": database.alias, "prefix": postgres_server.new_prefix(), "capacity": 10_000},
        {"default": {}, database.alias: database.server.settings(database.name)},
        ("raceway.layers.postgres",),
    )


SHARED: dict[str, Callable[[], Any]] = {"local": local, "redis": redis, "postgres": postgres}
"""By name, what makes a layer for processes and lets go of it."""


@pytest.fixture(params=list(SHARED))
def shared(request: pytest.FixtureRequest) -> Iterator[Shared]:
    with SHARED[request.param]() as shared:
        yield shared


class House:
    """A project, its workers, and what they have noted."""

    def __init__(self, folder: Path, shared: Shared) -> None:
        self.folder = folder
        self.shared = shared
        self.workers: list[subprocess.Popen[str]] = []
        (folder / "settings.py").write_text(
            SETTINGS.format(layers=shared.setting, databases=shared.databases, apps=shared.apps)
        )
        (folder / "urls.py").write_text("urlpatterns = []\n")
        (folder / "routing.py").write_text(ROUTING)
        (folder / "asgi.py").write_text(ASGI)
        (folder / "log").touch()

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return self.run("django", "runworker", *arguments)

    def run(self, *arguments: str) -> subprocess.Popen[str]:
        """``python -m`` whatever."""
        output = self.folder / f"stderr.{len(self.workers)}"
        with output.open("w") as stderr:
            worker = self._run(arguments, stderr)
        self.workers.append(worker)
        return worker

    def _run(self, arguments: tuple[str, ...], stderr: IO[str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=self.folder,
            env={
                **os.environ,
                "DJANGO_SETTINGS_MODULE": "settings",
                "PYTHONPATH": os.pathsep.join(filter(None, [str(self.folder), os.environ.get("PYTHONPATH")])),
                "PYTHONUNBUFFERED": "1",
                "PYTHONWARNINGS": "error",
            },
            stderr=stderr,
            text=True,
        )

    def said(self, worker: subprocess.Popen[str]) -> str:
        return (self.folder / f"stderr.{self.workers.index(worker)}").read_text()

    def serving(self, *arguments: str) -> subprocess.Popen[str]:
        """A worker that has begun to serve."""
        worker = self.start(*arguments)
        self.until(lambda: "Serving the channels" in self.said(worker))
        return worker

    def noted(self, what: str) -> list[tuple[int, int]]:
        """Processes and numbers."""
        lines = [line.split() for line in (self.folder / "log").read_text().splitlines()]
        return [(int(process), int(n)) for word, process, n in lines if word == what]

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < deadline, "\n".join(map(self.said, self.workers))
            time.sleep(POLL_S)

    def stop(self, worker: subprocess.Popen[str], number: int = signal.SIGTERM) -> int:
        worker.send_signal(number)
        return worker.wait(DEADLINE_S)

    def close(self) -> None:
        for worker in self.workers:
            if worker.poll() is None:
                worker.kill()
            worker.wait(DEADLINE_S)


@pytest.fixture
def house(tmp_path: Path, shared: Shared) -> Iterator[House]:
    house = House(tmp_path, shared)
    yield house
    house.close()


@pytest.fixture
def layer(house: House) -> Iterator[ChannelLayer]:
    """The test's own end of the layer, used from a thread without an event loop."""
    with ExitStack() as ending:
        layer = house.shared.make()
        ending.callback(close_thread_link, layer)
        yield layer


def close_thread_link(layer: Any) -> None:
    for name in ("_thread_link", "_thread_carrier"):
        link = getattr(layer, name, None)
        if link is not None:
            link.close()


def send(layer: ChannelLayer, channel: str, **message: Any) -> None:
    layer.send_from_thread(channel, layer.prepare(message))


def lost(layer: ChannelLayer) -> int:
    async def ask() -> int:
        try:
            return (await layer.global_statistics())["messages_lost_count"]
        finally:
            await layer.aclose()

    return asyncio.run(ask())


def test_eight_workers_handle_each_message_once(house: House, layer: ChannelLayer) -> None:
    for _ in range(8):
        house.start("--concurrency", "2")
    house.until(lambda: all("Serving the channels quick, work" in house.said(one) for one in house.workers))
    for n in range(400):
        send(layer, "quick" if n % 2 else "work", n=n, for_s=0.01)
    house.until(lambda: len(house.noted("ended")) + len(house.noted("quick")) >= 400)
    codes = [house.stop(worker) for worker in house.workers]
    handled = [*house.noted("ended"), *house.noted("quick")]
    assert sorted(n for _, n in handled) == list(range(400))
    assert len({process for process, _ in house.noted("ended")}) >= 4
    assert codes == [0] * 8
    assert lost(layer) == 0


def test_a_killed_worker_takes_at_most_the_message_in_its_hands_with_it_and_that_is_counted(
    house: House, layer: ChannelLayer
) -> None:
    victim, _ = house.serving("work"), house.serving("work")
    for n in range(40):
        send(layer, "work", n=n, for_s=0.1)
    house.until(lambda: any(process == victim.pid for process, _ in house.noted("began")))
    house.stop(victim, signal.SIGKILL)
    begun = {n for process, n in house.noted("began") if process == victim.pid}
    ended = {n for process, n in house.noted("ended") if process == victim.pid}
    in_hand = begun - ended
    assert len(in_hand) <= 1
    house.until(lambda: len(house.noted("ended")) >= 40 - lost(layer))
    counts = Counter(n for _, n in house.noted("began"))
    assert set(counts.values()) == {1}
    # It may have been killed before it noted the beginning, or after it noted the end.
    house.until(lambda: lost(layer) >= len(in_hand))
    assert lost(layer) <= 1


def test_sigterm_under_load_loses_none(house: House, layer: ChannelLayer) -> None:
    workers = [house.serving("work", "--concurrency", "3") for _ in range(2)]
    sent = 0
    for _ in range(3):
        for _ in range(60):
            send(layer, "work", n=sent, for_s=0.02)
            sent += 1
        workers.append(house.serving("work", "--concurrency", "3"))
        assert house.stop(workers.pop(0)) == 0
    house.until(lambda: len(house.noted("ended")) >= sent)
    for worker in workers:
        assert house.stop(worker) == 0
    assert sorted(n for _, n in house.noted("ended")) == list(range(sent))
    assert house.noted("began") != []
    assert lost(layer) == 0
    assert all("Stopped; messages handled: " in house.said(worker) for worker in house.workers)


def test_the_second_signal_cuts_short_and_what_is_cut_off_is_counted(
    house: House, layer: ChannelLayer
) -> None:
    house.serving("quick")  # some layers count when a lease is over, and somebody is there to see it
    worker = house.serving("work", "--drain-seconds", "60")
    send(layer, "work", n=1, for_s=60)
    house.until(lambda: house.noted("began"))
    worker.send_signal(signal.SIGTERM)
    house.until(lambda: "SIGTERM: stopping within 60 s; messages in hand: 1." in house.said(worker))
    began = time.monotonic()
    assert house.stop(worker, signal.SIGINT) == 0
    assert time.monotonic() - began < 10
    assert "1 messages of the channel 'work' were cut off within their handlers" in house.said(worker)
    house.until(lambda: lost(layer) == 1)


def test_a_delayed_message_comes_when_its_sender_has_gone(house: House) -> None:
    house.serving("quick")
    layer = house.shared.make()
    layer.send_later_from_thread("quick", layer.prepare({"n": 7}), 1.0, "token")
    close_thread_link(layer)
    assert house.noted("quick") == []
    house.until(lambda: [n for _, n in house.noted("quick")] == [7])


def test_with_reload_new_code_takes_over(house: House, layer: ChannelLayer) -> None:
    parent = house.serving("--reload")
    send(layer, "quick", n=1)
    house.until(lambda: len(house.noted("quick")) == 1)
    house.until(lambda: "Watching Python files" in house.said(parent))
    (house.folder / "routing.py").write_text(ROUTING.replace('note("quick"', 'note("quicker"'))
    house.until(lambda: house.said(parent).count("Serving the channels") == 2)
    send(layer, "quick", n=2)
    house.until(lambda: [n for _, n in house.noted("quicker")] == [2])
    assert house.stop(parent) == 0
    assert parent.pid not in {process for process, _ in house.noted("quick")}


def test_a_worker_ends_with_the_reloader_that_has_started_it(house: House) -> None:
    """Else it would go on with old code, beside its successor."""
    parent = house.serving("--reload")
    house.until(lambda: "Watching Python files" in house.said(parent))
    house.stop(parent, signal.SIGKILL)
    house.until(lambda: "Stopped; messages handled: 0" in house.said(parent))


def test_what_cannot_be_served_is_one_sentence_and_status_1(house: House) -> None:
    wrong = {
        ("wrok",): r"No application is configured for the channel 'wrok': did you mean 'work'\?",
        ("--layer", "defualt"): r"CHANNEL_LAYERS has no alias 'defualt': did you mean 'default'\?",
        ("--only", "video*"): r"No channel is left",
        ("--threads", "0"): r"--threads",
    }
    workers = {arguments: house.start(*arguments) for arguments in wrong}
    for arguments, worker in workers.items():
        assert worker.wait(DEADLINE_S) != 0
        assert re.search(wrong[arguments], house.said(worker))
        assert "Traceback" not in house.said(worker)


def test_code_that_cannot_be_imported_is_told(house: House) -> None:
    (house.folder / "routing.py").write_text("import nowhere_at_all\n")
    worker = house.start()
    assert worker.wait(DEADLINE_S) != 0
    assert "No module named 'nowhere_at_all'" in house.said(worker)


@pytest.mark.parametrize("processes", [[], ["--workers", "2"]], ids=["one", "supervised"])
def test_a_server_can_have_a_worker_in_each_of_its_processes(
    house: House, layer: ChannelLayer, processes: list[str]
) -> None:
    server = house.run("raceway", "serve", "asgi:application", "--port", "0", "--with-worker", *processes)
    house.until(
        lambda: house.said(server).count("Serving the channels quick, work") == max(1, len(processes))
    )
    for n in range(20):
        send(layer, "work", n=n, for_s=0.05)
    house.until(lambda: len(house.noted("began")) > 5)
    assert house.stop(server) == 0
    assert house.noted("began") != []
    assert len(house.noted("ended")) == len(house.noted("began"))
    assert len({process for process, _ in house.noted("began")}) == max(1, len(processes))
    assert lost(layer) == 0


def test_consumers_of_the_first_generation_are_served_too(house: House, layer: ChannelLayer) -> None:
    old = """
def thumb(message):
    note("thumb", message.content["n"])


channel_routing = {"thumbnail": "routing.thumb", "websocket.connect": "routing.thumb"}
"""
    (house.folder / "routing.py").write_text(ROUTING.partition("channel_routes")[0] + old)
    worker = house.serving()
    assert "Serving the channels thumbnail (" in house.said(worker)
    send(layer, "thumbnail", n=3)
    house.until(lambda: [n for _, n in house.noted("thumb")] == [3])
    assert house.stop(worker) == 0


def test_a_worker_waits_for_a_broker_and_for_the_next_one(tmp_path: Path, broker_path: Path) -> None:
    """It hosts none itself: what waits there would end with it."""
    shared = Shared("raceway.layers.local.LocalLayer", {"path": str(broker_path)})
    house, layer, host = House(tmp_path, shared), shared.make(), BrokerHost(broker_path)
    try:
        worker = house.serving("quick")
        house.until(lambda: "Messages cannot be received; it is tried again: No broker" in house.said(worker))
        assert not broker_path.exists()
        for n in range(2):
            host.start()
            send(layer, "quick", n=n)
            house.until(lambda n=n: [*range(n + 1)] == [number for _, number in house.noted("quick")])
            host.stop()
        assert house.stop(worker) == 0
    finally:
        host.stop()
        close_thread_link(layer)
        house.close()
