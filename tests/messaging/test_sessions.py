"""Sessions and users on messages, in a real database, by the rules of Django's own sessions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from hashlib import sha1
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from asgiref.sync import async_to_sync, iscoroutinefunction
from django.contrib.auth import get_user_model
from django.contrib.sessions.backends.db import SessionStore
from django.core.management import call_command
from django.db import connections
from django.test import Client, override_settings
from django.utils import timezone
from websockets.exceptions import ConnectionClosed, InvalidStatus

from raceway.auth import AuthMiddlewareStack, close_sockets_of_session
from raceway.errors import ConfigurationError, DenyConnection
from raceway.messaging import MessageApplication, WebsocketConsumer, sessions
from raceway.messaging.message import Message
from raceway.messaging.security import BaseOriginValidator, allowed_hosts_only
from raceway.messaging.sessions import (
    channel_and_http_session,
    channel_and_http_session_user_from_http,
    channel_session,
    channel_session_user,
    channel_session_user_from_http,
    end_channel_session,
    enforce_ordering,
    has_channel_session,
    http_session,
    http_session_user,
    sessions_of,
    transfer_user,
)
from tests.messaging.serving import serving
from tests.project.database import Session, make_user, migrate
from tests.server.running import DEADLINE_S
from tests.waiting import eventually

pytestmark = pytest.mark.shell  # they use a database

CONNECT, RECEIVE, DISCONNECT = "websocket.connect", "websocket.receive", "websocket.disconnect"
FRY, LEELA = "websocket.send.1!fry", "websocket.send.1!leela"
SERVER_SIDE = ["db", "cached_db", "cache", "file"]


@pytest.fixture(autouse=True)
def database() -> Iterator[None]:
    migrate()
    Session.objects.all().delete()
    yield
    for name in (FRY, LEELA):
        end_channel_session(name)
    connections.close_all()


def message(channel: str, reply_channel: str | None = FRY, **content: Any) -> Message:
    if reply_channel is not None:
        content["reply_channel"] = reply_channel
    return Message(content, channel)


def connecting(cookie: str | None = None, query: bytes = b"", **content: Any) -> Message:
    headers = [] if cookie is None else [[b"cookie", f"sessionid={cookie}".encode()]]
    return message(CONNECT, headers=headers, query_string=query, path="/", **content)


def as_async(function: Callable[..., Any]) -> Callable[..., Any]:
    async def consumer(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return consumer


def run(consumer: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    call = async_to_sync(consumer) if iscoroutinefunction(consumer) else consumer
    return call(*args, **kwargs)


@pytest.fixture(params=["def", "async def"])
def kind(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """What makes a consumer of that kind."""
    return as_async if request.param == "async def" else lambda function: function


def count_up(message: Message) -> int:
    message.channel_session["count"] = message.channel_session.get("count", 0) + 1
    count: int = message.channel_session["count"]
    return count


def logged_in(name: str) -> tuple[Any, str]:
    """A user, and the key of a session in which it is logged in."""
    user = make_user(name)
    client = Client()
    client.force_login(user)
    return user, client.cookies["sessionid"].value


# The session of a socket


@pytest.mark.parametrize("engine", SERVER_SIDE)
def test_messages_of_one_socket_share_a_session(kind: Any, engine: str, tmp_path: Path) -> None:
    consumer = channel_session(kind(count_up))
    with override_settings(
        CHANNEL_SESSION_ENGINE=f"django.contrib.sessions.backends.{engine}", SESSION_FILE_PATH=str(tmp_path)
    ):
        assert [run(consumer, message(one)) for one in (CONNECT, RECEIVE, RECEIVE)] == [1, 2, 3]
        assert run(consumer, message(RECEIVE, LEELA)) == 1
        assert run(consumer, message(DISCONNECT)) == 4
        assert run(consumer, message(RECEIVE, LEELA)) == 2
        assert run(consumer, message(CONNECT)) == 1, "the session of a socket that has ended is still there"
        run(consumer, message(DISCONNECT)), run(consumer, message(DISCONNECT, LEELA))


def test_nothing_is_left_behind(kind: Any) -> None:
    consumer = channel_session(kind(count_up))
    run(consumer, message(CONNECT))
    assert Session.objects.count() == 1
    assert has_channel_session(FRY)
    run(consumer, message(DISCONNECT))
    assert Session.objects.count() == 0
    assert not has_channel_session(FRY)


def test_nothing_is_left_behind_where_no_consumer_takes_leave() -> None:
    run(channel_session(count_up), message(CONNECT))
    end_channel_session(LEELA)
    assert Session.objects.count() == 1
    end_channel_session(FRY)
    assert Session.objects.count() == 0


def test_what_only_reads_writes_nothing(kind: Any) -> None:
    run(channel_session(kind(lambda message: message.channel_session.get("count"))), message(CONNECT))
    assert Session.objects.count() == 0


def test_it_is_saved_if_the_consumer_raises(kind: Any) -> None:
    def consumer(message: Message) -> None:
        count_up(message)
        raise LookupError("no such room")

    with pytest.raises(LookupError, match="no such room"):
        run(channel_session(kind(consumer)), message(CONNECT))
    assert run(channel_session(count_up), message(RECEIVE)) == 2


def test_it_belongs_to_a_reply_channel(kind: Any) -> None:
    with pytest.raises(ValueError, match="'thumbnail' has no reply channel"):
        run(channel_session(kind(count_up)), message("thumbnail", None))


def test_methods_and_arguments(kind: Any) -> None:
    class Consumer:
        receive = channel_session(kind(lambda self, message, room: (self, count_up(message), room)))

    one = Consumer()
    assert run(one.receive, message(RECEIVE), room="kitchen") == (one, 1, "kitchen")
    with pytest.raises(TypeError, match="takes a Message"):
        run(channel_session(kind(count_up)), {"text": "hello"})


def test_twice_decorated_is_once_saved() -> None:
    assert run(channel_session(channel_session_user(count_up)), message(CONNECT)) == 1
    assert run(channel_session(count_up), message(RECEIVE)) == 2


def test_signed_cookies_are_refused_with_the_mend() -> None:
    with (
        override_settings(SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies"),
        pytest.raises(ConfigurationError, match="Set CHANNEL_SESSION_ENGINE to"),
    ):
        run(channel_session(count_up), message(CONNECT))


def test_whoever_knows_the_channel_does_not_know_the_key() -> None:
    """It is in the store of Django's own sessions: as a cookie, the key would let its bearer in."""
    run(channel_session(count_up), message(CONNECT))
    key = Session.objects.get().session_key
    assert key.startswith("chn")
    assert key[3:] != sha1(FRY.encode()).hexdigest()[:29]


