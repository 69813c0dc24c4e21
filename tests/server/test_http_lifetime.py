"""Connections over time: back-pressure both ways, disconnects, lifespan and state."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
import uvloop

from tests.server.rawhttp import request
from tests.server.running import Gate, Running, Seen, answer, answering

KERNEL_BYTES = 16 << 20  # what loopback socket buffers may hold at most, with room
PIECE = b"x" * 65536


# Back-pressure


def test_reading_pauses_while_the_application_does_not_read(site: Any, port: int, raw: Any) -> None:
    """Request bodies were buffered without bound by servers before this one."""
    gate, seen = Gate(), Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.put("called")
        await gate.wait()
        size, most = 0, 0
        while True:
            event = await receive()
            size += len(event["body"])
            most = max(most, len(event["body"]))
            if not event["more_body"]:
                break
        seen.put((size, most))
        await answer(send)

    site.app = app
    client = raw(port, send_buffer=262144)
    total = 64 << 20
    client.send(request("POST", "/", f"Content-Length: {total}"))
    assert seen.next() == "called"
    sent = client.send_until_blocked(PIECE, most=total)
    assert sent < KERNEL_BYTES
    gate.open()
    left = total - sent
    while left:
        client.send(PIECE[: min(left, len(PIECE))])
        left -= min(left, len(PIECE))
    size, most = seen.next()
    assert size == total
    assert most < 4 << 20, "what the server itself held"
    assert client.response().status == 200


def test_send_waits_while_the_client_does_not_read(site: Any, port: int, raw: Any) -> None:
    """200 MB were buffered for a client that reads nothing, by servers before this one."""
    seen = Seen()
    pieces = 1000

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for number in range(pieces):
            await send({"type": "http.response.body", "body": PIECE, "more_body": True})
            seen.put(number)
        await send({"type": "http.response.body"})
        seen.put("done")

    site.app = app
    client = raw(port, receive_buffer=65536)
    client.send(request())
    sent = seen.until_quiet(0.3)
    assert len(sent) * len(PIECE) < KERNEL_BYTES
    assert len(client.response().body) == pieces * len(PIECE)
    assert seen.until_quiet(0.3)[-1] == "done"


def test_one_large_body_is_sent_whole_to_a_slow_client(site: Any, port: int, raw: Any) -> None:
    site.app = answering(PIECE * 100)
    client = raw(port, receive_buffer=16384)
    client.send(request())
    assert len(client.response().body) == 100 * len(PIECE)


def test_pipelined_requests_wait_for_the_first(site: Any, port: int, raw: Any) -> None:
    """A flood of pipelined requests is not parsed into memory."""
    gate, seen = Gate(), Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.put(scope["path"])
        await gate.wait()
        await answer(send)

    site.app = app
    client = raw(port, send_buffer=262144)
    flood = request("GET", "/first", "X: " + "a" * 4000) * 16
    sent = client.send_until_blocked(flood, most=256 << 20)
    assert sent < KERNEL_BYTES
    assert seen.next() == "/first"
    seen.nothing()
    gate.open()
    assert client.response().status == 200


def test_pipelined_requests_wait_while_the_client_does_not_read(site: Any, port: int, raw: Any) -> None:
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.put(1)
        await answer(send, PIECE)

    site.app = app
    client = raw(port, receive_buffer=4096, send_buffer=262144)
    for _ in range(500):
        client.send(request())
    served = len(seen.until_quiet(0.3))
    assert served * len(PIECE) < KERNEL_BYTES
    for _ in range(500):
        assert len(client.response().body) == len(PIECE)


# Disconnects


def waiting(seen: Seen, *, read_first: bool = True) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if read_first:
            await receive()
        seen.put("waiting")
        event = await receive()
        seen.put(event["type"])

    return app


@pytest.fixture
def prompt(serve: Any) -> Any:
    """A server that counts a half-closed, unanswered client as gone soon."""

    def start(app: Any) -> Running:
        return serve(app, limits={"half_close_timeout_s": 0.2})

    return start


@pytest.mark.parametrize("how", ["close", "abort", "finish"])
@pytest.mark.parametrize(
    "second", [b"", request("GET", "/second"), b"GET /sec"], ids=["alone", "pipelined", "partly"]
)
def test_disconnect_is_told_promptly(prompt: Any, raw: Any, how: str, second: bytes) -> None:
    """Also with a pipelined second request, which hid the disconnect in servers before this one."""
    seen = Seen()
    client = raw(prompt(waiting(seen)).port)
    client.send(request() + second)
    assert seen.next() == "waiting"
    began = time.monotonic()
    getattr(client, how)()
    assert seen.next() == "http.disconnect"
    assert time.monotonic() - began < 1.5


@pytest.mark.parametrize("how", ["close", "abort"])
def test_disconnect_in_the_body_is_told_promptly(prompt: Any, raw: Any, how: str) -> None:
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.put((await receive())["body"])
        seen.put((await receive())["type"])

    client = raw(prompt(app).port)
    client.send(request("POST", "/", "Content-Length: 10", body=b"abc"))
    assert seen.next() == b"abc"
    began = time.monotonic()
    getattr(client, how)()
    assert seen.next() == "http.disconnect"
    assert time.monotonic() - began < 1.5


@pytest.mark.parametrize("how", ["close", "abort"])
def test_disconnect_while_streaming_is_told_promptly(prompt: Any, raw: Any, how: str) -> None:
    """The shape of an SSE view that is quiet: it must learn that its client left."""
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-type", b"text/event-stream")],
            }
        )
        await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
        seen.put((await receive())["type"])

    client = raw(prompt(app).port)
    client.send(request())
    assert client.head().status == 200
    client.line()
    began = time.monotonic()
    getattr(client, how)()
    assert seen.next() == "http.disconnect"
    assert time.monotonic() - began < 1.5


def test_disconnect_repeats(prompt: Any, raw: Any) -> None:
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        seen.put("waiting")
        for _ in range(3):
            seen.put((await receive())["type"])

    client = raw(prompt(app).port)
    client.send(request())
    seen.next()
    client.abort()
    assert [seen.next() for _ in range(3)] == ["http.disconnect"] * 3


def test_send_behind_a_disconnect_raises_an_oserror(prompt: Any, raw: Any, logs: Any) -> None:
    """ASGI HTTP 2.4; it was silently swallowed by servers before this one. It is no error report."""
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        seen.put("waiting")
        while (await receive())["type"] != "http.disconnect":
            pass
        for event in (
            {"type": "http.response.start", "status": 200, "headers": []},
            {"type": "http.response.body", "body": b"x"},
        ):
            try:
                await send(event)
            except Exception as exc:
                seen.put(exc)
                last = exc
            else:
                seen.put(None)
        raise last

    server = prompt(app)
    client = raw(server.port)
    client.send(request())
    seen.next()
    client.abort()
    results = [seen.next(), seen.next()]
    assert any(isinstance(result, OSError) for result in results), results
    assert all(result is None or isinstance(result, OSError) for result in results), results
    server.call(lambda: None)
    assert logs.errors == []


def test_a_waiting_send_wakes_with_an_oserror_when_the_client_goes(site: Any, port: int, raw: Any) -> None:
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            while True:
                await send({"type": "http.response.body", "body": PIECE, "more_body": True})
                seen.put(1)
        except OSError as exc:
            seen.put(exc)
            raise

    site.app = app
    client = raw(port, receive_buffer=4096)
    client.send(request())
    seen.until_quiet(0.3)
    client.abort()
    assert isinstance(seen.next(), OSError)


def test_an_application_may_outlive_its_client(prompt: Any, raw: Any) -> None:
    """The server does not cancel: what an application began, it may finish."""
    gate, seen = Gate(), Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await receive()
        seen.put("told")
        await gate.wait()
        seen.put("finished")

    client = raw(prompt(app).port)
    client.send(request())
    client.abort()
    assert seen.next() == "told"
    gate.open()
    assert seen.next() == "finished"


def test_a_queued_pipelined_request_of_a_gone_client_is_not_started(prompt: Any, raw: Any) -> None:
    gate, seen = Gate(), Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.put(scope["path"])
        await gate.wait()

    client = raw(prompt(app).port)
    client.send(request("GET", "/1") + request("GET", "/2"))
    assert seen.next() == "/1"
    client.abort()
    gate.open()
    assert seen.nothing(0.2)


def test_many_connections_that_come_and_go(site: Any, port: int, raw: Any) -> None:
    site.app = answering()
    for number in range(300):
        client = raw(port)
        client.send(request("GET", f"/{number}"))
        if number % 3:
            assert client.response().status == 200
        if number % 2:
            client.abort()
        else:
            client.close()


@pytest.mark.parametrize("loop_factory", [uvloop.new_event_loop, asyncio.SelectorEventLoop])
def test_a_stop_just_behind_a_reset(serve: Any, raw: Any, ws: Any, logs: Any, loop_factory: Any) -> None:
    """Ending a connection that is gone, before the loop could tell: shutdown(2) fails, and nothing else does."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        if scope["type"] == "http":
            await answer(send)
        else:
            await send({"type": "websocket.accept"})
            await receive()

    server = serve(app, loop_factory=loop_factory)
    clients = [raw(server.port) for _ in range(3)]
    for client in clients:
        client.send(request())
        assert client.response().status == 200
    clients.append(ws(server.port).open())

    async def act() -> None:
        for client in clients:
            client.abort()
        await server.server.stop(drain_s=0)

    server.run(act())
    assert logs.errors == []


