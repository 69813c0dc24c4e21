"""Classes of message consumers, over real sockets."""

from __future__ import annotations

import json
import warnings
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from raceway import Group
from raceway.errors import DenyConnection, SendNotAvailableOnDemultiplexer
from raceway.messaging import (
    BaseConsumer,
    JsonWebsocketConsumer,
    Message,
    WebsocketConsumer,
    WebsocketDemultiplexer,
    WebsocketMultiplexer,
    route_class,
)
from raceway.messaging.generic import as_reply, call_with_known
from tests.messaging.serving import serving, wait_for_members
from tests.server.running import DEADLINE_S, Seen

pytestmark = pytest.mark.shell


class Echo(WebsocketConsumer):
    def receive(self, text=None, bytes=None, **kwargs):  # noqa: A002
        self.send(text=text, bytes=bytes)


class AsyncEcho(WebsocketConsumer):
    async def connect(self, message, **kwargs):
        await message.reply_channel.asend({"text": "welcome"})

    async def receive(self, text=None, bytes=None, **kwargs):  # noqa: A002
        await self.message.reply_channel.asend({"text": text})


def test_text_and_bytes() -> None:
    with serving([route_class(Echo)]) as served, served.socket() as socket:
        for said in ("text", b"bytes", "", b""):
            socket.send(said)
            assert socket.recv(DEADLINE_S) == said


def test_methods_may_be_async() -> None:
    with serving([route_class(AsyncEcho)]) as served, served.socket() as socket:
        socket.send("x")
        assert [socket.recv(DEADLINE_S), socket.recv(DEADLINE_S)] == ["welcome", "x"]


class Room(JsonWebsocketConsumer):
    def connection_groups(self, room):
        return [f"room-{room}"]

    def connect(self, message, room):
        if room == "closed":
            raise DenyConnection
        self.send({"room": room, "path": self.path, "kwargs": self.kwargs})

    def receive(self, content, room):
        if content == "bye":
            self.close(4000)
        elif content == "last":
            self.send("last words", close=True)
        else:
            self.group_send(f"room-{room}", content)

    def disconnect(self, message, room):
        Room.group_send("news", f"somebody left {room}")


def test_json_groups_and_captured_arguments() -> None:
    with serving([Room.as_route(path=r"^/(?P<room>\w+)/$")]) as served:
        with served.socket("/a/") as one, served.socket("/a/") as two, served.socket("/b/") as other:
            for socket, room in ((one, "a"), (two, "a"), (other, "b")):
                said = json.loads(socket.recv(DEADLINE_S))
                assert said == {"room": room, "path": f"/{room}/", "kwargs": {"room": room}}
            wait_for_members("room-a", 2)
            one.send('{"x": 1}')
            other.send('{"x": 2}')
            heard = [json.loads(socket.recv(DEADLINE_S)) for socket in (one, two, other)]
            assert heard == [{"x": 1}, {"x": 1}, {"x": 2}]
        wait_for_members("room-a", 0)
        with pytest.raises(InvalidStatus):
            served.socket("/closed/")


@pytest.mark.parametrize(("said", "heard", "code"), [("bye", [], 4000), ("last", ["last words"], 1000)])
def test_closing(said: str, heard: list[str], code: int) -> None:
    with serving([Room.as_route(path=r"^/(?P<room>\w+)/$")]) as served, served.socket("/a/") as socket:
        socket.recv(DEADLINE_S)
        socket.send(json.dumps(said))
        assert [json.loads(socket.recv(DEADLINE_S)) for _ in heard] == heard
        with pytest.raises(ConnectionClosed):
            socket.recv(DEADLINE_S)
        assert socket.close_code == code


def test_groups_of_the_class_and_a_goodbye_from_it() -> None:
    class News(WebsocketConsumer):
        groups = ["news"]

    routing = [News.as_route(path="^/news/$"), Room.as_route(path=r"^/(?P<room>\w+)/$")]
    with serving(routing) as served, served.socket("/news/") as news:
        wait_for_members("news", 1)
        with served.socket("/a/"):
            """It leaves at once."""
        assert json.loads(news.recv(DEADLINE_S)) == "somebody left a"