def test_it_outlives_its_row() -> None:
    """The row of a socket that is open for weeks expires, and ``clearsessions`` takes it away."""
    consumer = channel_session(count_up)
    run(consumer, message(CONNECT))
    Session.objects.update(expire_date=timezone.now() - timedelta(days=1))
    assert run(consumer, message(RECEIVE)) == 1
    assert run(consumer, message(RECEIVE)) == 2

    def cleared_meanwhile(message: Message) -> None:
        Session.objects.update(expire_date=timezone.now() - timedelta(days=1))
        call_command("clearsessions")
        count_up(message)

    run(channel_session(cleared_meanwhile), message(RECEIVE))
    assert run(consumer, message(RECEIVE)) == 4


def test_flush_and_a_new_key_keep_the_key() -> None:
    @channel_session
    def forget(message: Message) -> None:
        message.channel_session.flush()
        message.channel_session.cycle_key()
        message.channel_session["room"] = "kitchen"

    run(channel_session(count_up), message(CONNECT))
    run(forget, message(RECEIVE))
    content = channel_session(lambda message: dict(message.channel_session.items()))
    assert run(content, message(RECEIVE)) == {"room": "kitchen"}
    assert Session.objects.count() == 1


def test_an_async_consumer_saves_when_it_wants() -> None:
    @channel_session
    async def consumer(message: Message) -> int:
        await message.channel_session.aset("room", "kitchen")
        await message.channel_session.asave()
        saved = await Session.objects.acount()
        await message.channel_session.aflush()
        await message.channel_session.acycle_key()
        return saved

    assert run(consumer, message(CONNECT)) == 1
    assert Session.objects.count() == 1  # what was flushed has been changed, and is empty


# Django's session


def stored(**data: Any) -> str:
    store = SessionStore()
    store.update(data)
    store.save()
    key: str | None = store.session_key
    assert key is not None
    return key


