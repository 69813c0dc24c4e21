"""Testing message consumers: messages are sent, consumed and looked at one by one, in the test's own thread.

::

    class ChatTests(ChannelTestCase):
        def test_counter(self):
            client = WSClient()
            client.send_and_consume("websocket.connect", path="/status/users/")
            self.assertEqual(client.receive(), {"users": 0})

The routing and the consumers are the real ones, on a channel layer of each test's own. Nothing runs that the test does
not ask for, and what a consumer raises the test gets.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import warnings
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from asgiref.sync import async_to_sync, sync_to_async
from django.http import SimpleCookie
from django.test import Client as Browser
from django.test import TestCase, TransactionTestCase
from django.test.utils import TestContextDecorator

from raceway.close_codes import NORMAL
from raceway.consumers.replies import websocket_events
from raceway.errors import ChannelSocketException, ConsumeLater, DenyConnection
from raceway.layers import Channel, ChannelLayer, Group, channel_layers, decode_event
from raceway.layers.memory import MemoryLayer
from raceway.messaging.contents import handshake_content, request_content
from raceway.messaging.dispatch import REFUSED, call_consumer, run_exception
from raceway.messaging.message import Message
from raceway.messaging.routing import (
    CONNECT,
    DISCONNECT,
    HTTP_REQUEST,
    OF_CONNECTIONS,
    Router,
    Routes,
    Routing,
)
from raceway.messaging.sessions import end_channel_session
from raceway.routing.channels import channel_names
from raceway.routing.project import get_channel_routing
from raceway.testing.connecting import NOTHING_S
from raceway.testing.layers import ChannelLayersMixin
from raceway.testing.live import RacewayLiveServerTestCase
from raceway.testing.scopes import HOST, http_scope, websocket_scope
from raceway.types import Event
from raceway.workers import Worker

__tracebackhide__ = __unittest = True  # a test that fails shows its own line, not ours

__all__ = [
    "ChannelLiveServerTestCase",
    "ChannelTestCase",
    "Client",
    "HttpClient",
    "TransactionChannelTestCase",
    "WSClient",
    "apply_routes",
]


# Messages that wait


def next_message(channel: str, alias: str = "default") -> Message | None:
    """Take the next message that waits in ``channel``; ``None`` if there is none."""
    encoded = async_to_sync(_take_now)(channel_layers[alias], channel)
    return None if encoded is None else Message(content_of(decode_event(encoded)), channel, alias)


async def _take_now(layer: ChannelLayer, channel: str) -> bytes | None:
    # The memory layer gives what it has at once; of another one, the answer is on its way.
    wait_s = 0.0 if isinstance(layer, MemoryLayer) else NOTHING_S
    taking = asyncio.ensure_future(layer.take(channel))
    await asyncio.wait({taking}, timeout=wait_s)
    if not taking.done():
        taking.cancel()
        await asyncio.wait({taking})
    return None if taking.cancelled() else taking.result()


def content_of(event: Event) -> dict[str, Any]:
    """What the sender of an answer wrote: a layer has given a type to what clients can be sent."""
    kind = event.get("type")
    if kind == "websocket.close" and not event["reason"]:
        return {"close": True if event["code"] == NORMAL else event["code"]}
    is_reply = kind in ("websocket.send", "raceway.reply")
    return {key: value for key, value in event.items() if key != "type" or not is_reply}


# Clients


class Client:
    """Whoever sends messages, and gets the answers to them on ``reply_channel``."""

    def __init__(self, alias: str = "default") -> None:
        self.alias = alias
        self.reply_channel = f"test.reply!{secrets.token_hex(8)}"
        self._replies: deque[dict[str, Any]] = deque()  # taken, and not yet received

    def send(self, to: str, content: Mapping[str, Any] | None = None) -> None:
        """Send ``content`` to the channel ``to``, with this client's reply channel."""
        Channel(to, self.alias).send({"reply_channel": self.reply_channel, **(content or {})})

    def consume(self, channel: str, fail_on_none: bool = True) -> None:
        """Have the next message of ``channel`` consumed as the routing says.

        What the consumer raises is raised, but for what steers: after ``DenyConnection`` the client is told, after
        ``ConsumeLater`` the message waits in ``channel`` again. If no message waits that is a failed assertion, unless
        ``fail_on_none`` is false.
        """
        message = self.get_next_message(channel)
        if message is None:
            if fail_on_none:
                raise AssertionError(f"No message waits in the channel {channel!r}.")
            return
        match = router_of(self.alias).match(message)
        if match is None:
            raise AssertionError(f"No route is for the {message!r}: {message.content!r}")
        async_to_sync(_consume)(message, *match)

    def send_and_consume(
        self, channel: str, content: Mapping[str, Any] | None = None, fail_on_none: bool = True
    ) -> None:
        """Both at once."""
        self.send(channel, content)
        self.consume(channel, fail_on_none)

    def receive(self) -> Any:
        """The next answer: its content, or ``None`` if there is none."""
        if self._replies:
            return self._replies.popleft()
        message = self.get_next_message(self.reply_channel)
        return None if message is None else message.content

    def get_next_message(self, channel: str) -> Message | None:
        """Take the next message that waits in ``channel``; ``None`` if there is none."""
        return next_message(channel, self.alias)

    def join_group(self, name: str) -> None:
        """Receive what is sent to the group."""
        Group(name, self.alias).add(self.reply_channel)


