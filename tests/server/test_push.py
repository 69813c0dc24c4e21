"""The fast lane from raw ASGI applications: prepared messages pushed to sockets, slow clients, listeners."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from typing import Any

import pytest

from raceway.prepared import PLAIN, PreparedMessage, Pushed
from raceway.wire.limits import Limits
from tests.server.rawhttp import Closed, Reset
from tests.server.rawws import (
    CLOSE,
    PING,
    PONG,
    TEXT,
    close_frame,
    deflated,
    frame,
    handshake,
    inflated,
)
from tests.server.running import Gate, Seen, Site, running

DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate"
ACCEPTED = {"type": "websocket.accept"}


class Lane:
    """One connection's ``raceway.push`` and what its application was told."""

    def __init__(self, scope: Any, send: Any) -> None:
        extension = scope["extensions"]["raceway.push"]
        self.push, self.listen, self.send_now = extension["push"], extension["listen"], extension["send_now"]
        self.is_direct = extension["send"] is send
        self.path = scope["path"]
        self.events = Seen()


class Lanes:
    """An application that accepts every socket and leaves the talking to the test."""

    def __init__(self) -> None:
        self.connected = Seen()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        lane = Lane(scope, send)
        await receive()
        await send(ACCEPTED)
        self.connected.put(lane)
        while True:
            event = await receive()
            lane.events.put(event)
            if event["type"] == "websocket.disconnect":
                return


@pytest.fixture
def lanes(site: Any) -> Lanes:
    site.app = lanes = Lanes()
    return lanes


@pytest.fixture
def server(shared: Any) -> Any:
    return shared[0]


def in_one_pass(server: Any, *pushes: Any) -> list[Any]:
    """Call each in one pass of the server's loop; ``pushes`` are (lane, data, *arguments)."""

    def act() -> list[Any]:
        return [
            lane.push(data if isinstance(data, PreparedMessage) else PreparedMessage(data), *arguments)
            for lane, data, *arguments in pushes
        ]

    return server.call(act)


@pytest.mark.parametrize(
    "data", ["hello", b"hello", "", b"", "\u20ac", "x" * 70_000, b"\0" * 1000], ids=lambda d: repr(d)[:12]
)
@pytest.mark.parametrize("headers", [[], [DEFLATE]], ids=["plain", "deflate"])
def test_push_to_one(server: Any, port: int, lanes: Lanes, ws: Any, data: Any, headers: list[str]) -> None:
    client = ws(port).open("/", *headers)
    lane = lanes.connected.next()
    assert in_one_pass(server, (lane, data)) == [Pushed.ACCEPTED]
    assert client.message() == data


def test_push_to_many(server: Any, port: int, lanes: Lanes, ws: Any) -> None:
    clients = [ws(port).open() for _ in range(100)]
    members = [lanes.connected.next() for _ in clients]
    message = PreparedMessage("to everyone")
    assert in_one_pass(server, *[(lane, message) for lane in members]) == [Pushed.ACCEPTED] * 100
    for client in clients:
        assert client.message() == "to everyone"


def test_each_form_is_made_once(server: Any, port: int, lanes: Lanes, ws: Any) -> None:
    """One plain frame, and one compressed frame per negotiated window, whoever they are for."""
    offers = [[], [DEFLATE], [DEFLATE + "; server_max_window_bits=10"], [], [DEFLATE]]
    clients = [ws(port).open("/", *offer) for offer in offers]
    members = [lanes.connected.next() for _ in clients]
    message = PreparedMessage("again and again, " * 100)
    in_one_pass(server, *[(lane, message) for lane in members])
    first = dict(message.forms)
    assert set(first) == {PLAIN, 10, 15}
    in_one_pass(server, *[(lane, message) for lane in members])
    assert all(message.forms[kind] is first[kind] for kind in first)
    for client, offer in zip(clients, offers, strict=True):
        for _ in range(2):
            got = client.frame()
            assert got.rsv1 is bool(offer)
            bits = 10 if offer and "10" in offer[0] else 15
            assert (inflated(got.payload, bits) if offer else got.payload) == message.payload


