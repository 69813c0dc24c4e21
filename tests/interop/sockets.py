"""Clients of a server process."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.interop.processes import Process

WAIT_S = 10.0


@contextmanager
def open_socket(
    process: Process, path: str, headers: dict[str, str] | None = None
) -> Iterator[ClientConnection]:
    address = f"ws://127.0.0.1:{process.port}{path}"
    with connect(
        address, open_timeout=WAIT_S, max_size=None, proxy=None, additional_headers=headers
    ) as socket:
        yield socket


def receive(socket: ClientConnection) -> Any:
    return socket.recv(timeout=WAIT_S)


def receive_json(socket: ClientConnection) -> Any:
    return json.loads(receive(socket))


def closing(socket: ClientConnection) -> tuple[int, str]:
    """The code and reason with which the server closes, before any other message."""
    with pytest.raises(ConnectionClosed) as closed:
        raise AssertionError(f"{socket.recv(timeout=WAIT_S)!r} came instead of a close")
    received = closed.value.rcvd
    assert received is not None, closed.value
    return received.code, received.reason


def refusal(process: Process, path: str) -> int:
    """The status with which a handshake is refused."""
    try:
        with open_socket(process, path):
            raise AssertionError("the handshake was accepted")
    except InvalidStatus as refused:
        return refused.response.status_code
    except InvalidHandshake as error:
        raise AssertionError(f"no answer to the handshake: {error!r}") from error


@contextmanager
def request(
    process: Process, method: str, path: str, body: bytes | None = None
) -> Iterator[http.client.HTTPResponse]:
    """The response, with its body still to be read."""
    connection = http.client.HTTPConnection("127.0.0.1", process.port, timeout=WAIT_S)
    try:
        connection.request(method, path, body)
        yield connection.getresponse()
    finally:
        connection.close()