def test_what_is_no_json_is_told_of_and_the_socket_stays(caplog: pytest.LogCaptureFixture) -> None:
    with serving([Room.as_route(path=r"^/(?P<room>\w+)/$")]) as served, served.socket("/a/") as socket:
        socket.recv(DEADLINE_S)
        for said in ("{", b"{}", "", '{"x": 1}'):
            socket.send(said)
        assert json.loads(socket.recv(DEADLINE_S)) == {"x": 1}
    assert not caplog.records


def test_newer_names() -> None:
    class Newer(JsonWebsocketConsumer):
        def receive_json(self, content):
            self.send_json({"said": content})

    with serving([route_class(Newer)]) as served, served.socket() as socket:
        socket.send("5")
        assert json.loads(socket.recv(DEADLINE_S)) == {"said": 5}


def test_an_encoding_of_ones_own() -> None:
    class Reversed(JsonWebsocketConsumer):
        @classmethod
        def encode_json(cls, content):
            return content[::-1]

        @classmethod
        def decode_json(cls, text):
            return text[::-1]

        def receive(self, content):
            self.send(content + "!")

    with serving([route_class(Reversed)]) as served, served.socket() as socket:
        socket.send("cba")
        assert socket.recv(DEADLINE_S) == "!cba"


def test_an_instance_for_each_message() -> None:
    seen = Seen()

    class Counting(WebsocketConsumer):
        count = 0

        def receive(self, **said):
            self.count += 1
            seen.put(self.count)

    with serving([route_class(Counting)]) as served, served.socket() as socket:
        socket.send("x")
        socket.send("y")
        assert [seen.next(), seen.next()] == [1, 1]


def test_groups_that_are_one_text_are_a_mistake(caplog: pytest.LogCaptureFixture) -> None:
    class Wrong(WebsocketConsumer):
        groups = "news"

    with serving([route_class(Wrong)]) as served, pytest.raises(InvalidStatus):
        served.socket()
    assert "Wrong is in a list of groups, not in 'news'" in caplog.text


def test_other_channels() -> None:
    seen = Seen()

    class Images(BaseConsumer):
        method_mapping = {"thumbnail": "shrink", "large": "enlarge"}

        def shrink(self, message, **kwargs):
            seen.put(("shrink", message["id"], kwargs))

        def enlarge(self, message, **kwargs):
            seen.put(("enlarge", message["id"], kwargs))

    match = Images.as_route(id=r"(?P<number>\d+)").match
    for channel in ("thumbnail", "large"):
        message = Message({"id": "5"}, channel)
        found = match(message)
        assert found == (Images, {"number": "5"})
        Images(message, number="5").dispatch(message, number="5")
    assert [seen.next(), seen.next()] == [
        ("shrink", "5", {"number": "5"}),
        ("enlarge", "5", {"number": "5"}),
    ]
    with pytest.raises(ValueError, match="came from no client"):
        Images(message)._reply()


@pytest.mark.parametrize("name", ["strict_ordering", "slight_ordering"])
def test_ordering_warns_where_it_changes_nothing(name: str) -> None:
    with pytest.warns(UserWarning, match=rf"Ordered.{name} = True changes nothing"):
        type("Ordered", (WebsocketConsumer,), {name: True})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        type("Unordered", (WebsocketConsumer,), {name: False})


def test_replies() -> None:
    assert as_reply("", None, False) == {"text": ""}
    assert as_reply(None, b"x", 4000) == {"bytes": b"x", "close": 4000}
    assert as_reply(None, None, True) == {"close": True}
    with pytest.raises(ValueError, match="You must pass text, bytes or close"):
        as_reply(None, None, False)


