"""The message consumers of the documentation, served to real clients."""

from __future__ import annotations

import importlib
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

import tests.project  # noqa: F401  Django's settings
from raceway.layers import channel_layers
from raceway.layers.memory import MemoryLayer
from raceway.messaging import MessageApplication, SynchronousLayer
from raceway.workers import Worker
from tests.docs.blocks import DOCS
from tests.messaging.serving import Served, serving, wait_for_members
from tests.server.running import DEADLINE_S
from tests.waiting import eventually

pytestmark = pytest.mark.shell

FILES = [
    "docs/snippets/messages/consumers.py",
    "docs/snippets/messages/interface.py",
    "docs/snippets/messages/loop.py",
    "docs/snippets/messages/routing.py",
]


@pytest.fixture(autouse=True)
def layer() -> Iterator[MemoryLayer]:
    layer = MemoryLayer()
    channel_layers.set("default", layer)
    yield layer
    channel_layers.set("default", None)


@pytest.fixture
def snippet(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(DOCS / "snippets")
    yield lambda name: importlib.import_module(f"messages.{name}")
    for name in [name for name in sys.modules if name.partition(".")[0] == "messages"]:
        del sys.modules[name]


@pytest.fixture
def site(snippet: Any, layer: MemoryLayer) -> Iterator[Served]:
    application = MessageApplication(snippet("routing").channel_routing)
    with serving(application) as served:
        worker = Worker(application, application.channel_names(), layer)
        served.server.call(worker.start)
        yield served
        served.server.run(worker.stop())


def post(served: Served, body: bytes) -> tuple[int, bytes]:
    with closing(HTTPConnection(served.address, timeout=DEADLINE_S)) as client:
        client.request("POST", "/report/", body)
        response = client.getresponse()
        return response.status, response.read()


def test_a_room(site: Served, snippet: Any) -> None:
    with site.socket("/chat/lobby/") as one, site.socket("/chat/lobby/") as two:
        wait_for_members("chat-lobby", 2)
        one.send("hello")
        assert one.recv(DEADLINE_S) == two.recv(DEADLINE_S) == "hello"
    eventually(lambda: snippet("consumers").lines == [("lobby", "hello")])
    with pytest.raises(InvalidStatus):
        site.socket("/chat/vault/")


def test_classes(site: Served) -> None:
    with site.socket("/draw/") as socket:
        socket.send('{"x":1}')
        assert socket.recv(DEADLINE_S) == '{"x":1}'
    with site.socket("/streams/") as socket:
        socket.send('{"stream": "sums", "payload": {"numbers": [1, 2]}}')
        assert json.loads(socket.recv(DEADLINE_S)) == {"stream": "sums", "payload": {"sum": 3}}


def test_a_request(site: Served) -> None:
    assert post(site, b"12345") == (202, b"5 bytes")


def test_a_loop_of_ones_own(snippet: Any) -> None:
    plain = SynchronousLayer()

    def serve() -> None:
        with pytest.raises(RuntimeError, match="was closed"):
            snippet("loop").serve(plain)

    loop = threading.Thread(target=serve)
    with serving(snippet("interface").application) as served:
        loop.start()
        assert post(served, b"") == (200, b"Hello World!")
        plain.close()
        loop.join(DEADLINE_S)
