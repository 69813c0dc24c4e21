"""The thin thread through everything: real sockets, our server, the project's application, groups and users."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from django.urls import path
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

import raceway
import tests.project  # noqa: F401  Django's settings
from raceway import Group
from raceway.asgi import get_application
from raceway.auth import AuthMiddlewareStack
from raceway.consumers import AsyncJsonWebsocketConsumer, WebsocketConsumer
from raceway.origin import AllowedHostsOriginValidator
from raceway.routing import ProtocolTypeRouter, URLRouter
from tests.project.consumers import Echo
from tests.server.running import Running, running

PACKAGE = os.path.dirname(raceway.__file__)

pytestmark = pytest.mark.shell


class UserCounter(AsyncJsonWebsocketConsumer):
    """The first page of the documents demo."""

    groups = ["users"]
    online = 0

    async def connect(self):
        UserCounter.online += 1
        await self.accept()
        await self.tell_everyone()

    async def disconnect(self, code):
        UserCounter.online -= 1
        await self.tell_everyone()

    async def tell_everyone(self):
        await self.group_send("users", {"type": "users.count", "count": UserCounter.online})

    async def users_count(self, event):
        await self.send_json({"users": event["count"]})


class SyncEcho(WebsocketConsumer):
    groups = ["sync"]

    def receive(self, text_data=None, bytes_data=None):
        self.send(text_data, bytes_data)


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    routes = [
        path("users/", UserCounter.as_asgi()),
        path("echo/", Echo.as_asgi()),
        path("sync/", SyncEcho.as_asgi()),
    ]
    application = ProtocolTypeRouter(
        {"websocket": AllowedHostsOriginValidator(AuthMiddlewareStack(URLRouter(routes)))}
    )
    with running(application) as server:
        yield server


def open_socket(server: Running, path: str, **options: Any) -> ClientConnection:
    options = {"origin": "https://www.example.com", "compression": None, **options}
    return connect(f"ws://127.0.0.1:{server.port}{path}", open_timeout=5, close_timeout=5, **options)


@contextmanager
def open_sockets(server: Running, path: str, number: int) -> Iterator[list[ClientConnection]]:
    """Several connections, each of which has had an answer."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(open_socket(server, path)) for _ in range(number)]
        for socket in sockets:
            socket.send("ready")
            assert socket.recv(5) == "ready"
        yield sockets


def users(socket: ClientConnection) -> int:
    return json.loads(socket.recv(5))["users"]


def test_the_counter_goes_up_and_down(server: Running) -> None:
    with open_socket(server, "/users/") as leela:
        assert users(leela) == 1
        with open_socket(server, "/users/") as fry:
            assert users(fry) == 2
            assert users(leela) == 2
        assert users(leela) == 1
        with open_socket(server, "/users/", compression="deflate") as fry:
            assert users(fry) == users(leela) == 2
            fry.socket.shutdown(2)  # the network, not the client, ends it
        assert users(leela) == 1


def test_groups_reach_sockets_from_any_thread(server: Running) -> None:
    with open_socket(server, "/users/") as leela, open_socket(server, "/sync/") as fry:
        users(leela)
        fry.send("ready")
        assert fry.recv(5) == "ready"
        Group("users").send({"type": "users.count", "count": 99})
        assert users(leela) == 99
        for number in range(100):
            Group("sync").broadcast({"n": number})
        assert [json.loads(fry.recv(5))["n"] for _ in range(100)] == list(range(100))
        Group("sync").send({"type": "websocket.close", "code": 4001, "reason": "enough"})
        with pytest.raises(ConnectionClosed) as closed:
            fry.recv(5)
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4001, "enough")


@pytest.mark.parametrize("path", ["/echo/", "/sync/"])
def test_echoes(server: Running, path: str) -> None:
    with open_socket(server, path) as socket:
        for message in ("text", "", b"data", b"", "ü" * 100_000):
            socket.send(message)
            assert socket.recv(5) == message


@pytest.mark.parametrize(
    ("path", "origin", "status"),
    [
        ("/nowhere/", "https://www.example.com", 404),
        ("/echo/", "https://evil.org", 403),
        ("/echo/", None, 403),
    ],
)
def test_refusals(server: Running, path: str, origin: Any, status: int) -> None:
    with pytest.raises(InvalidStatus) as refused:
        open_socket(server, path, origin=origin)
    assert refused.value.response.status_code == status


def test_the_project_application_answers_lifespan_and_both_protocols() -> None:
    with running(get_application()) as server, open_socket(server, "/echo/") as socket:
        socket.send("x")
        assert socket.recv(5) == "x"


def test_an_echo_costs_at_most_25_calls_in_the_package(server: Running) -> None:
    calls: list[str] = []

    def profile(frame: Any, event: str, arg: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(PACKAGE):
            calls.append(frame.f_code.co_qualname)

    ticking = ("Shared.start_ticking", "Deadlines.tick", "AccessLog.tick")
    with open_socket(server, "/echo/") as socket:
        socket.send("warm")
        socket.recv(5)
        server.call(sys.setprofile, profile)
        socket.send("hello")
        assert socket.recv(5) == "hello"
        server.call(sys.setprofile, None)
    assert "Runtime.put" in calls, "nothing was counted"
    counted = [call for call in calls if not call.startswith(ticking)]
    assert len(counted) <= 25, counted


def test_one_more_recipient_costs_at_most_five_calls(server: Running) -> None:
    calls = 0

    def profile(frame: Any, event: str, arg: object) -> None:
        nonlocal calls
        calls += event == "call" and frame.f_code.co_filename.startswith(PACKAGE)

    def cost(number: int) -> int:
        nonlocal calls
        with open_sockets(server, "/sync/", number) as sockets:
            calls = 0
            server.call(sys.setprofile, profile)
            server.call(Group("sync").broadcast, "news")
            for socket in sockets:
                assert socket.recv(5) == "news"
            server.call(sys.setprofile, None)
            return calls

    few, many = cost(10), cost(60)
    assert (many - few) / 50 <= 5


def test_threads_do_not_grow_with_connections(server: Running) -> None:
    with open_sockets(server, "/sync/", 60):
        pool = [thread for thread in threading.enumerate() if thread.name.startswith("raceway-sync")]
    assert 1 <= len(pool) <= 32
