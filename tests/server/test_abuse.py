"""What strangers may do to a real server: it stays quick for others, small, and alive."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import socket
import struct
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.server.process import Process, process
from tests.server.rawhttp import RawClient, Reset, chunked, request
from tests.server.rawws import BINARY, PING, PONG, TEXT, deflated, frame, handshake

pytestmark = pytest.mark.topology

MIB = 1 << 20
DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate"

APPLICATION = """
import asyncio


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        raise NotImplementedError
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        if scope["path"] == "/deaf":
            await asyncio.sleep(600)
        if scope["path"] == "/loud":
            while True:
                await send({"type": "websocket.send", "bytes": b"x" * 65536})
        while (event := await receive())["type"] == "websocket.receive":
            await send({**event, "type": "websocket.send"})
    else:
        if scope["path"] == "/deaf":
            await asyncio.sleep(600)
        size, more = 0, True
        while more:
            event = await receive()
            size, more = size + len(event.get("body", b"")), event.get("more_body", False)
        body = b"x" * 2_000_000 if scope["path"] == "/large" else b"%d" % size
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: Any) -> Any:
    folder: Path = tmp_path_factory.mktemp("abuse")
    (folder / "app.py").write_text(APPLICATION)
    with process(folder, "app:app", "--port", "0", "--no-access-log", "--log-level", "warning") as server:
        server.port = wait_for_port(server)
        yield server
        assert server.popen.poll() is None, "the server died"


def wait_for_port(server: Process) -> int:
    """Find the port that a quiet server listens on (Linux)."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with contextlib.suppress(FileNotFoundError):
            inodes = {
                os.readlink(link)
                for link in Path(f"/proc/{server.popen.pid}/fd").iterdir()
                if os.path.islink(link)
            }
            for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                    return int(fields[1].split(":")[1], 16)
        select.select([], [], [], 0.02)
    raise AssertionError("the server does not listen")


@pytest.fixture(autouse=True)
def still_well(server: Process, raw: Any) -> Any:
    """After each attack: a healthy client is served, and at once."""
    yield
    client = raw(server.port)
    began = time.monotonic()
    client.send(request("POST", "/", body=b"hello"))
    assert client.response().body == b"5"
    assert time.monotonic() - began < 1
    client.send(handshake())
    assert client.response().status == 101


class Grown:
    """How much the server's memory has grown at its highest since the beginning."""

    def __init__(self, server: Process) -> None:
        self.server = server
        self.before = server.memory_bytes()
        self.most = 0

    def look(self) -> int:
        self.most = max(self.most, self.server.memory_bytes() - self.before)
        return self.most


@pytest.fixture
def grown(server: Process, raw: Any) -> Grown:
    client = raw(server.port)  # warm: what the first request allocates is not the attack's
    client.send(request("POST", "/", body=b"x" * 100_000))
    client.response()
    return Grown(server)


