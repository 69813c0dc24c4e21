"""WebSockets of message consumers, over the real server."""

from __future__ import annotations

import logging
import time
from typing import Any

import pytest
from django.test import override_settings
from django.urls import path
from websockets.exceptions import ConnectionClosed, InvalidStatus

from raceway import Channel, Group
from raceway.consumers import WebsocketConsumer
from raceway.errors import ConsumeLater, DenyConnection
from raceway.layers.memory import MemoryLayer
from raceway.messaging import MessageApplication, connection, include, route
from raceway.routing import ProtocolTypeRouter, URLRouter
from raceway.testing import connect
from tests.consumers.driver import Socket
from tests.messaging.serving import serving, wait_for_members
from tests.server.running import DEADLINE_S, Seen
from tests.waiting import eventually

pytestmark = pytest.mark.shell


def answering(*replies: dict[str, Any]) -> Any:
    def connect(message):
        for reply in replies:
            message.reply_channel.send(reply)

    return connect


def aanswering(*replies: dict[str, Any]) -> Any:
    async def connect(message):
        for reply in replies:
            await message.reply_channel.asend(reply)

    return connect


def heard(socket: Any) -> list[Any]:
    """Everything that comes until the socket is closed, and the code of that."""
    said: list[Any] = []
    while True:
        try:
            said.append(socket.recv(DEADLINE_S))
        except ConnectionClosed as closed:
            return [*said, closed.rcvd and closed.rcvd.code]


END = {"close": 4321}


@pytest.mark.parametrize("how", [answering, aanswering])
@pytest.mark.parametrize(
    ("replies", "outcome"),
    [
        ([END], 403),
        ([{"close": True}], 403),
        ([{"accept": False}], 403),
        ([{"accept": False, "text": "x"}], 403),
        ([{"accept": False}, {"accept": True}], 403),
        ([{"accept": True}, END], [4321]),
        ([{"accept": True}, {"close": True}], [1000]),
        ([{"accept": True, "text": "a"}, END], ["a", 4321]),
        ([{"text": "a"}, END], ["a", 4321]),
        ([{"bytes": b"a"}, END], [b"a", 4321]),
        ([{"text": "a", "close": 4321}], ["a", 4321]),
        (
            [{"text": "a"}, {"bytes": b"b"}, {"text": "c", "close": True}, {"text": "d"}],
            ["a", b"b", "c", 1000],
        ),
        ([{"text": ""}, {"accept": True}, END], ["", 4321]),
        ([{"text": "a", "bytes": b"a"}, {"accept": True}, {"text": "b"}, END], ["b", 4321]),
        ([{"accept": True}, {"accept": False}, {"text": "a"}, END], ["a", 4321]),
    ],
)
def test_the_handshake(how: Any, replies: list[dict[str, Any]], outcome: Any) -> None:
    with serving({"websocket.connect": how(*replies)}) as served:
        if outcome == 403:
            with pytest.raises(InvalidStatus) as refused:
                served.socket()
            assert refused.value.response.status_code == 403
            return
        with served.socket() as socket:
            assert heard(socket) == outcome


def test_a_group_answers_a_handshake_too() -> None:
    def connect(message):
        Group("news").add(message.reply_channel)
        Group("news").send({"text": "a"})
        message.reply_channel.send({"text": "b", "close": True})

    with serving({"websocket.connect": connect}) as served, served.socket() as socket:
        assert heard(socket) == ["a", "b", 1000]


def test_what_messages_say() -> None:
    seen = Seen()

    def note(message):
        seen.put((message.channel.name, dict(message.content)))

    routing = dict.fromkeys(("websocket.connect", "websocket.receive", "websocket.disconnect"), note)
    with serving(routing) as served:
        with served.socket("/a%20b/?c=d", additional_headers={"X-Kind": "test"}) as socket:
            socket.send("text")
            socket.send(b"bytes")
            socket.close(3001)
        channel, connect = seen.next()
        assert channel == "websocket.connect"
        client = connect.pop("client")
        assert (client[0], type(client[1])) == ("127.0.0.1", int)
        headers = connect.pop("headers")
        assert [b"x-kind", b"test"] in headers
        assert [b"host", served.address.encode()] in headers
        name = connect.pop("reply_channel")
        assert isinstance(name, str)
        assert connect == {
            "scheme": "ws",
            "path": "/a b/",
            "query_string": b"c=d",
            "root_path": "",
            "server": ["127.0.0.1", served.server.port],
            "order": 0,
        }
        common = {"reply_channel": name, "path": "/a b/"}
        assert seen.next() == ("websocket.receive", {**common, "text": "text", "order": 1})
        assert seen.next() == ("websocket.receive", {**common, "bytes": b"bytes", "order": 2})
        assert seen.next() == ("websocket.disconnect", {**common, "code": 3001, "order": 3})