def test_arguments_that_a_method_does_not_take() -> None:
    def few(content, room):
        return content, room

    def all_of_them(content, **kwargs):
        return content, kwargs

    assert call_with_known(few, 1, room=2, other=3) == (1, 2)
    assert call_with_known(all_of_them, 1, room=2, other=3) == (1, {"room": 2, "other": 3})


# Streams


class Sums(WebsocketConsumer):
    def connect(self, message, multiplexer, **kwargs):
        multiplexer.send({"hello": "sums"})

    def receive(self, text=None, bytes=None, multiplexer=None, **kwargs):  # noqa: A002
        multiplexer.send(sum(json.loads(text)["numbers"]))


class Words(JsonWebsocketConsumer):
    async def receive(self, content, multiplexer, room):
        WebsocketMultiplexer.group_send("words", multiplexer.stream, [room, content["word"].upper()])


left = Seen()


def plain(message, multiplexer, **kwargs):
    if message.channel.name == "websocket.receive":
        multiplexer.send(json.loads(message["text"]))
    if message.channel.name == "websocket.disconnect":
        left.put(message["code"])


class Streams(WebsocketDemultiplexer):
    consumers = {"sums": Sums, "words": Words, "plain": plain}
    groups = ["words"]


STREAMS = [route_class(Streams, path=r"^/(?P<room>\w+)")]


def test_streams() -> None:
    with serving(STREAMS) as served, served.socket("/here") as socket:

        def ask(stream: str, payload: Any) -> Any:
            socket.send(json.dumps({"stream": stream, "payload": payload}))
            return json.loads(socket.recv(DEADLINE_S))

        assert json.loads(socket.recv(DEADLINE_S)) == {"stream": "sums", "payload": {"hello": "sums"}}
        assert ask("sums", {"numbers": [1, 2, 3]}) == {"stream": "sums", "payload": 6}
        assert ask("words", {"word": "x"}) == {"stream": "words", "payload": ["here", "X"]}
        assert ask("plain", {"a": [1]}) == {"stream": "plain", "payload": {"a": [1]}}
        socket.close(3000)
    assert left.next() == 3000


@pytest.mark.parametrize(
    "said",
    [
        {},
        [],
        {"stream": "sums"},
        {"payload": {}},
        {"stream": "other", "payload": {}},
        {"stream": "sums", "payload": 5},
    ],
)
def test_what_is_of_no_stream_is_told_of_and_the_socket_stays(said: Any) -> None:
    with serving(STREAMS) as served, served.socket("/here") as socket:
        socket.recv(DEADLINE_S)
        socket.send(json.dumps(said))
        socket.send(json.dumps({"stream": "plain", "payload": {"still": "here"}}))
        assert json.loads(socket.recv(DEADLINE_S))["payload"] == {"still": "here"}


def test_a_demultiplexer_cannot_send() -> None:
    demultiplexer = Streams(Message({"reply_channel": "x!1"}, "websocket.receive"))
    for send in (demultiplexer.send, demultiplexer.group_send, Streams.group_send):
        with pytest.raises(SendNotAvailableOnDemultiplexer, match="has no stream of its own"):
            send("words", {"x": 1})


def test_a_stream_as_a_message_for_a_group() -> None:
    assert WebsocketMultiplexer.encode("a", {"b": 1}) == {"text": '{"stream":"a","payload":{"b":1}}'}


def test_closing_the_sockets_of_a_group_with_last_words() -> None:
    with serving(STREAMS) as served, served.socket("/here") as socket:
        wait_for_members("words", 1)
        WebsocketMultiplexer.group_send("words", "plain", "bye", close=4001)
        assert json.loads(socket.recv(DEADLINE_S))["stream"] == "sums"
        assert json.loads(socket.recv(DEADLINE_S)) == {"stream": "plain", "payload": "bye"}
        with pytest.raises(ConnectionClosed):
            socket.recv(DEADLINE_S)
        assert socket.close_code == 4001
    assert Group("words").count() == 0
