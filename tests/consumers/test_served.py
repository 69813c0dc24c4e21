"""Consumers behind Raceway's server, with real sockets and real time."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.urls import path
from websockets.sync.client import connect

import tests.project  # noqa: F401  Django's settings
from raceway import Group
from raceway.consumers import (
    AsyncHttpConsumer,
    AsyncWebsocketConsumer,
    HttpConsumer,
    SseConsumer,
    WebsocketConsumer,
    websocket_consumer,
)
from raceway.routing import ProtocolTypeRouter, URLRouter
from tests.server.running import DEADLINE_S, Running, running
from tests.waiting import eventually

pytestmark = pytest.mark.shell

SLOW_S = 1.0


class SlowSync(WebsocketConsumer):
    def receive(self, text_data=None, bytes_data=None):
        time.sleep(SLOW_S)
        self.send(text_data)


class SlowAsync(AsyncWebsocketConsumer):
    async def receive(self, text_data=None, bytes_data=None):
        await sync_to_async(time.sleep)(SLOW_S)
        await self.send(text_data)


class Poll(AsyncHttpConsumer):
    """The documentation's own long poll: it answers later, from a handler."""

    groups = ["polls"]
    ended = threading.Semaphore(0)

    async def handle(self, body):
        await self.send_headers(headers={"content-type": "application/json"})
        await self.send_body(b"", more_body=True)

    async def chat_message(self, event):
        await self.send_body(event["text"].encode())

    async def disconnect(self):
        self.ended.release()


class Upload(HttpConsumer):
    max_body_bytes = 100_000

    def handle(self, body):
        self.send_response(200, b"%d" % len(body))


class Broken(HttpConsumer):
    def handle(self, body): ...


class News(SseConsumer):
    groups = ["news"]
    ended = threading.Semaphore(0)

    async def disconnect(self):
        self.ended.release()


@websocket_consumer
async def echo(connection: Any) -> None:
    async for message in connection:
        await connection.send(message)


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    websockets = URLRouter(
        [path("sync", SlowSync.as_asgi()), path("async", SlowAsync.as_asgi()), path("echo", echo)]
    )
    http = URLRouter(
        [
            path("poll", Poll.as_asgi()),
            path("upload", Upload.as_asgi()),
            path("broken", Broken.as_asgi()),
            path("news", News.as_asgi()),
        ]
    )
    with running(ProtocolTypeRouter({"websocket": websockets, "http": http})) as server:
        yield server


def open_request(server: Running) -> Any:
    return closing(HTTPConnection("127.0.0.1", server.port, timeout=DEADLINE_S))


def members(group: str) -> int:
    from raceway import get_channel_layer

    return sum(len(part.registry.channels(group)) for part in get_channel_layer()._live_parts())


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_five_slow_handlers_on_five_sockets_take_as_long_as_one(server: Running, kind: str) -> None:
    """V20, N29"""
    with ExitStack() as stack:
        url = f"ws://127.0.0.1:{server.port}/{kind}"
        sockets = [stack.enter_context(connect(url)) for _ in range(5)]
        began = time.monotonic()
        for number, client in enumerate(sockets):
            client.send(str(number))
        assert [client.recv(DEADLINE_S) for client in sockets] == ["0", "1", "2", "3", "4"]
        assert SLOW_S <= time.monotonic() - began < 2 * SLOW_S


def test_a_function_echoes(server: Running) -> None:
    with connect(f"ws://127.0.0.1:{server.port}/echo") as client:
        for message in ("x", b"y", ""):
            client.send(message)
            assert client.recv(DEADLINE_S) == message


def test_a_long_poll_is_answered(server: Running) -> None:
    """V23b"""
    with open_request(server) as client:
        client.request("GET", "/poll")
        eventually(lambda: members("polls"))
        Group("polls").send({"type": "chat.message", "text": "late"})
        response = client.getresponse()
        assert (response.status, response.read()) == (200, b"late")
        assert Poll.ended.acquire(timeout=DEADLINE_S)
        client.request("GET", "/nowhere")  # on the same connection: the response was complete
        assert client.getresponse().status == 404


@pytest.mark.parametrize(
    ("path", "consumer", "at_most_s"),
    [("news", News, 1.0), ("poll", Poll, 2.5)],  # what is no stream of events may be half-closed for a second
)
def test_a_client_that_leaves_is_noticed_at_once(
    server: Running, path: str, consumer: Any, at_most_s: float
) -> None:
    """V23b"""
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"GET /%b HTTP/1.1\r\nhost: x\r\n\r\n" % path.encode())
        assert client.recv(1000).startswith(b"HTTP/1.1 200")
    began = time.monotonic()
    assert consumer.ended.acquire(timeout=DEADLINE_S)
    assert time.monotonic() - began < at_most_s


def test_a_broadcast_reaches_event_streams(server: Running) -> None:
    with open_request(server) as client:
        client.request("GET", "/news", headers={"accept": "text/event-stream"})
        response = client.getresponse()
        assert response.headers["content-type"].startswith("text/event-stream")
        Group("news").broadcast({"n": 1})
        Group("news").broadcast("two\nlines")
        expected = b': \n\ndata: {"n":1}\n\ndata: two\ndata: lines\n\n'
        assert response.read(len(expected)) == expected
        Group("news").send({"type": "websocket.close"})
        assert response.read() == b""


def test_a_body_is_collected_up_to_its_limit(server: Running) -> None:
    with open_request(server) as client:
        client.request("POST", "/upload", body=iter([b"x" * 40_000, b"y" * 60_000]))
        response = client.getresponse()
        assert (response.status, response.read()) == (200, b"100000")
        client.request("POST", "/upload", body=b"x" * 100_001)
        assert client.getresponse().status == 413


def test_a_handler_that_does_not_answer_is_500(server: Running, caplog: pytest.LogCaptureFixture) -> None:
    with open_request(server) as client:
        client.request("GET", "/broken")
        assert client.getresponse().status == 500
    assert "Broken.handle() returned without a response" in caplog.text
