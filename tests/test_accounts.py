"""A browser's day, over real sockets: logs in, opens sockets, gets what is for it, logs out."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.asgi import get_asgi_application
from django.db import connections
from django.test import override_settings
from django.urls import path
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

import tests.project  # noqa: F401  Django's settings
from raceway import User as SocketsOf
from raceway.auth import AuthMiddlewareStack, TokenAuthMiddleware
from raceway.origin import AllowedHostsOriginValidator
from raceway.routing import ProtocolTypeRouter, URLRouter
from tests.project.consumers import Whoami
from tests.project.database import User, make_user
from tests.server.running import Running, running

pytestmark = pytest.mark.shell

MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]


@pytest.fixture
def leela() -> User:
    return make_user("leela")


@pytest.fixture
def server() -> Iterator[Running]:
    router = URLRouter([path("whoami/", Whoami.as_asgi())])
    sockets = AllowedHostsOriginValidator(AuthMiddlewareStack(TokenAuthMiddleware(router)))
    with (
        override_settings(ROOT_URLCONF="tests.project.accounts", MIDDLEWARE=MIDDLEWARE),
        running(ProtocolTypeRouter({"http": get_asgi_application(), "websocket": sockets})) as server,
    ):
        yield server
    connections.close_all()


class Browser:
    """Keeps one cookie, asks for pages and opens sockets."""

    def __init__(self, server: Running) -> None:
        self._port = server.port
        self.cookie: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.cookie is None else {"Cookie": self.cookie}

    def get(self, target: str) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
        connection.request("GET", target, headers={"Host": "testserver", **self.headers})
        response = connection.getresponse()
        assert response.status == 200
        for value in response.headers.get_all("set-cookie", []):
            self.cookie = value.partition(";")[0]
        body = response.read()
        connection.close()
        return body

    def socket(self, query: str = "", **options: Any) -> ClientConnection:
        return connect(
            f"ws://127.0.0.1:{self._port}/whoami/{query}",
            origin="https://www.example.com",  # type: ignore[arg-type]
            additional_headers=self.headers,
            open_timeout=5,
            close_timeout=5,
            **options,
        )


def who(socket: ClientConnection) -> str:
    return json.loads(socket.recv(5))["user"]


def test_a_browsers_day(server: Running, leela: User) -> None:
    browser = Browser(server)
    with browser.socket() as socket:
        assert who(socket) == "AnonymousUser"
    assert browser.get("/in/?name=leela") == b"in"
    with browser.socket() as first, browser.socket() as second:
        assert (who(first), who(second)) == ("leela", "leela")
        SocketsOf(leela).broadcast({"unread": 3})
        assert [json.loads(socket.recv(5)) for socket in (first, second)] == [{"unread": 3}] * 2
        assert browser.get("/out/") == b"out"
        for socket in (first, second):
            with pytest.raises(ConnectionClosed) as closed:
                socket.recv(5)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 4401
    with browser.socket() as socket:
        assert who(socket) == "AnonymousUser"


def test_tokens_and_tickets_instead_of_the_cookie(server: Running, leela: User) -> None:
    browser = Browser(server)
    browser.get("/in/?name=leela")
    proofs = json.loads(browser.get("/proofs/"))
    stranger = Browser(server)
    with stranger.socket(subprotocols=["bearer", proofs["token"]]) as socket:
        assert socket.subprotocol == "bearer"
        assert who(socket) == "leela"
    with stranger.socket(f"?ticket={proofs['ticket']}") as socket:
        assert who(socket) == "leela"
        browser.get("/out/")
        with pytest.raises(ConnectionClosed):
            socket.recv(5)
    with pytest.raises(InvalidStatus) as refused, stranger.socket(f"?ticket={proofs['ticket']}"):
        pass
    assert refused.value.response.status_code == 403