# Lifespan


def spanning(seen: Seen, answer_startup: Any = None, answer_shutdown: Any = None, state: Any = ()) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            seen.put(scope)
            scope["state"].update(dict(state))
            event = await receive()
            seen.put(event["type"])
            if answer_startup is not None:
                await answer_startup(send)
            else:
                await send({"type": "lifespan.startup.complete"})
            seen.put((await receive())["type"])
            if answer_shutdown is not None:
                await answer_shutdown(send)
            else:
                await send({"type": "lifespan.shutdown.complete"})
            seen.put("over")
            return
        seen.put(("request", dict(scope["state"]), scope["state"]))
        scope["state"]["leak"] = 1
        await answer(send)

    return app


def test_lifespan_runs_from_start_to_stop(raw: Any) -> None:
    """There was no lifespan at all in servers before this one."""
    seen = Seen()
    server = Running(spanning(seen)).start()
    scope = seen.next()
    assert scope["type"] == "lifespan"
    assert scope["asgi"]["version"] == "3.0"
    assert scope["asgi"]["spec_version"] == "2.0"
    assert scope["state"] == {}
    assert seen.next() == "lifespan.startup"
    client = raw(server.port)
    client.send(request())
    assert client.response().status == 200
    assert seen.next()[0] == "request"
    seen.nothing()
    server.stop()
    assert seen.next() == "lifespan.shutdown"
    assert seen.next() == "over"