async def _consume(message: Message, consumer: Any, kwargs: dict[str, Any]) -> None:
    try:
        await call_consumer(consumer, message, kwargs)
    except ConsumeLater:
        await message.channel.asend(message.content)
    except DenyConnection:
        if message.channel_name != CONNECT or message.reply_channel is None:
            raise
        await message.reply_channel.asend(REFUSED)
    except ChannelSocketException as error:
        await run_exception(error, message)
    finally:
        if message.channel_name == DISCONNECT and message.reply_channel is not None:
            await sync_to_async(end_channel_session)(message.reply_channel.name)


class WSClient(Client):
    """A browser with a WebSocket.

    ``ordered`` is for code that says so: messages are always in order.
    """

    def __init__(self, ordered: bool = False, alias: str = "default") -> None:
        super().__init__(alias)
        self.ordered = ordered
        self.headers: dict[str, str] = {"host": HOST}
        """What the handshake says, beside the cookies."""
        self._browser = Browser()
        self._order = 0
        self._is_accepted = False

    # What the handshake says

    @property
    def cookies(self) -> SimpleCookie:
        return self._browser.cookies

    @property
    def session(self) -> Any:
        """The session of the cookie, made if there is none; ``save()`` keeps what a test puts in."""
        return self._browser.session

    def set_cookie(self, key: str, value: str) -> None:
        self._browser.cookies[key] = value

    def set_header(self, key: str, value: str) -> None:
        self.headers[key.lower()] = value

    def login(self, **credentials: Any) -> bool:
        """Log in as Django's test client does; whether the credentials were right."""
        return self._browser.login(**credentials)

    def force_login(self, user: Any, backend: str | None = None) -> None:
        self._browser.force_login(user, backend)

    # Messages

    def send(
        self,
        to: str,
        content: Mapping[str, Any] | None = None,
        text: Any = None,
        path: str = "/",
    ) -> None:
        """Send what the server would: at ``websocket.connect`` the handshake, with the query string of ``path``,
        cookies and headers; later ``text``, which is made JSON if it is no ``str``; to ``http.request`` a GET.

        ``content`` says more, or something else: ``{"method": "POST", "body": b"..."}``.
        """
        given = dict(content or {})
        if text is not None:
            given["text"] = text if isinstance(text, str) else json.dumps(text)
        super().send(to, {**self._content(to, path), **given})

    def send_and_consume(  # type: ignore[override]  # as it was in the first generation
        self,
        channel: str,
        content: Mapping[str, Any] | None = None,
        text: Any = None,
        path: str = "/",
        fail_on_none: bool = True,
        check_accept: bool = True,
    ) -> None:
        """Send and consume. A refused ``websocket.connect`` is a failed assertion, unless ``check_accept`` is false;
        then the answers to the handshake can be received as they are."""
        self.send(channel, content, text, path)
        self.consume(channel, fail_on_none)
        if channel == CONNECT and check_accept:
            self._expect_accepted()

    def receive(self, json: bool = True) -> Any:
        """The next answer, or ``None`` if there is none: what its text says if it is JSON text, and its content if it
        has no text or not ``json``."""
        content = self._next_answer()
        if not json or content is None or not isinstance(content.get("text"), str):
            return content
        return _decode(content["text"])

    def _content(self, channel: str, path: str) -> dict[str, Any]:
        if channel == CONNECT:
            self._order = 0
            return handshake_content(websocket_scope(path, self._all_headers()), self.reply_channel)
        if channel == HTTP_REQUEST:
            return request_content(http_scope("GET", path, self._all_headers()), self.reply_channel, b"")
        if channel not in OF_CONNECTIONS:
            return {}
        self._order += 1
        end = {"code": 1000} if channel == DISCONNECT else {}
        return {"path": path.partition("?")[0], "order": self._order, **end}

    def _all_headers(self) -> dict[str, str]:
        cookie = "; ".join(f"{name}={morsel.coded_value}" for name, morsel in self.cookies.items())
        return {**self.headers, "cookie": cookie} if cookie else self.headers

    def _expect_accepted(self) -> None:
        """A consumer that says nothing of it accepts."""
        self._is_accepted = False
        first = super().receive()
        if first is not None:
            if websocket_events(first, is_accepted=False)[:1] == [{"type": "websocket.close"}]:
                raise AssertionError(f"The connection was refused: {first!r}")
            self._replies.appendleft(first)
        self._is_accepted = True

    def _next_answer(self) -> dict[str, Any] | None:
        """The next answer that does more than accept what is accepted."""
        while True:
            content: dict[str, Any] | None = super().receive()
            if content is None or not self._is_accepted:
                return content
            rest = {key: value for key, value in content.items() if key != "accept"}
            if rest:
                return rest