LARGE = "large and compressible, " * 20_000


def test_a_large_push_is_compressed_in_a_thread_once(server: Any, port: int, lanes: Lanes, ws: Any) -> None:
    """The loop is not held up, and all clients of a window share the frame."""
    clients = [ws(port).open("/", DEFLATE) for _ in range(3)]
    members = [lanes.connected.next() for _ in clients]
    message = PreparedMessage(LARGE)

    def act() -> list[Any]:
        results = [lane.push(message) for lane in members]
        return [*results, dict(message.forms)]

    *results, forms = server.call(act)
    assert results == [Pushed.ACCEPTED] * 3
    assert forms == {}, "nothing was framed in the loop's pass"
    for client in clients:
        got = client.frame()
        assert got.rsv1
        assert inflated(got.payload, 15) == message.payload
    assert set(message.forms) == {15}


@pytest.mark.parametrize("behind", ["push", "send", "close"])
def test_nothing_overtakes_a_large_push(server: Any, port: int, lanes: Lanes, ws: Any, behind: str) -> None:
    client = ws(port).open("/", DEFLATE)
    lane = lanes.connected.next()

    def act() -> None:
        lane.push(PreparedMessage(LARGE))
        if behind == "push":
            lane.push(PreparedMessage("small"))
        elif behind == "send":
            lane.send_now({"type": "websocket.send", "text": "small"})
        else:
            lane.send_now({"type": "websocket.close", "code": 4000})

    server.call(act)
    assert client.message() == LARGE
    if behind == "close":
        assert client.frame().code == 4000
    else:
        assert client.message() == "small"
        client.quiet(0.05)


def test_a_client_that_leaves_a_large_push_behind(server: Any, port: int, lanes: Lanes, ws: Any) -> None:
    client = ws(port).open("/", DEFLATE)
    lane = lanes.connected.next()
    server.call(lane.push, PreparedMessage(LARGE))
    client.close()
    assert lane.events.next()["type"] == "websocket.disconnect"
    assert server.call(lane.push, PreparedMessage("late")) is Pushed.CLOSED


def test_the_send_of_the_scope_is_the_applications_own(port: int, lanes: Lanes, ws: Any) -> None:
    """So that a consumer can tell whether a middleware wants to see its messages."""
    ws(port).open()
    assert lanes.connected.next().is_direct


def test_a_wrapped_send_is_noticed(site: Any, port: int, ws: Any) -> None:
    inner = Lanes()

    async def middleware(scope: Any, receive: Any, send: Any) -> None:
        async def wrapped(event: Any) -> None:
            await send(event)

        await inner(scope, receive, wrapped)

    site.app = middleware
    ws(port).open()
    assert not inner.connected.next().is_direct


def test_an_unknown_policy_is_an_error_for_a_slow_client(slow: Any) -> None:
    server, lane, _ = slow()
    with pytest.raises(ValueError, match="drop_oldest"):
        in_one_pass(server, (lane, "x", "drop_everything"))


# Before accept, and after the end


def test_pushes_before_accept_wait(server: Any, site: Any, port: int, ws: Any) -> None:
    gate, seen = Gate(), Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.put(Lane(scope, send))
        await receive()
        await gate.wait()
        await send(ACCEPTED)
        await send({"type": "websocket.send", "text": "own"})
        await receive()

    site.app = app
    client = ws(port)
    client.send(handshake("/", DEFLATE))
    lane = seen.next()
    assert in_one_pass(server, (lane, "one"), (lane, b"two")) == [Pushed.ACCEPTED] * 2
    client.quiet(0.05)
    gate.open()
    client.upgraded = client.response()
    assert client.upgraded.status == 101
    assert [client.message() for _ in range(3)] == ["one", b"two", "own"]