def test_lifespan_completes_before_the_first_request(serve: Any, raw: Any) -> None:
    seen = Seen()

    async def slowly(send: Any) -> None:
        await asyncio.sleep(0.1)
        seen.put("ready")
        await send({"type": "lifespan.startup.complete"})

    server = serve(spanning(seen, slowly), lifespan=True)
    client = raw(server.port)
    client.send(request())
    client.response()
    seen.next()
    assert [seen.next(), seen.next()] == ["lifespan.startup", "ready"]
    assert seen.next()[0] == "request"


def test_state_is_copied_for_each_request(serve: Any, raw: Any) -> None:
    seen = Seen()
    pool = object()
    box: list[int] = []
    client = raw(serve(spanning(seen, state={"pool": pool, "box": box}), lifespan=True).port)
    seen.next(), seen.next()
    states = []
    for _ in range(2):
        client.send(request())
        assert client.response().status == 200
        _, copy, state = seen.next()
        assert copy == {"pool": pool, "box": box}
        assert copy["box"] is box, "the copy is shallow"
        states.append(state)
    assert states[0] is not states[1]


def test_startup_failed_stops_the_start(logs: Any) -> None:
    seen = Seen()

    async def fail(send: Any) -> None:
        await send({"type": "lifespan.startup.failed", "message": "the cupboard is bare"})

    with pytest.raises(Exception, match="the cupboard is bare"):
        Running(spanning(seen, fail)).start()


@pytest.mark.parametrize(
    "exception", [NotImplementedError("x"), KeyError("type"), AssertionError("only http")]
)
def test_an_application_without_lifespan_is_served(
    serve: Any, raw: Any, exception: Exception, logs: Any
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise exception
        await answer(send, b"%d" % len(scope["state"]))

    client = raw(serve(app, lifespan=True).port)
    client.send(request())
    assert client.response().body == b"0"
    assert logs.errors == [], "an application may do without lifespan"


def test_an_application_that_raises_behind_receive_is_served(serve: Any, raw: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            raise RuntimeError("cannot do that")
        await answer(send)

    client = raw(serve(app, lifespan=True).port)
    client.send(request())
    assert client.response().status == 200


def test_an_application_that_returns_from_lifespan_is_served(serve: Any, raw: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return
        await answer(send)

    client = raw(serve(app, lifespan=True).port)
    client.send(request())
    assert client.response().status == 200


def test_shutdown_failed_is_logged_and_ends(logs: Any) -> None:
    seen = Seen()

    async def fail(send: Any) -> None:
        await send({"type": "lifespan.shutdown.failed", "message": "the door is stuck"})

    Running(spanning(seen, None, fail)).start().stop()
    assert any("the door is stuck" in record.getMessage() for record in logs.records)


def test_a_crash_in_shutdown_is_logged_and_ends(logs: Any) -> None:
    seen = Seen()

    async def fail(send: Any) -> None:
        raise RuntimeError("the door is stuck")

    Running(spanning(seen, None, fail)).start().stop()
    assert any(record.exc_info or "the door is stuck" in record.getMessage() for record in logs.records)


def test_an_invalid_lifespan_message(logs: Any) -> None:
    """A wrong message counts as an application that raised in startup, with the right ones named."""
    seen = Seen()

    async def wrong(send: Any) -> None:
        try:
            await send({"type": "http.response.start", "status": 200})
        except Exception as exc:
            seen.put(exc)
            raise

    server = Running(spanning(seen, wrong)).start()
    seen.next(), seen.next()
    assert "lifespan.startup.complete" in str(seen.next())
    server.stop()


def test_stop_ends_open_connections_and_waiting_applications(raw: Any) -> None:
    """Nothing hangs on an open stream."""
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise NotImplementedError
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        seen.put("streaming")
        await asyncio.Event().wait()

    server = Running(app).start()
    client = raw(server.port)
    client.send(request())
    assert seen.next() == "streaming"
    idle = raw(server.port)
    began = time.monotonic()
    server.stop()
    assert time.monotonic() - began < 3
    client.gone()
    idle.gone()


def test_two_servers_in_one_process(serve: Any, raw: Any) -> None:
    one, two = serve(answering(b"one")), serve(answering(b"two"))
    for server, said in ((one, b"one"), (two, b"two")):
        client = raw(server.port)
        client.send(request())
        assert client.response().body == said