def test_connections_that_trickle_do_not_starve_a_healthy_client(
    server: Process, raw: Any, grown: Grown
) -> None:
    """Ten thousand clients, each with one byte a second."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    count = min(10_000, hard - 1000)
    assert count >= 3000, f"the open-file limit of {hard} leaves no room for this test: raise it (ulimit -Hn)"
    data = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: " + b"a" * 1000
    with contextlib.ExitStack() as stack:
        tricklers = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in tricklers:
            one.connect(("127.0.0.1", server.port))
            one.setblocking(False)
        healthy = raw(server.port)
        slowest, turn = 0.0, 0
        began = time.monotonic()
        while turn < 4:
            if time.monotonic() - began >= turn:
                for start in range(0, count, 500):
                    for one in tricklers[start : start + 500]:
                        with contextlib.suppress(OSError):
                            one.send(data[turn : turn + 1])
                    slowest = max(slowest, served_after(healthy))
                turn += 1
            slowest = max(slowest, served_after(healthy))
        grown.look()
    assert slowest < 0.5
    assert grown.most < count * 12 * 1024 + 16 * MIB


def served_after(client: RawClient) -> float:
    began = time.monotonic()
    client.send(request())
    assert client.response().body == b"0"
    return time.monotonic() - began


def test_a_flood_at_an_application_that_does_not_read(
    server: Process, raw: Any, ws: Any, grown: Grown
) -> None:
    for _ in range(5):
        upload = raw(server.port)
        upload.send(request("POST", "/deaf", f"Content-Length: {1 << 40}"))
        upload.send_until_blocked(b"x" * 65536, quiet_s=0.1)
        grown.look()
        talker = ws(server.port).open("/deaf")
        talker.send_until_blocked(frame(BINARY, b"x" * 60_000), quiet_s=0.1)
        grown.look()
    assert grown.most < 24 * MIB


def test_a_flood_of_tiny_frames(server: Process, ws: Any, grown: Grown) -> None:
    talker = ws(server.port).open("/deaf")
    talker.send_until_blocked(frame(TEXT, b"") * 10_000, quiet_s=0.2)
    assert grown.look() < 8 * MIB


def test_a_client_that_does_not_read(server: Process, raw: Any, ws: Any, grown: Grown) -> None:
    for _ in range(3):
        ws(server.port, receive_buffer=16384).open("/loud")
    select.select([], [], [], 0.3)
    assert grown.look() < 8 * MIB


def test_pipelining_without_reading(server: Process, raw: Any, grown: Grown) -> None:
    client = raw(server.port, receive_buffer=16384)
    client.send_until_blocked(request("GET", "/" + "a" * 1000) * 60, quiet_s=0.3, most=64 * MIB)
    assert grown.look() < 8 * MIB


def test_pipelining_behind_a_request_that_does_not_end(server: Process, raw: Any, grown: Grown) -> None:
    client = raw(server.port)
    client.send(request("GET", "/deaf"))
    client.send_until_blocked(request() * 1000, quiet_s=0.3, most=64 * MIB)
    assert grown.look() < 8 * MIB


def test_echoes_that_nobody_reads(server: Process, ws: Any, grown: Grown) -> None:
    client = ws(server.port, receive_buffer=16384).open()
    client.send_until_blocked(frame(BINARY, b"x" * 60_000), quiet_s=0.3, most=256 * MIB)
    assert grown.look() < 12 * MIB


def test_pings_that_nobody_reads(server: Process, ws: Any, grown: Grown) -> None:
    client = ws(server.port, receive_buffer=16384).open()
    client.send_until_blocked(frame(PING, b"x" * 125) * 500, quiet_s=0.3, most=64 * MIB)
    assert grown.look() < 12 * MIB


@pytest.mark.parametrize("size", [1 << 20, 300 << 20])
def test_a_bomb(server: Process, ws: Any, grown: Grown, size: int) -> None:
    """300 MB in 300 kB: closed with 1009, having cost a few megabytes."""
    bomb = deflated(b"\0" * size)
    clients = [ws(server.port).open("/", DEFLATE) for _ in range(5)]
    for client in clients:
        client.send(
            frame(BINARY, bomb[: len(bomb) // 2], fin=False, rsv=4) + frame(0, bomb[len(bomb) // 2 :])
        )
        grown.look()
    for client in clients:
        if size > 1 << 20:
            client.closing(1009)
        else:
            assert len(client.message()) == size
    assert grown.look() < 24 * MIB


def test_many_small_bombs_at_once(server: Process, ws: Any, grown: Grown) -> None:
    """Each within the limit, but a thousandfold in one segment, at an application that does not read."""
    bomb = frame(BINARY, deflated(b"\0" * MIB), rsv=4)
    for path in ("/deaf", "/"):
        client = ws(server.port, receive_buffer=16384).open(path, DEFLATE)
        client.send_until_blocked(bomb * 200, quiet_s=0.3, most=4 * MIB)
        grown.look()
    assert grown.most < 24 * MIB


def test_half_of_large_messages(server: Process, ws: Any, grown: Grown) -> None:
    """The limit per message is what each of them may cost, no more."""
    for _ in range(10):
        client = ws(server.port).open()
        client.send(b"\x82\xff" + struct.pack("!Q", MIB) + b"\0\0\0\0" + b"x" * (MIB - 1))
    assert grown.look() < 10 * 3 * MIB


def test_endless_fragments(server: Process, ws: Any, grown: Grown) -> None:
    client = ws(server.port).open()
    client.send(frame(BINARY, b"x", fin=False))
    client.send_until_blocked(frame(0, b"", fin=False) * 10_000, quiet_s=0.5, most=6 * MIB)
    assert grown.look() < 16 * MIB


@pytest.mark.parametrize(
    "data",
    [
        request("POST", "/", "Transfer-Encoding: chunked", body=b"1\r\nx\r\n" * 500_000 + b"0\r\n\r\n"),
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 500_000,
        b"GET /" + b"a" * 3_000_000,
        b"\r\n" * 1_500_000,
        b"\0" * 3_000_000,
        request("POST", "/", "Transfer-Encoding: chunked", body=b"f" * 3_000_000),
        request("POST", "/", "Transfer-Encoding: chunked", body=b"1;" + b"x" * 3_000_000),
        request("POST", "/", "Transfer-Encoding: chunked", body=chunked(trailers=b"X: y\r\n" * 500_000)),
        b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: " + b"1.1.1.1," * 400_000,
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: " + b"a," * 15_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nSec-WebSocket-Extensions: " + b"a;" * 15_000 + b"\r\n\r\n",
        handshake("/", "Sec-WebSocket-Extensions: " + "permessage-deflate; " * 1500),
        handshake("/", 'Sec-WebSocket-Extensions: a; b="' + "\\" * 30_000),
        handshake("/", "Sec-WebSocket-Protocol: " + "a," * 15_000),
    ],
    ids=lambda data: repr(data[:40]),
)
def test_costly_requests(server: Process, raw: Any, grown: Grown, data: bytes) -> None:
    """No input takes more than its size in work or memory; a healthy client hardly notices."""
    healthy = raw(server.port)
    served_after(healthy)
    client = raw(server.port)
    client.socket.setblocking(False)
    view, slowest = memoryview(data), 0.0
    while view:
        try:
            view = view[client.socket.send(view[:200_000]) :]
        except BlockingIOError:
            select.select([], [client.socket], [], 1)
        except OSError:
            break
        slowest = max(slowest, served_after(healthy))
    assert slowest < 0.5
    assert grown.look() < 16 * MIB


@pytest.mark.parametrize(
    ("first", "piece"),
    [
        (handshake() + frame(BINARY, b"x", fin=False), frame(0, fin=False)),
        (handshake() + frame(BINARY, b"x", fin=False), frame(0, b"x", fin=False)),
        (handshake(), frame(PING, b"x")),
        (handshake(), frame(PONG)),
        (handshake(), frame(TEXT)),
        (handshake("/deaf"), frame(TEXT)),
        (handshake("/", DEFLATE), frame(BINARY, deflated(b"\0" * 1_000_000), rsv=4)),
        (request("POST", "/", "Transfer-Encoding: chunked"), b"1\r\nx\r\n"),
        (b"", request()),
        (request("GET", "/deaf"), request()),
    ],
    ids=[
        "fragments",
        "fragments-of-one",
        "pings",
        "pongs",
        "texts",
        "unread-texts",
        "bombs",
        "chunks",
        "gets",
        "queued",
    ],
)
def test_a_flood_does_not_hold_up_others(server: Process, raw: Any, first: bytes, piece: bytes) -> None:
    """What one read brings is bounded, and others have their turn before the next."""
    healthy = raw(server.port)
    served_after(healthy)
    flooders = [raw(server.port) for _ in range(2)]
    for flooder in flooders:
        flooder.send(first)
        flooder.socket.setblocking(False)
    block = memoryview(piece * (200_000 // len(piece) + 1))
    unsent = dict.fromkeys(flooders, block)
    slowest, began = 0.0, time.monotonic()
    while unsent and time.monotonic() - began < 1:
        for flooder, view in list(unsent.items()):
            with contextlib.suppress(BlockingIOError):
                try:
                    unsent[flooder] = view[flooder.socket.send(view) :] or block
                except ConnectionError:
                    del unsent[flooder]
        slowest = max(slowest, served_after(healthy))
    assert slowest < 0.7


def test_connections_that_reset_at_once(server: Process) -> None:
    for data in (
        b"",
        b"G",
        request(),
        handshake(),
        handshake() + frame(TEXT, b"x"),
        request("GET", "/large"),
    ):
        for _ in range(100):
            with socket.socket() as one:
                one.connect(("127.0.0.1", server.port))
                one.sendall(data)
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")


def test_memory_of_closed_connections_is_used_again(server: Process, ws: Any, grown: Grown) -> None:
    highest = []
    for _ in range(3):
        with contextlib.ExitStack() as stack:
            for _ in range(500):
                client = ws(server.port).open()
                stack.callback(client.close)
                client.text("x" * 1000)
                client.message()
            highest.append(grown.look())
    assert highest[-1] < highest[0] + 3 * MIB


# Random input

PIECES = [
    b"GET ",
    b"POST ",
    b"/",
    b" HTTP/1.1",
    b" HTTP/1.0",
    b"\r\n",
    b"\r\n\r\n",
    b"Host: a",
    b"Host: ",
    b"Content-Length: 5",
    b"Content-Length: ",
    b"Transfer-Encoding: chunked",
    b"Connection: upgrade",
    b"Connection: close",
    b"Upgrade: websocket",
    b"Expect: 100-continue",
    b"5\r\nhello\r\n",
    b"0\r\n\r\n",
    b"\x00",
    b"\xff",
    b"\n",
    b"\r",
    b":",
    b" ",
    request(),
    request("POST", "/", body=b"hello"),
    request("POST", "/", "Transfer-Encoding: chunked", body=chunked(b"x")),
    handshake(),
    handshake("/", DEFLATE),
    frame(TEXT, b"x"),
    frame(TEXT, b"x", fin=False),
    frame(0, b"x"),
    frame(BINARY, deflated(b"hello"), rsv=4),
    frame(PING, b"x"),
    frame(8, b"\x03\xe8"),
]
random_input = st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=20)), max_size=12).map(b"".join)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(pieces=st.lists(random_input, min_size=1, max_size=3), abort=st.booleans())
def test_random_input(server: Process, pieces: list[bytes], abort: bool) -> None:
    """Whatever comes, what comes back is HTTP, or frames behind a 101, and the end comes soon."""
    with RawClient(server.port) as client:
        try:
            for piece in pieces:
                client.send(piece)
            if abort:
                client.abort()
                return
            client.finish()
            said = client.rest()
        except (OSError, Reset):
            return
    assert said == b"" or said.startswith(b"HTTP/1.1 ")
    assert not said.startswith(b"HTTP/1.1 500"), said[:200]


def test_nothing_of_all_this_was_logged(server: Process) -> None:
    """A stranger cannot fill the disk: what clients do wrong is not logged one by one (this test runs last)."""
    lines = [line for line in server.rest_of_stderr() if line is not None]
    assert not any("Traceback" in line for line in lines), lines[:40]
    assert len(lines) < 20, lines[:20]