@pytest.mark.parametrize("policy", ["close", "drop_newest", "drop_oldest", "latest"])
def test_pushes_before_accept_are_bounded(server: Any, site: Any, port: int, ws: Any, policy: str) -> None:
    gate, seen = Gate(), Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.put(Lane(scope, send))
        await receive()
        await gate.wait()
        await send(ACCEPTED)
        await send({"type": "websocket.send", "text": "own"})
        await receive()

    site.app = app
    client = ws(port)
    client.send(handshake())
    lane = seen.next()
    results = in_one_pass(server, *[(lane, "x" * 1000, policy, n) for n in range(1000)])
    gate.open()
    assert client.response().status == 101
    count = 0
    while client.message() != "own":
        count += 1
    assert 100 < count <= 262
    if policy == "drop_oldest":
        assert results == [Pushed.ACCEPTED] * 1000
    else:
        assert results.count(Pushed.ACCEPTED) == count
        assert results.count(Pushed.DROPPED) == 1000 - count


def test_pushes_before_a_refusal_are_discarded(server: Any, site: Any, port: int, ws: Any) -> None:
    gate, seen = Gate(), Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.put(Lane(scope, send))
        await receive()
        await gate.wait()
        await send({"type": "websocket.close"})

    site.app = app
    client = ws(port)
    client.send(handshake())
    lane = seen.next()
    assert in_one_pass(server, (lane, "secret")) == [Pushed.ACCEPTED]
    gate.open()
    response = client.response()
    assert response.status == 403
    client.closed()
    assert in_one_pass(server, (lane, "secret")) == [Pushed.CLOSED]


@pytest.mark.parametrize(
    "how", ["client-closes", "client-aborts", "application-closes", "application-returns"]
)
def test_a_push_to_a_closed_socket(server: Any, site: Any, port: int, ws: Any, how: str) -> None:
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPTED)
        seen.put(Lane(scope, send))
        if how == "application-closes":
            await send({"type": "websocket.close", "code": 4000})
        if how != "application-returns":
            while (await receive())["type"] != "websocket.disconnect":
                pass
        seen.put("over")

    site.app = app
    client = ws(port).open()
    lane = seen.next()
    if how == "client-closes":
        client.send(close_frame(1000))
        assert client.frame().opcode == CLOSE
    elif how == "client-aborts":
        client.abort()
    else:
        client.closing(4000 if how == "application-closes" else 1000)
    assert seen.next() == "over"
    assert in_one_pass(server, (lane, "late")) == [Pushed.CLOSED]
    if how == "client-closes":
        client.closed()


def test_a_push_behind_close_in_the_same_pass(server: Any, port: int, lanes: Lanes, ws: Any) -> None:
    """Nothing may follow a close frame."""
    client = ws(port).open()
    lane = lanes.connected.next()

    def act() -> Any:
        before = lane.push(PreparedMessage("before"))
        lane.send_now({"type": "websocket.close", "code": 4000})
        return before, lane.push(PreparedMessage("behind"))

    assert server.call(act) == (Pushed.ACCEPTED, Pushed.CLOSED)
    assert client.message() == "before"
    client.closing(4000)


# Joined writes and order


def segments_in(client: Any) -> int:
    """TCP data segments received (``tcpi_data_segs_in`` of Linux)."""
    info = client.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
    return struct.unpack_from("I", info, 152)[0]


def test_one_write_per_socket_and_pass(server: Any, port: int, lanes: Lanes, ws: Any) -> None:
    clients = [ws(port).open() for _ in range(3)]
    members = [lanes.connected.next() for _ in clients]
    before = [segments_in(client) for client in clients]
    in_one_pass(server, *[(lane, str(n)) for n in range(50) for lane in members])
    for client, segments in zip(clients, before, strict=True):
        assert [client.message() for _ in range(50)] == [str(n) for n in range(50)]
        assert segments_in(client) - segments == 1


