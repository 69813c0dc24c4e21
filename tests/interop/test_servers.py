"""Raceway's consumers under other people's servers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from tests.interop.processes import SERVERS, Process, server
from tests.interop.sockets import closing, open_socket, receive, receive_json, refusal, request


@pytest.fixture(scope="module", params=SERVERS)
def running(request: pytest.FixtureRequest, folder: Path) -> Iterator[Process]:
    with server(request.param, folder) as process:
        yield process


def test_echo(running: Process) -> None:
    with open_socket(running, "/echo/") as socket:
        for data in ("hello", b"\x00\xff", "ünï☃", "x" * 500_000, b"y" * 500_000):
            socket.send(data)
            assert receive(socket) == data


def test_empty_messages(running: Process) -> None:
    with open_socket(running, "/nested/echo/") as socket:
        for data in ("", b""):
            socket.send(data)
        socket.send("end")
        came = []
        while not came or came[-1] != "end":
            came.append(receive(socket))
    assert came == (["end"] if running.name == "daphne" else ["", b"", "end"])  # V6


def test_groups_events_and_client_messages(running: Process) -> None:
    with open_socket(running, "/room/") as one, open_socket(running, "/room/") as two:
        one.send(json.dumps({"event": "hello"}))
        for socket in (one, two):
            assert receive_json(socket) == ["hello", "seven", True]
        one.send(json.dumps({"for": ["all but", "one"]}))
        assert receive_json(two) == {"for": ["all but", "one"]}
        two.send(json.dumps({"event": "last"}))
        for socket in (one, two):
            assert receive_json(socket)[0] == "last"


def test_sync_handlers(running: Process) -> None:
    with open_socket(running, "/sync/") as sync, open_socket(running, "/room/") as other:
        assert receive(sync) == "joined"
        sync.send("hello")
        assert receive_json(other) == ["hello", "sync", True]
        assert receive(sync) == "sync hello"
        sync.send("myself")
        assert receive(sync) == "sync to myself"
        sync.send("leave")
        assert receive(sync) == "left"
        other.send(json.dumps({"event": "without sync"}))
        assert receive_json(other)[0] == "without sync"
        sync.send("myself")
        assert receive(sync) == "sync to myself"


def test_function(running: Process) -> None:
    with open_socket(running, "/function/fry/") as socket:
        socket.send("hi")
        assert receive_json(socket) == {"said": "hi", "to": "fry"}


def test_disconnect_is_called_and_groups_are_left(running: Process) -> None:
    with open_socket(running, "/watch/") as watcher:
        room = open_socket(running, "/room/")
        socket = room.__enter__()
        socket.send(json.dumps({"event": "here"}))
        assert receive_json(socket)[0] == "here"
        watcher.send("count")
        assert receive(watcher) == "1"
        socket.close(4005)
        code = 1006 if running.name == "hypercorn" else 4005  # Hypercorn does not tell it
        assert receive(watcher) == f"left with {code}"
        watcher.send("count")
        assert receive(watcher) == "0"


def test_the_consumer_closes(running: Process) -> None:
    with open_socket(running, "/echo/") as socket:
        socket.send("close")
        code, reason = closing(socket)
    assert (code, reason) == (4001, "" if running.name == "daphne" else "bye")  # V4


def test_an_exception_ends_its_connection_only(running: Process) -> None:
    with open_socket(running, "/echo/") as other:
        with open_socket(running, "/echo/") as socket:
            socket.send("fail")
            with pytest.raises(ConnectionClosed):
                receive(socket)
        other.send("still here")
        assert receive(other) == "still here"


def test_refusals(running: Process) -> None:
    """V29b"""
    assert refusal(running, "/refused/") == 403
    assert refusal(running, "/nowhere/") == (403 if running.name == "daphne" else 404)  # V7


def test_http_consumer(running: Process) -> None:
    with request(running, "POST", "/http/", b"x" * 100_000) as response:
        assert response.status == 200
        assert response.getheader("X-Served-By") == "raceway"
        assert response.read() == b"100000 bytes"


def test_long_poll(running: Process) -> None:
    """V23b"""
    with open_socket(running, "/room/") as room, request(running, "GET", "/poll/") as response:
        assert response.status == 200
        room.send(json.dumps({"event": "news"}))
        assert response.read() == b"wait for news"


def test_server_sent_events(running: Process) -> None:
    with open_socket(running, "/room/") as room:
        with request(running, "GET", "/events/") as response:
            assert response.getheader("Content-Type", "").startswith("text/event-stream")
            room.send(json.dumps({"event": "news"}))
            lines = []
            while b"data: news\n" not in lines:
                lines.append(response.readline())
            assert b"event: room\n" in lines
        with open_socket(running, "/watch/") as watcher:
            count = None
            while count != "1":  # the server notices in its own time
                watcher.send("count")
                count = receive(watcher)


def test_the_session_of_a_page_and_headers_of_the_handshake(running: Process) -> None:
    with request(running, "GET", "/remember/zoidberg/") as response:
        cookie = response.getheader("Set-Cookie", "").partition(";")[0]
    with open_socket(running, "/remembered/", {"Cookie": cookie}) as socket:
        assert receive(socket) == "zoidberg"
        assert socket.response is not None
        served_by = socket.response.headers.get("X-Served-By")
        assert served_by == (None if running.name in ("daphne", "granian") else "raceway")  # V3
    with open_socket(running, "/remembered/") as socket:
        assert receive(socket) == "None"


def test_django_and_another_framework(running: Process) -> None:
    with request(running, "GET", "/hello/") as response:
        assert (response.status, response.read()) == (200, b"hello")
    with request(running, "GET", "/starlette/who/leela") as response:
        assert response.read() == b"/starlette/who/leela"
    with open_socket(running, "/starlette/greet/leela") as socket:
        assert receive(socket) == "hello leela"