def test_the_session_of_the_cookie(kind: Any) -> None:
    consumer = http_session(kind(lambda message: message.http_session and message.http_session["fruit"]))
    key = stored(fruit="mango")
    assert run(consumer, connecting(key)) == "mango"
    assert run(consumer, connecting(query=f"a=b&session_key={key}".encode())) == "mango"
    assert run(consumer, connecting(key, query=b"session_key=" + stored(fruit="lemon").encode())) == "mango"
    assert run(consumer, connecting()) is None
    assert run(consumer, connecting("nosuchsession")) is None
    assert run(consumer, message(RECEIVE, text="hello")) is None


def test_what_was_changed_is_saved_also_if_the_consumer_raises(kind: Any) -> None:
    def consumer(message: Message) -> None:
        message.http_session["fruit"] = "papaya"
        raise DenyConnection

    key = stored(fruit="mango")
    with pytest.raises(DenyConnection):
        run(http_session(kind(consumer)), connecting(key))
    assert SessionStore(key)["fruit"] == "papaya"


def test_a_session_that_has_ended_meanwhile_stays_ended() -> None:
    @http_session
    def consumer(message: Message) -> None:
        Session.objects.all().delete()
        message.http_session["fruit"] = "papaya"

    run(consumer, connecting(stored(fruit="mango")))
    assert Session.objects.count() == 0