def test_answers_to_one_segment_are_one_write(site: Any, port: int, ws: Any) -> None:
    """Ten messages in one read are answered with few writes, not ten."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPTED)
        while (event := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": event["text"]})

    site.app = app
    client = ws(port).open()
    before = segments_in(client)
    client.send(frame(TEXT, b"x") * 10)
    assert [client.message() for _ in range(10)] == ["x"] * 10
    assert segments_in(client) - before <= 2


def test_pushes_and_own_sends_keep_their_order(server: Any, port: int, lanes: Lanes, ws: Any) -> None:
    client = ws(port).open()
    lane = lanes.connected.next()

    def act() -> None:
        for number in range(0, 30, 3):
            lane.push(PreparedMessage(str(number)))
            lane.send_now({"type": "websocket.send", "text": str(number + 1)})
            lane.push(PreparedMessage(str(number + 2)))

    server.call(act)
    assert [client.message() for _ in range(30)] == [str(n) for n in range(30)]


def test_pushes_keep_their_order_over_passes(server: Any, port: int, lanes: Lanes, ws: Any) -> None:
    client = ws(port).open()
    lane = lanes.connected.next()
    for start in range(0, 100, 10):
        in_one_pass(server, *[(lane, str(n)) for n in range(start, start + 10)])
    assert [client.message() for _ in range(100)] == [str(n) for n in range(100)]


def test_a_push_into_a_pong(server: Any, port: int, lanes: Lanes, ws: Any) -> None:
    """Control frames and pushes do not cut each other."""
    client = ws(port).open()
    lane = lanes.connected.next()
    client.send(frame(PING, b"p"))
    in_one_pass(server, (lane, "x" * 70_000), (lane, "y"))
    got = [client.frame() for _ in range(3)]
    assert sorted(item.opcode for item in got) == [TEXT, TEXT, PONG]
    assert [len(item.payload) for item in got if item.opcode == TEXT] == [70_000, 1]


# Slow clients

PIECE = b"p" * 10_000


@pytest.fixture(scope="module")
def tight() -> Any:
    """A server whose slow clients get little; its counters begin at zero."""
    site = Site()
    limits = Limits(push_queue_bytes=100_000, write_buffer_bytes=65536)
    with running(site, limits=limits) as server:
        yield server, site


@pytest.fixture
def slow(tight: Any, ws: Any) -> Any:
    """A client that takes nothing, brought to the point where pushes wait."""
    server, site = tight

    def connect() -> Any:
        site.app = lanes = Lanes()
        client = ws(server.port, receive_buffer=16384).open()
        lane = lanes.connected.next()

        def fill() -> None:
            for _ in range(10_000):
                room = lane.send_now({"type": "websocket.send", "bytes": PIECE})
                if room is not None:
                    return
            raise AssertionError("the client never became slow")

        for _ in range(100):
            server.call(fill)
            if not client_takes_more(server, lane):
                break
        return server, lane, client

    return connect


def client_takes_more(server: Any, lane: Lane) -> bool:
    """Whether the kernel still finds room: then the client is not slow yet."""

    async def look() -> bool:
        room = lane.send_now({"type": "websocket.send", "bytes": b""})
        if room is None:
            return True
        done, _ = await asyncio.wait([asyncio.ensure_future(room)], timeout=0.1)
        return bool(done)

    return server.run(look())


def drain_messages(client: Any, last: str | bytes) -> list[Any]:
    """Read all messages up to ``last``, without the filling."""
    got = []
    while True:
        message = client.message()
        if message not in (PIECE, b""):
            got.append(message)
        if message == last:
            return got


def counted(server: Any, name: str) -> int:
    return server.call(lambda: server.server.counters.get(name, 0))


def test_close_policy_says_1013(slow: Any) -> None:
    server, lane, client = slow()
    before = counted(server, "slow_clients_closed")
    results = in_one_pass(server, *[(lane, b"%05d" % n + PIECE) for n in range(30)])
    accepted = results.index(Pushed.CLOSED)
    assert 1 <= accepted <= 10
    assert results == [Pushed.ACCEPTED] * accepted + [Pushed.CLOSED] * (30 - accepted)
    assert counted(server, "slow_clients_closed") == before + 1
    event = lane.events.next()
    assert (event["type"], event["code"]) == ("websocket.disconnect", 1013)
    got = client.frame()
    while got.opcode != CLOSE:
        assert got.payload in (PIECE, b""), "the queue is dropped"
        got = client.frame()
    assert got.code == 1013
    client.send(close_frame(1013))
    client.closed()


def test_a_slow_client_that_stays_slow_is_dropped(slow: Any) -> None:
    """1013 cannot even be written: five seconds, then the connection goes."""
    server, lane, client = slow()
    in_one_pass(server, *[(lane, PIECE) for _ in range(30)])
    assert lane.events.next()["code"] == 1013

    async def until_dropped() -> None:
        async with asyncio.timeout(8):
            while server.server.connections:  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    server.run(until_dropped(), 9)
    with pytest.raises((Closed, Reset)):
        drain_messages(client, b"never sent")


def test_drop_newest(slow: Any) -> None:
    server, lane, client = slow()
    before = counted(server, "pushes_dropped_newest")
    results = in_one_pass(server, *[(lane, b"%05d" % n + PIECE, "drop_newest") for n in range(30)])
    kept = results.count(Pushed.ACCEPTED)
    assert 1 <= kept <= 10
    assert results == [Pushed.ACCEPTED] * kept + [Pushed.DROPPED] * (30 - kept)
    assert counted(server, "pushes_dropped_newest") == before + 30 - kept
    got = drain_messages(client, b"%05d" % (kept - 1) + PIECE)
    assert [int(message[:5]) for message in got] == list(range(kept))
    in_one_pass(server, (lane, "again", "drop_newest"))
    assert client.message() == "again"


def test_drop_oldest(slow: Any) -> None:
    server, lane, client = slow()
    before = counted(server, "pushes_dropped_oldest")
    results = in_one_pass(server, *[(lane, b"%05d" % n + PIECE, "drop_oldest") for n in range(30)])
    assert results == [Pushed.ACCEPTED] * 30
    got = [int(message[:5]) for message in drain_messages(client, b"%05d" % 29 + PIECE)]
    assert got == list(range(30 - len(got), 30)), "the last ones, in order"
    assert 1 <= len(got) <= 10
    assert counted(server, "pushes_dropped_oldest") == before + 30 - len(got)


def test_latest_per_key(slow: Any) -> None:
    server, lane, client = slow()
    before = counted(server, "pushes_replaced")
    results = in_one_pass(
        server, *[(lane, f"{key}{n}", "latest", key) for n in range(50) for key in ("a", "b", "c")]
    )
    assert results == [Pushed.ACCEPTED] * 150
    assert counted(server, "pushes_replaced") == before + 147
    assert drain_messages(client, "c49") == ["a49", "b49", "c49"]


def test_what_was_pushed_before_a_close_arrives_before_it(
    server: Any, port: int, lanes: Lanes, ws: Any
) -> None:
    """Also when the client was slow and it had to wait."""
    client = ws(port, receive_buffer=4096).open()
    lane = lanes.connected.next()

    def act() -> None:
        while lane.send_now({"type": "websocket.send", "bytes": b"x" * 65536}) is None:
            pass
        assert lane.push(PreparedMessage("waited")) is Pushed.ACCEPTED
        lane.send_now({"type": "websocket.close", "code": 4000})

    server.call(act)
    while (got := client.frame()).opcode != TEXT:
        assert got.payload == b"x" * 65536
    assert got.payload == b"waited"
    assert client.frame().code == 4000


def test_policies_mix(slow: Any) -> None:
    server, lane, client = slow()
    results = in_one_pass(
        server,
        (lane, "one", "drop_newest"),
        (lane, "a1", "latest", "a"),
        (lane, "two", "close"),
        (lane, "a2", "latest", "a"),
        (lane, "three", "drop_oldest"),
    )
    assert results == [Pushed.ACCEPTED] * 5
    assert drain_messages(client, "three") == ["one", "two", "a2", "three"]


def test_policies_do_not_touch_own_sends(slow: Any) -> None:
    server, lane, client = slow()

    def act() -> None:
        for _ in range(30):
            lane.push(PreparedMessage(PIECE + b"pushed"), "drop_newest")
        lane.send_now({"type": "websocket.send", "text": "own 1"})
        lane.send_now({"type": "websocket.send", "text": "own 2"})

    server.call(act)
    own = []
    while len(own) < 2:
        message = client.message()
        if isinstance(message, str):
            own.append(message)
    assert own == ["own 1", "own 2"]


def test_a_slow_client_costs_a_bounded_amount(slow: Any) -> None:
    """A hundred megabytes pushed in one pass."""
    server, lane, _ = slow()
    message = PreparedMessage(b"x" * 100_000)
    results = in_one_pass(server, *[(lane, message, "drop_newest") for _ in range(1000)])
    assert results.count(Pushed.ACCEPTED) * 100_000 < 1 << 20


def test_a_quick_burst_to_a_healthy_client_is_bounded(server: Any, port: int, lanes: Lanes, ws: Any) -> None:
    """It is told in the same pass that it cannot take it all."""
    ws(port, receive_buffer=16384).open()
    lane = lanes.connected.next()
    message = PreparedMessage(b"x" * 100_000)
    results = in_one_pass(server, *[(lane, message, "drop_newest") for _ in range(1000)])
    assert results.count(Pushed.ACCEPTED) * 100_000 < 16 << 20


def test_an_oversized_push_to_a_healthy_client_is_sent(server: Any, port: int, lanes: Lanes, ws: Any) -> None:
    """The queue's bound is for slow clients only."""
    client = ws(port).open()
    lane = lanes.connected.next()
    assert in_one_pass(server, (lane, b"x" * 900_000)) == [Pushed.ACCEPTED]
    assert len(client.message()) == 900_000


