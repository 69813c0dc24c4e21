"""The chat of seed 004 over real sockets, and its deployments: one layer for two machines (B), and one for each (C)."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from websockets.sync.client import ClientConnection, connect

from raceway import Group
from raceway.messaging import Message
from tests.messaging.serving import serving, wait_for_members
from tests.server.process import DEADLINE_S, process
from tests.servers import redis

PROJECT = {
    "settings": """
import json
import os

SECRET_KEY = "x"
ALLOWED_HOSTS = ["127.0.0.1"]
INSTALLED_APPS = ["raceway"]
ROOT_URLCONF = "urls"
CHANNEL_LAYERS = {"default": json.loads(os.environ["CHAT_LAYER"])}
""",
    "urls": """
urlpatterns = []
""",
    "routing": """
from raceway import Group


def connect(message):
    Group("chat").add(message.reply_channel)


def receive(message):
    Group("chat").send({"text": message["text"]})


def disconnect(message):
    Group("chat").discard(message.reply_channel)


channel_routing = {
    "websocket.connect": connect,
    "websocket.receive": receive,
    "websocket.disconnect": disconnect,
}
""",
    "asgi": """
from raceway.asgi import get_application

application = get_application()
""",
}


def local_layer(place: Path) -> dict[str, Any]:
    return {"BACKEND": "raceway.layers.local.LocalLayer", "CONFIG": {"path": str(place)}}


def redis_layer(place: Path) -> dict[str, Any]:
    config = {"hosts": [redis.shared_server().url], "prefix": f"t{crc32(bytes(place)):x}"}
    return {"BACKEND": "raceway.layers.redis.RedisLayer", "CONFIG": config}


LAYERS: dict[str, Callable[[Path], dict[str, Any]]] = {"local": local_layer, "redis": redis_layer}
"""The setting of a layer that reaches whoever has the same ``place``, and nobody else."""


def on_connect(message: Message) -> None:
    """websocket.connect: add the (response) channel to the chat Group."""
    Group("chat").add(message.reply_channel)  # type: ignore[arg-type]


def on_receive(message: Message) -> None:
    """websocket.receive: broadcast the message to connected sockets in the Group."""
    Group("chat").send({"text": message["text"]})


def on_disconnect(message: Message) -> None:
    """websocket.disconnect: remove the particular socket from the Group."""
    Group("chat").discard(message.reply_channel)  # type: ignore[arg-type]


@pytest.mark.shell
def test_the_chat() -> None:
    """'Consume on...': connect, receive, disconnect."""
    routing = {
        "websocket.connect": on_connect,
        "websocket.receive": on_receive,
        "websocket.disconnect": on_disconnect,
    }
    with serving(routing) as served:
        with served.socket() as fry, served.socket() as leela:
            wait_for_members("chat", 2)
            for number in range(10):
                fry.send(f"hello {number}")
            for socket in (fry, leela):
                assert [socket.recv(DEADLINE_S) for _ in range(10)] == [f"hello {n}" for n in range(10)]
            leela.close()
            wait_for_members("chat", 1)
            fry.send("alone")
            assert fry.recv(DEADLINE_S) == "alone"
        wait_for_members("chat", 0)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in PROJECT.items():
        (tmp_path / f"{name}.py").write_text(text)
    return tmp_path


@pytest.fixture(params=LAYERS)
def setting(request: pytest.FixtureRequest) -> Callable[[Path], dict[str, Any]]:
    return LAYERS[request.param]


@contextmanager
def machine(project: Path, layer: dict[str, Any]) -> Iterator[ClientConnection]:
    """A server with that layer, and a socket to it."""
    environ = {
        "DJANGO_SETTINGS_MODULE": "settings",
        "CHAT_LAYER": json.dumps(layer),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(project), os.environ.get("PYTHONPATH")])),
    }
    with process(project, "asgi:application", "--port", "0", environ=environ) as server:
        port = server.ready().port
        options: Any = {"origin": f"http://127.0.0.1:{port}", "open_timeout": DEADLINE_S}
        with connect(f"ws://127.0.0.1:{port}/", **options) as socket:
            yield socket


def in_touch(sender: ClientConnection, other: ClientConnection, call: str) -> None:
    """Say something until ``other`` hears it: a membership takes a moment to be known on another machine."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        sender.send(call)
        with suppress(TimeoutError):
            while other.recv(0.1) != call:
                """It is something else that was said before."""
            return
    raise AssertionError("the other machine hears nothing")


def until(socket: ClientConnection, text: str) -> list[Any]:
    """What the socket hears before ``text``."""
    heard = []
    while (one := socket.recv(DEADLINE_S)) != text:
        heard.append(one)
    return heard


@pytest.mark.topology
def test_deployment_b_two_machines_share_a_layer(
    project: Path, broker_path: Path, setting: Callable[[Path], dict[str, Any]]
) -> None:
    with ExitStack() as stack:
        fry, leela = (stack.enter_context(machine(project, setting(broker_path))) for _ in range(2))
        in_touch(fry, leela, "leela?")
        in_touch(leela, fry, "fry?")
        said = [f"hello {number}" for number in range(50)]
        for text in [*said, "end"]:
            fry.send(text)
        for socket in (fry, leela):
            assert [text for text in until(socket, "end") if text not in ("fry?", "leela?")] == said


@pytest.mark.topology
def test_deployment_c_two_machines_with_a_layer_each(
    project: Path, broker_path: Path, setting: Callable[[Path], dict[str, Any]]
) -> None:
    with ExitStack() as stack:
        places = (broker_path, broker_path.with_name("other"))
        fry, leela = (stack.enter_context(machine(project, setting(place))) for place in places)
        for number in range(50):
            fry.send(f"hello {number}")
        fry.send("end")
        assert until(fry, "end") == [f"hello {number}" for number in range(50)]
        leela.send("only me")
        assert until(leela, "only me") == [], "the machines do not share a layer"