def test_sessions_in_cookies_are_read_and_a_change_is_not_lost_in_silence() -> None:
    @http_session
    def consumer(message: Message) -> Any:
        message.http_session["seen"] = True
        return message.http_session["fruit"]

    with override_settings(SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies"):
        store = sessions.session_store()()
        store["fruit"] = "mango"
        store.save()
        with pytest.warns(RuntimeWarning, match="is lost"):
            assert run(consumer, connecting(store.session_key)) == "mango"


def test_later_messages_find_the_session_again(kind: Any) -> None:
    consumer = channel_and_http_session(
        kind(lambda message: message.http_session and message.http_session["fruit"])
    )
    key = stored(fruit="mango")
    assert [run(consumer, one) for one in (connecting(key), message(RECEIVE))] == ["mango", "mango"]
    assert run(consumer, message(RECEIVE, LEELA)) is None
    SessionStore(key).delete()
    assert run(consumer, message(RECEIVE)) is None


# Users


def whoami(message: Message) -> str:
    name: str = message.user.get_username()
    return name


def test_the_user_of_the_session(kind: Any) -> None:
    _, key = logged_in("fry")
    consumer = http_session_user(kind(whoami))
    assert run(consumer, connecting(key)) == "fry"
    assert run(consumer, connecting()) == ""
    assert run(consumer, connecting(stored(fruit="mango"))) == ""


@pytest.mark.parametrize(
    "decorator", [channel_session_user_from_http, channel_and_http_session_user_from_http]
)
def test_the_user_stays_with_the_socket(kind: Any, decorator: Any) -> None:
    user, key = logged_in("fry")
    assert run(decorator(kind(whoami)), connecting(key)) == "fry"
    assert run(channel_session_user(kind(whoami)), message(RECEIVE)) == "fry"
    assert run(decorator(kind(whoami)), message(RECEIVE)) == "fry"
    assert run(channel_session_user(kind(whoami)), message(RECEIVE, LEELA)) == ""
    user.set_password("slurm")
    user.save()
    assert run(channel_session_user(kind(whoami)), message(RECEIVE)) == "", "the password has changed"


def test_nobody_at_connect_is_nobody_later(kind: Any) -> None:
    consumer = channel_session_user_from_http(kind(whoami))
    assert [run(consumer, one) for one in (connecting(), message(RECEIVE))] == ["", ""]


def test_transfer_takes_over_nobody_too() -> None:
    _, key = logged_in("fry")
    other = SessionStore()
    transfer_user(SessionStore(key), other)
    assert other["_auth_user_id"] == str(get_user_model().objects.get(username="fry").pk)
    transfer_user(SessionStore(), other)
    assert list(other.keys()) == []


@pytest.mark.parametrize(
    ("flags", "attributes"),
    [
        ({}, set()),
        ({"channel_session": True}, {"channel_session"}),
        ({"channel_session_user": True}, {"channel_session", "user"}),
        ({"http_user": True}, {"channel_session", "http_session", "user"}),
        ({"http_user_and_session": True}, {"channel_session", "http_session", "user"}),
    ],
)
def test_what_the_attributes_of_a_class_ask_for(flags: dict[str, bool], attributes: set[str]) -> None:
    names = {"channel_session", "http_session", "user"}
    _, key = logged_in("fry")

    @sessions_of(**flags)
    def consumer(message: Message) -> set[str]:
        return {name for name in names if getattr(message, name, None) is not None}

    assert run(consumer, connecting(key)) == attributes
    if flags.get("http_user_and_session"):
        assert "http_session" in run(consumer, message(RECEIVE))


# Order and origins


@pytest.mark.parametrize("slight", [False, True])
def test_ordering_is_how_it_is(slight: bool) -> None:
    with pytest.warns(UserWarning, match="changes nothing"):
        assert enforce_ordering(count_up, slight=slight) is count_up
    with pytest.warns(UserWarning, match="changes nothing"):
        assert enforce_ordering(slight=slight)(count_up) is count_up


@override_settings(ALLOWED_HOSTS=["example.com"])
@pytest.mark.parametrize("origins", [[], [b"https://evil.org"], [b"https://example.com", b"null"], [b""]])
def test_pages_of_other_hosts_are_refused(kind: Any, origins: list[bytes]) -> None:
    consumer = allowed_hosts_only(kind(lambda message: "in"))
    headers = [[b"origin", origin] for origin in origins]
    with pytest.raises(DenyConnection):
        run(consumer, message(CONNECT, headers=headers))
    assert run(consumer, message(RECEIVE, text="hello")) == "in"
    assert run(consumer, message(CONNECT, headers=[[b"origin", b"https://example.com"]])) == "in"


@pytest.mark.parametrize("decorator", [allowed_hosts_only, channel_session])
def test_a_class_is_decorated_by_its_methods(decorator: Any) -> None:
    with pytest.raises(TypeError, match="WebsocketConsumer is a class: decorate its methods"):
        decorator(WebsocketConsumer)


def test_a_rule_of_ones_own_for_origins() -> None:
    class Secure(BaseOriginValidator):
        def validate_origin(self, message: Message, origin: str) -> bool:
            return origin.startswith("https:")

    class Consumer:
        @Secure
        def connect(self, message: Message) -> object:
            return self

    one = Consumer()
    assert one.connect(message(CONNECT, headers=[[b"origin", b"https://example.com"]])) is one
    with pytest.raises(DenyConnection):
        one.connect(message(CONNECT, headers=[[b"origin", b"http://example.com"]]))


# Over real sockets


def remembers(message: Message) -> None:
    message.channel_session["seen"] = True


def denies(message: Message) -> None:
    remembers(message)
    raise DenyConnection


def wait_for_sessions(count: int) -> None:
    eventually(lambda: Session.objects.count() == count)


def test_a_socket_takes_its_session_with_it() -> None:
    with serving({CONNECT: channel_session(remembers)}) as served:
        with served.socket():
            wait_for_sessions(1)
        wait_for_sessions(0)


def test_a_refused_socket_leaves_nothing_behind() -> None:
    with serving({CONNECT: channel_session(denies)}) as served:
        with pytest.raises(InvalidStatus), served.socket():
            pass
        wait_for_sessions(0)


def test_an_answered_request_leaves_nothing_behind() -> None:
    @channel_session
    def answers(message: Message) -> None:
        remembers(message)
        message.reply_channel.send({"status": 200, "content": b"hello"})  # type: ignore[union-attr]

    with serving({"http.request": answers}) as served:
        with urlopen(f"http://{served.address}/", timeout=DEADLINE_S) as response:
            assert response.read() == b"hello"
        wait_for_sessions(0)


def test_logging_out_closes_the_sockets_of_the_session() -> None:
    _, key = logged_in("fry")

    @channel_session_user_from_http
    def connect(message: Message) -> None:
        message.reply_channel.send({"text": message.user.get_username()})  # type: ignore[union-attr]

    application = AuthMiddlewareStack(MessageApplication({CONNECT: connect}))
    headers = {"Cookie": f"sessionid={key}"}
    with serving(application) as served, served.socket(additional_headers=headers) as socket:
        assert socket.recv(DEADLINE_S) == "fry"
        close_sockets_of_session(key)
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(DEADLINE_S)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4401
        wait_for_sessions(1)  # that of the log-in
