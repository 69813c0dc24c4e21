"""Channels' own consumers, communicators and worker over each of our layers."""

from __future__ import annotations

import unittest
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.interop.processes import Process, run_script, server
from tests.interop.sockets import open_socket, receive
from tests.servers.postgres import shared_server

THEIRS = "tests.interop.project.theirs:application"
WITHIN_A_PROCESS = "raceway.layers.memory.MemoryLayer"


def layer_of(name: str, broker_path: Path, request: pytest.FixtureRequest) -> dict[str, Any]:
    if name == "memory":
        return {"BACKEND": WITHIN_A_PROCESS}
    if name == "local":
        return {"BACKEND": "raceway.layers.local.LocalLayer", "CONFIG": {"path": str(broker_path)}}
    if name == "redis":
        redis: Process = request.getfixturevalue("redis_server")
        hosts = [f"redis://127.0.0.1:{redis.port}"]
        return {"BACKEND": "raceway.layers.redis.RedisLayer", "CONFIG": {"hosts": hosts, "prefix": "interop"}}
    try:
        postgres = shared_server()
    except unittest.SkipTest as error:
        pytest.skip(str(error))
    database = postgres.settings(postgres.create_database())
    layer = {"BACKEND": "raceway.layers.postgres.PostgresLayer", "DATABASE": database}
    run_script("from django.core.management import call_command; call_command('migrate', verbosity=0)", layer)
    return layer


@pytest.fixture(scope="module", params=["memory", "local", "redis", "postgres"])
def layer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return layer_of(request.param, tmp_path_factory.mktemp("b") / "s", request)


@pytest.fixture(scope="module")
def pair(layer: dict[str, Any], folder: Path) -> Iterator[list[Process]]:
    """Two servers with their consumers; with a layer inside one process the same one twice."""
    with ExitStack() as stack:
        names = ["daphne"] if layer["BACKEND"] == WITHIN_A_PROCESS else ["daphne", "uvicorn"]
        processes = [stack.enter_context(server(name, folder, THEIRS, layer)) for name in names]
        yield [processes[0], processes[-1]]


def meet(*sockets: Any) -> None:
    """Make sure that all are in the room."""
    for number, socket in enumerate(sockets):
        socket.send(f"met {number}")
        for other in sockets:
            while receive(other) != f"met {number}":
                pass


@pytest.mark.parametrize("kinds", ["async async", "sync sync", "sync async", "async sync"])
def test_consumers_of_two_servers(pair: list[Process], kinds: str) -> None:
    here, there = kinds.split()
    with open_socket(pair[0], f"/{here}/") as one, open_socket(pair[1], f"/{there}/") as other:
        meet(one, other)
        for number in range(20):
            one.send(f"hello {number}")
        for socket in (one, other):
            assert [receive(socket) for _ in range(20)] == [f"hello {number}" for number in range(20)]
        other.send("myself")
        assert receive(other) == "to myself"
        other.close()
        one.send("still here")
        assert receive(one) == "still here"


def test_our_group_reaches_them(pair: list[Process], layer: dict[str, Any]) -> None:
    if layer["BACKEND"] == WITHIN_A_PROCESS:
        pytest.skip("It has one process.")
    with open_socket(pair[0], "/async/") as one, open_socket(pair[1], "/sync/") as other:
        meet(one, other)
        run_script(
            'from raceway import Group; Group("room").send({"type": "room.message", "text": "ours"})', layer
        )
        assert [receive(one), receive(other)] == ["ours", "ours"]


def test_their_communicator(pair: list[Process], layer: dict[str, Any]) -> None:
    said = run_script(
        """
import asyncio
from channels.testing import WebsocketCommunicator
from tests.interop.project.theirs import application

async def main():
    pair = [WebsocketCommunicator(application, path) for path in ("/async/", "/sync/")]
    for one in pair:
        print(await one.connect())
    for text in ("hello", "again"):
        await pair[0].send_to(text_data=text)
        print([await one.receive_from(10) for one in pair])
    for one in pair:
        await one.disconnect()
    from channels.layers import get_channel_layer
    await get_channel_layer().aclose()

asyncio.run(main())
""",
        layer,
    )
    assert said == "(True, None)\n(True, None)\n['hello', 'hello']\n['again', 'again']\n"


def test_their_worker(pair: list[Process], layer: dict[str, Any]) -> None:
    said = run_script(
        """
import asyncio, warnings
warnings.filterwarnings("ignore", "async_to_sync was passed")  # theirs, of its own handlers
from channels.consumer import AsyncConsumer, SyncConsumer
from channels.layers import get_channel_layer
from channels.routing import ChannelNameRouter
from channels.worker import Worker

done = []

class Async(AsyncConsumer):
    async def work_do(self, message):
        done.append(["async", message["n"]])

class Sync(SyncConsumer):
    def work_do(self, message):
        done.append(["sync", message["n"]])

async def main():
    layer = get_channel_layer()
    router = ChannelNameRouter({"asyncs": Async.as_asgi(), "syncs": Sync.as_asgi()})
    worker = asyncio.ensure_future(Worker(router, ["asyncs", "syncs"], layer).handle())
    for n in range(3):
        await layer.send("asyncs", {"type": "work.do", "n": n})
        await layer.send("syncs", {"type": "work.do", "n": n})
    while len(done) < 6:
        await asyncio.sleep(0.01)
    worker.cancel()
    await asyncio.gather(worker, return_exceptions=True)
    await layer.aclose()
    print([one for one in done if one[0] == "async"], [one for one in done if one[0] == "sync"])

asyncio.run(main())
""",
        layer,
    )
    assert said == "[['async', 0], ['async', 1], ['async', 2]] [['sync', 0], ['sync', 1], ['sync', 2]]\n"
