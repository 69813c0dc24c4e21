"""Serving clients from a layer: by hand."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from raceway import Group, channel_layers
from raceway.layers.memory import MemoryLayer
from raceway.messaging import LayerApplication, Router, SynchronousLayer, connection, synchronous
from raceway.messaging.message import Message
from tests.messaging.serving import serving
from tests.messaging.test_http import ask
from tests.server.running import DEADLINE_S
from tests.waiting import eventually

pytestmark = pytest.mark.shell


@pytest.fixture
def plain() -> Iterator[SynchronousLayer]:
    with SynchronousLayer() as layer:
        yield layer


def test_what_is_sent_is_received_in_order(plain: SynchronousLayer) -> None:
    for number in range(3):
        plain.send("a", {"number": number})
    assert [plain.receive_many(["a"]) for _ in range(4)] == [
        *(("a", {"number": number}) for number in range(3)),
        (None, None),
    ]


def test_of_several_channels_nothing_is_lost(plain: SynchronousLayer) -> None:
    names = [f"channel-{number}" for number in range(5)]
    for name in names * 2:
        plain.send(name, {"to": name})
    received = [plain.receive_many(names) for _ in range(11)]
    assert received.pop() == (None, None)
    assert sorted(name for name, _ in received if name) == sorted(names * 2)
    assert all(message == {"to": name} for name, message in received)


def test_what_was_taken_along_is_given_to_who_asks_for_it(plain: SynchronousLayer) -> None:
    plain.send("a", {})
    plain.send("b", {})
    first, _ = plain.receive_many(["a", "b"])
    (other,) = {"a", "b"} - {first}
    assert plain.receive_many(["c"]) == (None, None)
    assert plain.receive_many([other]) == (other, {})


def test_receive_is_the_same(plain: SynchronousLayer) -> None:
    plain.send("a", {"x": 1})
    assert plain.receive(["a"]) == ("a", {"x": 1})


def test_blocking_waits_for_a_message(plain: SynchronousLayer) -> None:
    sender = threading.Timer(0.05, plain.send, ["a", {"x": 1}])
    sender.start()
    assert plain.receive_many(["a"], block=True) == ("a", {"x": 1})
    sender.join()


def test_blocking_has_an_end(plain: SynchronousLayer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synchronous, "BLOCK_S", 0.05)
    assert plain.receive_many(["a"], block=True) == (None, None)


def test_closing_wakes_who_waits() -> None:
    plain = SynchronousLayer()
    received: list[Any] = []
    waiting = threading.Thread(target=lambda: received.append(plain.receive_many(["a"], block=True)))
    waiting.start()
    eventually(lambda: plain._loop is not None and plain.layer._parts)
    plain.close()
    waiting.join(DEADLINE_S)
    assert received == [(None, None)]
    with pytest.raises(RuntimeError, match="was closed"):
        plain.receive_many(["a"])


def test_no_channels_have_no_messages(plain: SynchronousLayer) -> None:
    assert plain.receive_many([], block=True) == (None, None)


def test_a_channel_of_ones_own(plain: SynchronousLayer) -> None:
    name = plain.new_channel("answers!")
    assert name.startswith("answers.")
    plain.send(name, {"x": 1})
    assert plain.receive_many([name], block=True) == (name, {"x": 1})


def test_groups(plain: SynchronousLayer) -> None:
    plain.group_add("news", "a")
    plain.group_add("news", "b")
    assert sorted(plain.group_channels("news")) == ["a", "b"]
    plain.group_discard("news", "b")
    plain.send_group("news", {"x": 1})
    assert plain.receive_many(["a"]) == ("a", {"x": 1})
    assert plain.receive_many(["b"]) == (None, None)


def test_flush_and_errors(plain: SynchronousLayer) -> None:
    layer = MemoryLayer(capacity=1, max_message_bytes=100)
    channel_layers.set("default", layer)
    plain.send("a", {})
    with pytest.raises(plain.ChannelFull):
        plain.send("a", {})
    with pytest.raises(plain.MessageTooLarge):
        plain.send("b", {"x": "x" * 100})
    with pytest.raises(TypeError, match="Channel name"):
        plain.receive_many(["no name"])
    plain.flush()
    assert plain.receive_many(["a"]) == (None, None)
    assert plain.extensions == layer.extensions


def test_statistics(plain: SynchronousLayer) -> None:
    for _ in range(2):
        plain.send("a", {})
    assert plain.channel_statistics("a")["messages_pending"] == 2
    assert plain.global_statistics()["messages_count"] == 2


# Clients whose messages are put on channels


class Loop:
    """A loop by hand, with a routing."""

    def __init__(self, layer: SynchronousLayer, routing: Any) -> None:
        self._layer = layer
        self._router = Router(routing)
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        with pytest.raises(RuntimeError, match="was closed"):
            self._serve()

    def _serve(self) -> None:
        while True:
            channel, content = self._layer.receive_many(sorted(self._router.channels), block=True)
            if channel is not None and content is not None:
                message = Message(content, channel)
                match = self._router.match(message)
                assert match is not None
                match[0](message, **match[1])

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *ended: object) -> None:
        self._layer.close()
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()


def test_websockets_served_from_a_layer() -> None:
    def connect(message):
        if message["path"] == "/no":
            message.reply_channel.send({"close": True})
            return
        message.reply_channel.send({"accept": True})
        Group("all").add(message.reply_channel)

    def receive(message):
        Group("all").send({"text": message["text"].upper()})

    left: list[int] = []
    routing = {
        "websocket.connect": connect,
        "websocket.receive": receive,
        "websocket.disconnect": lambda message: left.append(message["code"]),
    }
    with serving(LayerApplication()) as served, Loop(SynchronousLayer(), routing):
        with served.socket("/yes") as one, served.socket("/yes") as two:
            one.send("hello")
            assert [one.recv(DEADLINE_S), two.recv(DEADLINE_S)] == ["HELLO", "HELLO"]
        with pytest.raises(InvalidStatus):
            served.socket("/no")
        eventually(lambda: len(left) == 3)


def test_a_full_channel_refuses_requests_and_sockets(caplog: pytest.LogCaptureFixture) -> None:
    layer = MemoryLayer(capacity=1)
    channel_layers.set("default", layer)
    for channel in ("http.request", "websocket.connect", "websocket.disconnect"):
        layer.send_from_thread(channel, layer.prepare({}))
    with serving(LayerApplication()) as served:
        assert ask(served).status == 503
        with served.socket() as socket:
            with pytest.raises(ConnectionClosed):
                socket.recv(DEADLINE_S)
            assert socket.close_code == 1013
    assert "websocket.connect is lost" in caplog.text


def test_a_full_channel_closes_a_socket_that_goes_on_talking(plain: SynchronousLayer) -> None:
    channel_layers.set("default", MemoryLayer(channel_capacity={"websocket.receive": 2}))
    with serving(LayerApplication()) as served:
        accepting = threading.Thread(target=accept_next, args=(plain,))
        accepting.start()
        with served.socket() as socket:
            accepting.join(DEADLINE_S)
            for number in range(3):
                socket.send(str(number))
            with pytest.raises(ConnectionClosed):
                socket.recv(DEADLINE_S)
            assert socket.close_code == 1013
        kept = [plain.receive_many(["websocket.receive"])[1] for _ in range(2)]
        assert [message and message["text"] for message in kept] == ["0", "1"]


def test_what_is_larger_than_the_layer_carries_is_the_clients_fault(
    plain: SynchronousLayer, caplog: pytest.LogCaptureFixture
) -> None:
    channel_layers.set("default", MemoryLayer(max_message_bytes=2000))
    large = "x" * 2001
    with serving(LayerApplication()) as served:
        assert ask(served, method="POST", body=large.encode()).status == 413
        with pytest.raises(InvalidStatus):
            served.socket(additional_headers={"x-large": large})
        accepting = threading.Thread(target=accept_next, args=(plain,))
        accepting.start()
        with served.socket() as socket:
            accepting.join(DEADLINE_S)
            socket.send(large)
            with pytest.raises(ConnectionClosed):
                socket.recv(DEADLINE_S)
            assert socket.close_code == 1009
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def accept_next(plain: SynchronousLayer) -> None:
    _, message = plain.receive_many(["websocket.connect"], block=True)
    assert message is not None
    plain.send(message["reply_channel"], {"accept": True})


def test_a_handshake_that_nobody_answers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HANDSHAKE_S", 0.05)
    with serving(LayerApplication()) as served, pytest.raises(InvalidStatus):
        served.socket()