def test_others_are_not_held_up_by_a_slow_client(slow: Any, tight: Any, ws: Any) -> None:
    server, lane, _ = slow()
    tight[1].app = lanes = Lanes()
    healthy = ws(server.port).open()
    other = lanes.connected.next()
    message = PreparedMessage(PIECE)
    for _ in range(50):
        in_one_pass(server, (lane, message, "drop_newest"), (other, message, "drop_newest"))
        assert healthy.message() == PIECE


# Listening


class Listener:
    """What an application does that takes its events synchronously; it ends when it has drained its last one."""

    def __init__(self, *, drain: bool = True) -> None:
        self.drain = drain
        self.leave = Gate()
        self.events = Seen()
        self.ready = Seen()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.lane = Lane(scope, send)

        def put(event: Any) -> None:
            self.events.put(event)
            if self.drain:
                if event["type"] == "websocket.disconnect":
                    self.leave.open()
                self.drained()

        self.drained = lambda: None
        assert (await receive())["type"] == "websocket.connect"
        await send(ACCEPTED)
        self.drained = self.lane.listen(put)
        self.ready.put(True)
        await self.leave.wait()


def test_listen(site: Any, port: int, ws: Any) -> None:
    site.app = listener = Listener()
    client = ws(port).open()
    listener.ready.next()
    client.send(frame(TEXT, b"one") + frame(TEXT, b"two"))
    assert listener.events.next()["text"] == "one"
    assert listener.events.next()["text"] == "two"
    client.send(close_frame(4000, "bye"))
    event = listener.events.next()
    assert (event["type"], event["code"], event["reason"]) == ("websocket.disconnect", 4000, "bye")
    assert client.frame().code == 4000


