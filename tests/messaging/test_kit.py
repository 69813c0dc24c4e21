"""The first generation's test kit: one message at a time, on layers of each test's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connections

from raceway import Channel, Group
from raceway.errors import ConsumeLater, DenyConnection, WebsocketCloseException
from raceway.messaging import Message, include, route
from raceway.messaging.sessions import channel_session, channel_session_user_from_http, http_session
from raceway.testing.layers import fresh_channel_layers
from raceway.testing.messaging import Client, HttpClient, WSClient, apply_routes, next_message
from tests.project.database import Session, make_user, migrate

pytestmark = pytest.mark.shell  # event loops, and a database

CONNECT, RECEIVE, DISCONNECT = "websocket.connect", "websocket.receive", "websocket.disconnect"


@pytest.fixture(autouse=True)
def fresh_layers() -> Iterator[None]:
    with fresh_channel_layers():
        yield


@pytest.fixture
def database() -> Iterator[None]:
    migrate()
    Session.objects.all().delete()
    yield
    connections.close_all()


def shout(message: Message, **kwargs: Any) -> None:
    assert message.reply_channel is not None
    message.reply_channel.send({"text": message["text"].upper()})


async def ashout(message: Message, **kwargs: Any) -> None:
    assert message.reply_channel is not None
    await message.reply_channel.asend({"text": message["text"].upper()})


# Client


@pytest.mark.parametrize("consumer", [shout, ashout])
def test_a_message_is_sent_consumed_and_answered(consumer: Any) -> None:
    client = Client()
    with apply_routes([route("shout", consumer)]):
        client.send("shout", {"text": "hello", "loud": True})
        assert client.receive() is None, "nothing happens by itself"
        client.consume("shout")
        assert client.receive() == {"text": "HELLO"}
        assert client.receive() is None
        client.send_and_consume("shout", {"text": "again"})
        client.send_and_consume("shout", {"text": "and again"})
        assert [client.receive(), client.receive()] == [{"text": "AGAIN"}, {"text": "AND AGAIN"}]


def test_what_the_consumer_sends_to_other_channels_waits_there() -> None:
    def order(message: Message, item: str) -> None:
        Channel("kitchen").send({"item": item, "for": str(message.reply_channel)})

    client = Client()
    with apply_routes(route("orders", order, item=r"^(?P<item>\w+)$")):
        client.send_and_consume("orders", {"item": "pizza"})
    message = client.get_next_message("kitchen")
    assert message is not None
    assert (message.channel.name, message.content) == (
        "kitchen",
        {"item": "pizza", "for": client.reply_channel},
    )
    assert client.get_next_message("kitchen") is None


def test_a_client_in_a_group() -> None:
    client, other = Client(), Client()
    client.join_group("friends")
    Group("friends").send({"text": "hello"})
    Group("friends").send({"bytes": b"hello"})
    Group("friends").send({"close": True})
    Group("friends").send({"close": 4000})
    Group("friends").send({"text": "bye", "close": True})
    Group("friends").send({"type": "chat.message", "by": "fry"})
    assert [client.receive() for _ in range(7)] == [
        {"text": "hello"},
        {"bytes": b"hello"},
        {"close": True},
        {"close": 4000},
        {"text": "bye", "close": True},
        {"type": "chat.message", "by": "fry"},
        None,
    ]
    assert other.receive() is None


def test_nothing_to_consume_is_a_failure_unless_it_may_be() -> None:
    with apply_routes({}):
        with pytest.raises(AssertionError, match="No message waits in the channel 'shout'"):
            Client().consume("shout")
        Client().consume("shout", fail_on_none=False)


def test_a_message_without_a_route_is_a_failure() -> None:
    with (
        apply_routes([route("shout", shout, path="^/kitchen")]),
        pytest.raises(AssertionError, match="No route"),
    ):
        Client().send_and_consume("shout", {"text": "hello", "path": "/lobby"})


def test_the_test_gets_what_the_consumer_raises() -> None:
    def fails(message: Message) -> None:
        raise LookupError("no such room")

    with apply_routes({"shout": fails}), pytest.raises(LookupError, match="no such room"):
        Client().send_and_consume("shout")


def test_what_is_wanted_later_waits_again() -> None:
    tries = []

    def busy(message: Message) -> None:
        tries.append(message["text"])
        if len(tries) < 2:
            raise ConsumeLater
        shout(message)

    client = Client()
    with apply_routes({"shout": busy}):
        client.send_and_consume("shout", {"text": "hello"})
        assert client.receive() is None
        client.consume("shout")
    assert client.receive() == {"text": "HELLO"}
    assert tries == ["hello", "hello"]


def test_steering_is_no_failure() -> None:
    def closes(message: Message) -> None:
        raise WebsocketCloseException(4000)

    def denies(message: Message) -> None:
        raise DenyConnection

    client = Client()
    with apply_routes({"hang-up": closes, "shout": denies, CONNECT: denies}):
        client.send_and_consume("hang-up")
        client.send_and_consume(CONNECT)
        assert [client.receive(), client.receive()] == [{"close": 4000}, {"close": True}]
        with pytest.raises(DenyConnection):
            client.send_and_consume("shout")


# Routing


def test_routes_are_applied_for_a_while() -> None:
    client = Client()
    with apply_routes([route("shout", shout)]):
        with apply_routes([include([route("shout", ashout)])], aliases=["default"]):
            client.send_and_consume("shout", {"text": "inside"})
        client.send_and_consume("shout", {"text": "outside"})
    assert [client.receive(), client.receive()] == [{"text": "INSIDE"}, {"text": "OUTSIDE"}]


@apply_routes({"shout": shout})
def test_routes_are_applied_by_a_decorator() -> None:
    client = Client()
    client.send_and_consume("shout", {"text": "hello"})
    assert client.receive() == {"text": "HELLO"}


# WSClient


def test_what_the_server_would_say() -> None:
    heard: list[Message] = []
    routes = [route([CONNECT, RECEIVE, DISCONNECT], heard.append)]
    client = WSClient()
    client.set_cookie("fruit", "mango")
    client.set_header("X-Token", "secret")
    with apply_routes(routes):
        client.send_and_consume(CONNECT, path="/chat/?room=a%20b")
        client.send_and_consume(RECEIVE, text={"hello": 1}, path="/chat/")
        client.send_and_consume(RECEIVE, {"bytes": b"x"}, path="/chat/")
        client.send_and_consume(DISCONNECT, path="/chat/")
    connect, text, data, disconnect = (message.content for message in heard)
    assert connect.pop("headers") == [
        [b"host", b"testserver"],
        [b"x-token", b"secret"],
        [b"cookie", b"fruit=mango"],
    ]
    assert connect == {
        "reply_channel": client.reply_channel,
        "scheme": "ws",
        "path": "/chat/",
        "query_string": b"room=a%20b",
        "root_path": "",
        "client": ["127.0.0.1", 50000],
        "server": ["testserver", 80],
        "order": 0,
    }
    common = {"reply_channel": client.reply_channel, "path": "/chat/"}
    assert text == {**common, "order": 1, "text": '{"hello": 1}'}
    assert data == {**common, "order": 2, "bytes": b"x"}
    assert disconnect == {**common, "order": 3, "code": 1000}


def test_a_request_and_its_response() -> None:
    def answer(message: Message) -> None:
        assert message.reply_channel is not None
        message.reply_channel.send({"status": 200, "content": message["method"].encode() + message["body"]})

    client = WSClient()
    with apply_routes([route("http.request", answer, path="^/x/$")]):
        client.send_and_consume("http.request", path="/x/?a=1")
        client.send_and_consume("http.request", {"method": "POST", "body": b"a=1"}, path="/x/")
    assert client.receive() == {"status": 200, "content": b"GET"}
    assert client.receive() == {"status": 200, "content": b"POSTa=1"}


def test_a_named_channel_gets_what_was_said() -> None:
    client = WSClient()
    client.send("thumbnail", {"id": "7"})
    message = client.get_next_message("thumbnail")
    assert message is not None
    assert message.content == {"id": "7", "reply_channel": client.reply_channel}


async def test_in_an_async_test() -> None:
    client = Client()
    with apply_routes([route("shout", shout), route("ashout", ashout)]):
        for channel in ("shout", "ashout"):
            await sync_to_async(client.send_and_consume)(channel, {"text": "hello"})
            assert await sync_to_async(client.receive)() == {"text": "HELLO"}


@pytest.mark.parametrize(
    ("answers", "received"),
    [
        ([], []),
        ([{"accept": True}], []),
        ([{"accept": True}, {"text": "1"}], [1]),
        ([{"text": '{"users": 0}'}], [{"users": 0}]),
        ([{"accept": True, "text": "1"}, {"accept": True}, {"text": "2", "close": 4000}], [1, 2]),
        ([{"bytes": b"x"}, {"close": True}], [{"bytes": b"x"}, {"close": True}]),
    ],
)
def test_an_accepted_socket(answers: list[Any], received: list[Any]) -> None:
    def connect(message: Message) -> None:
        for answer in answers:
            message.reply_channel.send(answer)  # type: ignore[union-attr]

    client = WSClient()
    with apply_routes({CONNECT: connect}):
        client.send_and_consume(CONNECT)
    assert [client.receive() for _ in received] == received
    assert client.receive() is None


@pytest.mark.parametrize("answer", [{"accept": False}, {"close": True}, {"close": 4000}])
def test_a_refused_socket(answer: Any) -> None:
    def connect(message: Message) -> None:
        message.reply_channel.send(answer)  # type: ignore[union-attr]

    client = WSClient()
    with apply_routes({CONNECT: connect}):
        with pytest.raises(AssertionError, match="The connection was refused"):
            client.send_and_consume(CONNECT)
        client.send_and_consume(CONNECT, check_accept=False)
    assert client.receive() == answer


def test_text_that_is_no_json() -> None:
    client = WSClient()
    with apply_routes({RECEIVE: shout}):
        for _ in range(2):
            client.send_and_consume(RECEIVE, text="hello")
    assert client.receive(json=False) == {"text": "HELLO"}
    with pytest.raises(AssertionError, match="json=False: 'HELLO'"):
        client.receive()


def test_logged_in(database: None) -> None:
    @channel_session_user_from_http
    def whoami(message: Message) -> None:
        message.reply_channel.send({"text": json.dumps(message.user.get_username())})  # type: ignore[union-attr]

    fry = make_user("fry")
    client, wrong, nobody = WSClient(), WSClient(), WSClient()
    assert client.login(username="fry", password="planetexpress")
    assert not wrong.login(username="fry", password="slurm")
    forced = WSClient()
    forced.force_login(fry)
    with apply_routes([route([CONNECT, RECEIVE], whoami)]):
        for one, name in ((client, "fry"), (forced, "fry"), (wrong, ""), (nobody, "")):
            one.send_and_consume(CONNECT)
            one.send_and_consume(RECEIVE, text="who am I")
            assert [one.receive(), one.receive()] == [name, name]


def test_the_session_that_the_test_fills(database: None) -> None:
    @http_session
    def cart(message: Message) -> None:
        message.reply_channel.send({"text": json.dumps(message.http_session["cart"])})  # type: ignore[union-attr]

    client = WSClient()
    session = client.session
    session["cart"] = [1, 2]
    session.save()
    with apply_routes({CONNECT: cart}):
        client.send_and_consume(CONNECT)
    assert client.receive() == [1, 2]


def test_a_channel_session_ends_with_its_socket(database: None) -> None:
    @channel_session
    def remember(message: Message) -> None:
        message.channel_session["seen"] = True

    def leave(message: Message) -> None:
        """It knows nothing of a session."""

    client = WSClient(ordered=True)
    with apply_routes({CONNECT: remember, DISCONNECT: leave}):
        client.send_and_consume(CONNECT)
        assert Session.objects.count() == 1
        client.send_and_consume(DISCONNECT)
        assert Session.objects.count() == 0


def test_the_old_name() -> None:
    with pytest.warns(DeprecationWarning, match="called WSClient"):
        assert isinstance(HttpClient(), WSClient)


def test_messages_of_no_client() -> None:
    Channel("thumbnail").send({"id": "7"})
    message = next_message("thumbnail")
    assert message is not None
    assert (message.content, message.reply_channel) == ({"id": "7"}, None)
    assert next_message("thumbnail") is None