def _decode(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise AssertionError(f"This is no JSON, so receive it with json=False: {text!r}") from None


class HttpClient(WSClient):
    """The old name of ``WSClient``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        warnings.warn("HttpClient is called WSClient.", DeprecationWarning, stacklevel=2)
        super().__init__(*args, **kwargs)


# Routing


class apply_routes(TestContextDecorator):
    """Route by ``routes`` in the place of the project's own, in a ``with`` block, a test or a class of tests.

    ``routes`` is any form of a routing, or one route. The consumers of a server that runs already are not affected.
    """

    def __init__(self, routes: Routing | Routes, aliases: Iterable[str] = ("default",)) -> None:
        super().__init__()
        self.router = Router([routes] if isinstance(routes, Routes) else routes)
        self.aliases = [aliases] if isinstance(aliases, str) else list(aliases)
        self._before: list[dict[str, Router]] = []

    def enable(self) -> None:
        self._before.append(dict(_applied))
        _applied.update(dict.fromkeys(self.aliases, self.router))

    def disable(self) -> None:
        before = self._before.pop()
        _applied.clear()
        _applied.update(before)


_applied: dict[str, Router] = {}


def router_of(alias: str) -> Router:
    """What routes the messages of a layer: what a test has applied, or the project's ``channel_routing``."""
    if alias in _applied:
        return _applied[alias]
    routing = get_channel_routing()
    if routing is None:
        raise AssertionError("The project has no channel_routing: use apply_routes().")
    router = Router(routing)
    router.check_default()
    return router


# Test cases


class _Messages(ChannelLayersMixin):
    test_channel_aliases: ClassVar[Iterable[str]] = ("default",)
    """For code that says so: each test has fresh layers for all aliases."""

    def get_next_message(self, channel: str, alias: str = "default", require: bool = False) -> Message | None:
        """Take the next message that waits in ``channel``; ``None`` if there is none, or a failed assertion if it is
        required."""
        message = next_message(channel, alias)
        if message is None and require:
            raise AssertionError(f"No message waits in the channel {channel!r}.")
        return message


class ChannelTestCase(_Messages, TestCase):
    """Django's ``TestCase`` with channel layers of each test's own."""


class TransactionChannelTestCase(_Messages, TransactionTestCase):
    """Django's ``TransactionTestCase`` with channel layers of each test's own."""


class ChannelLiveServerTestCase(RacewayLiveServerTestCase):
    """A real server, at ``live_server_url`` and ``live_server_ws_url``, and beside it a worker for the named channels.

    Both run in a thread of the test's own process, so that an in-memory database works.
    """

    worker_threads: ClassVar[int] = 1
    """How many messages of each named channel are handled at once."""

    def setUp(self) -> None:
        super().setUp()
        server = self.server_thread
        names = channel_names(server.application) or ()
        worker = Worker(server.application, names, channel_layers["default"], concurrency=self.worker_threads)
        server.call(_start, worker)
        self.addCleanup(server.call, worker.stop)


async def _start(worker: Worker) -> None:
    worker.start()
