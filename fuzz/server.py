"""Send random traffic, right, wrong and cut off, to a running server whose application also misbehaves.

    python fuzz/server.py --seconds 600 [--seed 1] [--loop asyncio]

What must hold whatever comes: every byte sent back is HTTP/1.1, or frames behind a 101; the application sees the
events that ASGI allows, in an order that ASGI allows; nothing but the application's own crashes is logged as an
error; no connection or task is left behind. Ends with status 1 at the first batch that breaks one of these, after
printing it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import uvloop
from tests.server.rawhttp import Closed, Reset, chunked, request
from tests.server.rawws import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    WebSocketClient,
    close_frame,
    deflated,
    frame,
    handshake,
)
from tests.server.running import running

from raceway.prepared import PreparedMessage
from raceway.wire.limits import Limits

LIMITS = Limits(
    header_bytes=4096,
    request_line_bytes=1024,
    ws_max_message_bytes=100_000,
    first_byte_timeout_s=0.5,
    header_timeout_s=0.5,
    body_timeout_s=0.5,
    keep_alive_timeout_s=0.5,
    write_timeout_s=1.0,
    half_close_timeout_s=0.2,
    linger_timeout_s=0.3,
    ws_open_timeout_s=1.0,
    ws_close_timeout_s=0.5,
    ws_ping_interval_s=0.4,
    ws_ping_timeout_s=0.5,
)
CLIENTS = 24
BATCH = 240
CRASH = "the fuzzed application crashes on purpose"


class Broken(Exception):
    """Something that must hold did not."""


class Application:
    """Behave differently at each request, and judge the events that come."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.faults: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise NotImplementedError
        judged = self.judged(scope["type"], receive)
        try:
            async with asyncio.timeout(20):
                if scope["type"] == "http":
                    await self.http(judged, send)
                else:
                    await self.websocket(scope, judged, send)
        except TimeoutError:
            self.faults.append(f"an application was left waiting: {scope}")
            raise

    def judged(self, kind: str, receive: Any) -> Any:
        """``receive`` with a check of what it returns."""
        state = "begin"

        async def checked() -> Any:
            nonlocal state
            event = await receive()
            after = MOVES.get((kind, state, event["type"], bool(event.get("more_body"))))
            if after is None:
                self.faults.append(f"{event['type']} came in state {state!r} of {kind}")
            state = after or state
            if event["type"] == "websocket.receive" and (event.get("text") is None) is (
                event.get("bytes") is None
            ):
                self.faults.append(f"neither or both of text and bytes: {event}")
            return event

        return checked

    async def http(self, receive: Any, send: Any) -> None:
        rng = self.rng
        style = rng.randrange(9)
        if style == 0:
            raise RuntimeError(CRASH)
        if style == 1:  # a stream that has nothing to say
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.2):
                    while (await receive())["type"] != "http.disconnect":
                        pass
                return
            raise RuntimeError(CRASH)
        if style != 2:
            while (event := await receive()).get("more_body"):
                pass
            if event["type"] == "http.disconnect":
                return
        size = rng.choice((0, 1, 1000, 100_000))
        headers = [(b"content-length", b"%d" % size)] if rng.random() < 0.5 else []
        await send(
            {"type": "http.response.start", "status": rng.choice((200, 204, 304, 404)), "headers": headers}
        )
        if style == 3:
            raise RuntimeError(CRASH)
        pieces = rng.choice((1, 2, 5))
        for number in range(pieces):
            body = b"x" * (size // pieces if number else size - size // pieces * (pieces - 1))
            await send({"type": "http.response.body", "body": body, "more_body": number < pieces - 1})
            if rng.random() < 0.2:
                await asyncio.sleep(0)
        if style == 4:
            await receive()

    async def websocket(self, scope: Any, receive: Any, send: Any) -> None:
        rng = self.rng
        await receive()
        style = rng.randrange(10)
        if style == 0:
            raise RuntimeError(CRASH)
        if style == 1:
            await send({"type": "websocket.close"})
            return
        if style == 2:
            await send({"type": "websocket.http.response.start", "status": 401, "headers": []})
            await send({"type": "websocket.http.response.body", "body": b"no"})
            return
        push = scope["extensions"]["raceway.push"]["push"]
        push(PreparedMessage("early"), rng.choice(POLICIES))
        await send({"type": "websocket.accept"})
        if style == 3:
            return
        while (event := await receive())["type"] == "websocket.receive":
            for _ in range(rng.choice((0, 0, 1, 5))):
                push(
                    PreparedMessage(b"p" * rng.choice((0, 100, 50_000))),
                    rng.choice(POLICIES),
                    rng.randrange(3),
                )
            if event.get("text") is not None:
                await send({"type": "websocket.send", "text": event["text"]})
            else:
                await send({"type": "websocket.send", "bytes": event["bytes"]})
            if style == 4:
                await send({"type": "websocket.close", "code": 4000, "reason": "enough"})
            elif style == 5:
                raise RuntimeError(CRASH)
            elif rng.random() < 0.1:
                await asyncio.sleep(0.01)
        await receive()


POLICIES = ("close", "drop_newest", "drop_oldest", "latest")
MOVES = {
    ("http", "begin", "http.request", True): "begin",
    ("http", "begin", "http.request", False): "read",
    ("http", "begin", "http.disconnect", False): "gone",
    ("http", "read", "http.disconnect", False): "gone",
    ("http", "gone", "http.disconnect", False): "gone",
    ("websocket", "begin", "websocket.connect", False): "open",
    ("websocket", "open", "websocket.receive", False): "open",
    ("websocket", "open", "websocket.disconnect", False): "gone",
    ("websocket", "gone", "websocket.disconnect", False): "gone",
}
"""(kind, state, event, more_body) to the next state; what is not here must not happen."""


def random_request(rng: random.Random) -> bytes:
    headers = [rng.choice(HEADERS) for _ in range(rng.randrange(4))]
    body = rng.randbytes(rng.choice((0, 0, 1, 100, 30_000)))
    if body and rng.random() < 0.5:
        cut = rng.randrange(len(body) + 1)
        body = chunked(*[piece for piece in (body[:cut], body[cut:]) if piece])
        headers.append("Transfer-Encoding: chunked")
    return request(
        rng.choice(("GET", "POST", "HEAD", "OPTIONS", "DELETE")),
        rng.choice(("/", "/a%20b?c", "*", "http://localhost/x")),
        *headers,
        body=body,
        version=rng.choice(("1.1", "1.1", "1.1", "1.0")),
    )


HEADERS = (
    "X: y",
    "Connection: close",
    "Connection: keep-alive",
    "Expect: 100-continue",
    "TE: trailers",
    "Upgrade: h2c",
    "Connection: upgrade",
    "Content-Length: 3",
    "Transfer-Encoding: chunked",
    "Cookie: " + "c" * 500,
    "X_Y: z",
)


def random_frames(rng: random.Random) -> bytes:
    stream = b""
    for _ in range(rng.randrange(8)):
        payload = rng.choice(
            (b"", b"hello", b"x" * 126, b"y" * 70_000, "\u20ac".encode() * 50, rng.randbytes(9))
        )
        match rng.randrange(10):
            case 0:
                stream += frame(
                    rng.randrange(16), payload[:130], fin=rng.random() < 0.8, rsv=rng.choice((0, 0, 4, 7))
                )
            case 1:
                stream += frame(PING, payload[:125])
            case 2:
                stream += frame(PONG, payload[:125])
            case 3:
                stream += frame(BINARY, payload[:3], fin=False) + frame(0, payload[3:])
            case 4:
                stream += frame(BINARY, deflated(payload * rng.choice((1, 1, 2000))), rsv=4)
            case 5 if rng.random() < 0.3:
                stream += close_frame(rng.choice((1000, 1005, 4000)), "bye")
            case _:
                stream += frame(rng.choice((TEXT, BINARY)), payload)
    return stream


def damaged(rng: random.Random, data: bytes) -> bytes:
    damage = bytearray(data)
    for _ in range(rng.choice((0, 0, 0, 1, 3))):
        at = rng.randrange(len(damage) + 1)
        match rng.randrange(3):
            case 0:
                damage[at:at] = rng.choice((b"\r\n", b"\0", b" ", rng.randbytes(3), b"\xff"))
            case 1:
                del damage[at : at + rng.choice((1, 2, 50))]
            case 2 if at < len(damage):
                damage[at] = rng.randrange(256)
    return bytes(damage)


def play(rng: random.Random, port: int) -> None:
    """One connection from its beginning to its end, whoever ends it."""
    is_socket = rng.random() < 0.5
    offer = ["Sec-WebSocket-Extensions: permessage-deflate"] if rng.random() < 0.5 else []
    stream = b"".join(random_request(rng) for _ in range(rng.randrange(4)))
    if is_socket:
        stream = (
            handshake("/", *offer) + random_frames(rng)
            if rng.random() < 0.8
            else stream + handshake("/", *offer)
        )
    stream = damaged(rng, stream)
    with WebSocketClient(port, receive_buffer=rng.choice((None, None, 4096)), deadline_s=8) as client:
        try:
            at = 0
            while at < len(stream):
                step = rng.choice((1, 10, 1000, len(stream)))
                client.send(stream[at : at + step])
                at += step
        except OSError:
            return
        end = rng.randrange(4)
        if end == 0:
            client.abort()
            return
        if end == 1:
            with contextlib.suppress(OSError):
                client.finish()
        with contextlib.suppress(Closed, Reset, OSError):
            judge_answers(client, has_head=b"HEAD" in stream)


def judge_answers(client: WebSocketClient, has_head: bool) -> None:
    """Read until the server ends the connection. Raises ``Malformed`` at bytes that are no answer."""
    while True:
        response = client.head()
        if response.status == 101:
            break
        if has_head or response.status == 304:
            client.rest()  # which answer is HEAD's is not known behind damage; the framing cannot be judged
            return
        if response.status >= 200:
            read_body(client, response)
    while client.frame().opcode != CLOSE:
        pass
    client.rest()


def read_body(client: WebSocketClient, response: Any) -> None:
    if response.has(b"transfer-encoding"):
        client._chunked(response, time.monotonic() + 8)
    elif response.has(b"content-length"):
        client.exactly(int(response.one(b"content-length")))
    elif response.status != 204:
        client.rest()


class Errors(logging.Handler):
    """Errors that are not the application's own crashes."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.faults: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        raised = record.exc_info[1] if record.exc_info else None
        if CRASH not in str(raised):
            self.faults.append(f"logged: {record.getMessage()} {raised!r}")


def left_behind(server: Any) -> str | None:
    """What is still there although everyone has gone."""
    tasks = [task for task in asyncio.all_tasks() if task.get_name().startswith("raceway-")]
    if server.server.connections or tasks:
        return f"{server.server.connections} connections and these tasks are left: {tasks}"
    return None


def all_gone(server: Any) -> None:
    deadline = time.monotonic() + 15
    while (left := server.call(left_behind, server)) is not None:
        if time.monotonic() > deadline:
            raise Broken(left)
        time.sleep(0.05)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--loop", choices=("uvloop", "asyncio"), default="uvloop")
    arguments = parser.parse_args()
    seed = random.randrange(1 << 32) if arguments.seed is None else arguments.seed
    until = time.monotonic() + arguments.seconds
    errors = Errors()
    logging.getLogger().addHandler(errors)
    application = Application(seed)
    rounds = 0
    loop_factory = uvloop.new_event_loop if arguments.loop == "uvloop" else asyncio.SelectorEventLoop
    with (
        running(application, limits=LIMITS, loop_factory=loop_factory) as server,
        ThreadPoolExecutor(CLIENTS) as clients,
    ):
        while time.monotonic() < until:
            plays = {
                clients.submit(play, random.Random(seed + rounds + number), server.port): rounds + number
                for number in range(BATCH)
            }
            rounds += BATCH
            for playing, number in plays.items():
                if fault := playing.exception():
                    print(f"Connection {number} of seed {seed} (first of --seed {seed + number}): {fault!r}")
                    return 1
            all_gone(server)
            if faults := application.faults + errors.faults:
                print(f"Before connection {rounds} of seed {seed}: " + "; ".join(faults))
                return 1
    print(f"{rounds} connections from seed {seed}: all well.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