def test_a_refused_handshake_is_followed_by_its_disconnect() -> None:
    seen = Seen()

    def connect(message):
        raise DenyConnection

    def disconnect(message):
        seen.put(message["path"])

    with serving({"websocket.connect": connect, "websocket.disconnect": disconnect}) as served:
        with pytest.raises(InvalidStatus):
            served.socket("/x")
        assert seen.next() == "/x"


def test_without_routes_everybody_is_accepted_and_nothing_happens() -> None:
    with serving({}) as served, served.socket() as socket:
        socket.send("x")
        socket.close()
        assert heard(socket) == [1000]


def test_a_failing_connect_refuses(caplog: pytest.LogCaptureFixture) -> None:
    def connect(message):
        raise KeyError("no")

    with serving({"websocket.connect": connect}) as served, pytest.raises(InvalidStatus):
        served.socket()
    assert "Error processing message with consumer" in caplog.text


def test_after_an_exception_the_socket_is_open(caplog: pytest.LogCaptureFixture) -> None:
    def receive(message):
        message.reply_channel.send({"text": str(10 // int(message["text"]))})

    with serving({"websocket.receive": receive}) as served, served.socket() as socket:
        for said in ("0", "5"):
            socket.send(said)
        assert socket.recv(DEADLINE_S) == "2"
    assert "ZeroDivisionError" in caplog.text


def test_messages_are_consumed_in_order_one_at_a_time() -> None:
    running: list[str] = []

    def receive(message):
        running.append(message["text"])
        time.sleep(0.02 if message["text"] == "0" else 0)
        message.reply_channel.send({"text": f"{message['text']} {len(running)}"})
        running.pop()

    with serving({"websocket.receive": receive}) as served, served.socket() as socket:
        for number in range(20):
            socket.send(str(number))
        assert [socket.recv(DEADLINE_S) for _ in range(20)] == [f"{number} 1" for number in range(20)]


def test_one_sockets_slow_consumer_keeps_nobody_waiting() -> None:
    def receive(message):
        time.sleep(0.5 if message["text"] == "slow" else 0)
        message.reply_channel.send({"text": "done"})

    with serving({"websocket.receive": receive}) as served, served.socket() as slow, served.socket() as quick:
        slow.send("slow")
        quick.send("quick")
        begin = time.monotonic()
        assert quick.recv(DEADLINE_S) == "done"
        assert time.monotonic() - begin < 0.4
        assert slow.recv(DEADLINE_S) == "done"


def test_consume_later_keeps_the_order() -> None:
    tries: list[str] = []

    def receive(message):
        tries.append(message["text"])
        if tries == ["a"]:
            raise ConsumeLater
        message.reply_channel.send({"text": message["text"]})

    with serving({"websocket.receive": receive}) as served, served.socket() as socket:
        socket.send("a")
        socket.send("b")
        assert [socket.recv(DEADLINE_S), socket.recv(DEADLINE_S)] == ["a", "b"]
    assert tries == ["a", "a", "b"]


def test_groups_end_with_the_socket() -> None:
    def connect(message):
        Group("news").add(message.reply_channel)

    with serving({"websocket.connect": connect}) as served:
        with served.socket():
            wait_for_members("news", 1)
        wait_for_members("news", 0)


def test_a_reply_to_a_client_that_has_gone_is_lost_quietly(caplog: pytest.LogCaptureFixture) -> None:
    seen = Seen()

    def disconnect(message):
        message.reply_channel.send({"text": "Goodbye"})
        message.reply_channel.send({"text": "Goodbye", "close": True})
        message.reply_channel.send({"accept": True})
        seen.put(message["code"])

    with serving({"websocket.disconnect": disconnect}) as served:
        with served.socket():
            pass
        assert seen.next() == 1000
    assert not caplog.records


def test_replies_from_anywhere(layer: MemoryLayer) -> None:
    seen = Seen()

    def connect(message):
        seen.put(message.reply_channel.name)

    with serving({"websocket.connect": connect}) as served, served.socket() as socket:
        name = seen.next()
        Channel(name).send({"text": "a"})
        Channel(name).send({"text": "b", "close": 4000})
        assert heard(socket) == ["a", "b", 4000]


def test_an_event_that_is_no_reply_is_told_of_and_dropped(caplog: pytest.LogCaptureFixture) -> None:
    seen = Seen()

    def connect(message):
        seen.put(message.reply_channel.name)

    with serving({"websocket.connect": connect}) as served, served.socket() as socket:
        name = seen.next()
        Channel(name).send({"type": "chat.message", "text": "x"})
        Channel(name).send({"text": "a"})
        assert socket.recv(DEADLINE_S) == "a"
    assert "an event of type 'chat.message', which nobody handles" in caplog.text


@pytest.mark.parametrize("reply", [{"text": 5, "accept": True}, {"close": 5, "text": "x"}])
def test_a_reply_that_is_none_is_told_of_and_the_socket_stays(
    reply: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    def receive(message):
        message.reply_channel.send(reply)
        message.reply_channel.send({"text": "still here"})

    with serving({"websocket.receive": receive}) as served, served.socket() as socket:
        socket.send("x")
        while socket.recv(DEADLINE_S) != "still here":
            pass
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_a_path_below_a_root() -> None:
    seen = Seen()

    def connect(message, room):
        seen.put((room, message["path"], message["root_path"]))

    inner = [route("websocket.connect", connect, path=r"^/(?P<room>\w+)/$")]
    application = MessageApplication([include(inner, path="^/chat")])

    async def below_root(scope, receive, send):
        await application({**scope, "root_path": "/site", "path": "/site" + scope["path"]}, receive, send)

    below_root.raceway_begin = below_root  # type: ignore[attr-defined]  # so that it is served as it is
    with serving(below_root) as served, served.socket("/chat/lobby/"):
        assert seen.next() == ("lobby", "/chat/lobby/", "/site")


class Modern(WebsocketConsumer):
    groups = ["mixed"]

    def receive(self, text_data=None, bytes_data=None):
        self.group_send("mixed", {"text": text_data})


def test_modern_consumers_obey_replies_and_share_groups() -> None:
    def connect(message):
        Group("mixed").add(message.reply_channel)

    messages = MessageApplication({"websocket.connect": connect})
    application = ProtocolTypeRouter(
        {"websocket": URLRouter([path("modern/", Modern.as_asgi()), path("first/", messages)])}
    )
    with (
        serving(application) as served,
        served.socket("/modern/") as modern,
        served.socket("/first/") as first,
    ):
        wait_for_members("mixed", 2)
        modern.send("hello")
        assert [modern.recv(DEADLINE_S), first.recv(DEADLINE_S)] == ["hello", "hello"]
        Group("mixed").send({"accept": True, "text": "a"})
        Group("mixed").send({"text": "b", "close": 4000})
        for socket in (modern, first):
            assert heard(socket) == ["a", "b", 4000]


def test_text_for_a_group_is_decoded_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(message):
        Group("news").add(message.reply_channel)

    with serving({"websocket.connect": connect}) as served, served.socket() as one, served.socket() as two:
        wait_for_members("news", 2)
        monkeypatch.setattr(connection, "decode_event", None)
        for said in ("text", b"bytes"):
            Group("news").send({"text": said} if isinstance(said, str) else {"bytes": said})
            assert [one.recv(DEADLINE_S), two.recv(DEADLINE_S)] == [said, said]


def test_without_a_layer_nobody_is_let_in(caplog: pytest.LogCaptureFixture) -> None:
    with (
        override_settings(CHANNEL_LAYERS={}),
        serving(MessageApplication({}, alias="nowhere")) as served,
        pytest.raises(InvalidStatus) as refused,
    ):
        served.socket()
    assert refused.value.response.status_code == 403
    assert "needs the channel layer 'nowhere'" in caplog.text


def test_a_gap_is_a_message_for_who_wants_it(layer: MemoryLayer) -> None:
    def connect(message):
        Group("news").add(message.reply_channel)

    def gap(message):
        message.reply_channel.send({"text": f"{message['path']}: {message['reason']}"})

    with serving({"websocket.connect": connect, "raceway.gap": gap}) as served, served.socket("/x") as socket:
        wait_for_members("news", 1)
        layer.tell_gap("a test")
        assert socket.recv(DEADLINE_S) == "/x: a test"


async def test_on_a_server_without_the_fast_lane() -> None:
    def receive(message):
        message.reply_channel.send({"text": message["text"]})
        message.reply_channel.send({"text": "bye", "close": 4000})

    async with connect(MessageApplication({"websocket.receive": receive}), "/x") as socket:
        await socket.send("hello")
        await socket.expect_text("hello")
        await socket.expect_text("bye")
        await socket.expect_close(4000)


def test_sockets_leave_nothing_behind(layer: MemoryLayer) -> None:
    with serving({}) as served:
        with served.socket(), served.socket():
            eventually(lambda: served.server.call(lambda: len(layer._part_here().registry)) == 2)
        eventually(lambda: served.server.call(lambda: len(layer._part_here().registry)) == 0)


@pytest.mark.parametrize("lane", [True, False])
async def test_all_data_goes_one_way_so_that_a_slow_client_gets_it_in_order(lane: bool) -> None:
    def receive(message):
        reply = message.reply_channel
        for said in (
            {"text": "a"},
            {"text": "b", "accept": True},
            {"text": "c"},
            {"text": "d", "close": 4000},
        ):
            reply.send(said)

    socket = Socket(MessageApplication({"websocket.receive": receive}), lane=lane)
    assert (await socket.connect())["type"] == "websocket.accept"
    socket.say("x")
    said = [await socket.next() for _ in range(5)]
    assert [one[1] if lane else one["text"] for one in said[:4]] == ["a", "b", "c", "d"]
    assert all(isinstance(one, tuple) == lane for one in said[:4])
    assert (said[4]["type"], said[4]["code"]) == ("websocket.close", 4000)
    await socket.goodbye(4000)