def test_what_was_queued_is_handed_over(site: Any, port: int, ws: Any) -> None:
    site.app = listener = Listener()
    ws(port).open(early=frame(TEXT, b"0") + frame(TEXT, b"1") + frame(TEXT, b"2"))
    assert [listener.events.next()["text"] for _ in range(3)] == ["0", "1", "2"]


def test_a_lost_client_is_told_to_the_listener(site: Any, port: int, ws: Any) -> None:
    site.app = listener = Listener()
    client = ws(port).open()
    listener.ready.next()
    client.abort()
    assert listener.events.next()["code"] == 1006


def test_a_disconnect_before_listen_is_handed_over(site: Any, port: int, ws: Any) -> None:
    site.app = listener = Listener()
    client = ws(port).open(early=frame(TEXT, b"x") + close_frame(4001))
    assert listener.events.next()["text"] == "x"
    assert listener.events.next()["code"] == 4001
    assert client.frame().code == 4001


def test_reading_pauses_for_a_listener_that_is_behind(server: Any, site: Any, port: int, ws: Any) -> None:
    site.app = listener = Listener(drain=False)
    client = ws(port, send_buffer=262144).open()
    listener.ready.next()
    piece = frame(TEXT, b"x" * 1000)
    sent = client.send_until_blocked(piece, most=64 << 20)
    assert sent < 16 << 20
    given = len(listener.events.until_quiet(0.1))
    assert given < 3000
    listener.drain = True
    server.call(listener.drained)
    client.send(client.unsent)
    given += len(listener.events.until_quiet(0.3))
    assert given == -(-sent // len(piece))
    client.abort()


def test_a_failing_close_waits_for_a_listener_that_is_behind(
    server: Any, site: Any, port: int, ws: Any
) -> None:
    """The answer to what stood before a bad frame goes out first."""
    site.app = listener = Listener(drain=False)
    client = ws(port).open()
    listener.ready.next()
    client.send(frame(TEXT, b"before") + frame(0x3, b""))
    assert listener.events.next()["text"] == "before"
    client.quiet(0.05)

    def act() -> None:
        listener.lane.send_now({"type": "websocket.send", "text": "answer"})
        listener.drained()

    server.call(act)
    assert client.message() == "answer"
    assert client.frame().code == 1002
    assert listener.events.next()["type"] == "websocket.disconnect"
    listener.leave.open()


def test_a_listener_that_never_drains_does_not_hold_the_close(site: Any, port: int, ws: Any) -> None:
    site.app = listener = Listener(drain=False)
    client = ws(port).open()
    listener.ready.next()
    began = time.monotonic()
    client.send(frame(TEXT, b"before") + close_frame(4000))
    assert client.frame().code == 4000
    assert time.monotonic() - began < 3
    listener.leave.open()


def test_a_listener_that_raises_fails_its_own_connection_only(
    site: Any, port: int, ws: Any, logs: Any
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        def put(event: Any) -> None:
            raise RuntimeError("the listener is broken")

        await receive()
        await send(ACCEPTED)
        Lane(scope, send).listen(put)
        await Gate().wait()

    site.app = app
    client = ws(port).open()
    client.text("x")
    client.gone()
    assert any("the listener is broken" in str(record.exc_info) for record in logs.wait())
    site.app = Listener()
    ws(port).open()


def test_compressed_client_messages_reach_the_listener(site: Any, port: int, ws: Any) -> None:
    site.app = listener = Listener()
    client = ws(port).open("/", DEFLATE)
    listener.ready.next()
    client.send(frame(TEXT, deflated(b"packed"), rsv=4))
    assert listener.events.next()["text"] == "packed"
