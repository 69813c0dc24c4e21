"""Which methods of a class are handlers, and which can never be called by a message."""

from __future__ import annotations

import functools
import json

from asgiref.sync import sync_to_async
from django.utils.functional import cached_property

from raceway import Group
from raceway.consumers import AsyncJsonWebsocketConsumer, AsyncWebsocketConsumer
from raceway.consumers.handlers import handlers_of
from tests.consumers.conftest import Open


class Mixin:
    async def from_mixin(self, event): ...

    def notify(self, event): ...


class Base(Mixin, AsyncWebsocketConsumer):
    async def from_base(self, event): ...


class Chat(Base):
    number = 3
    factory = dict

    class Meta: ...

    async def connect(self): ...

    def chat_message(self, event): ...

    async def _private(self, event): ...

    @property
    def groups(self):
        return ["chat"]

    @staticmethod
    def build(event): ...

    async def http_request(self, event): ...

    async def websocket_receive_extra(self, event): ...


def test_handlers_are_the_users_own_public_methods() -> None:
    assert set(handlers_of(Chat).events) == {"from_mixin", "notify", "from_base", "chat_message"}


def test_no_message_can_call_what_a_raceway_base_has() -> None:
    events = handlers_of(Chat).events
    for name in ("connect", "receive", "disconnect", "send", "close", "accept", "group_send", "on_error"):
        assert name not in events
    assert handlers_of(AsyncJsonWebsocketConsumer).events == {}


def test_events_of_servers_call_hooks_only() -> None:
    assert set(handlers_of(Chat).client) == {
        "websocket.connect",
        "websocket.receive",
        "websocket.disconnect",
        "raceway.gap",
    }


def test_a_class_can_ask_to_see_client_messages() -> None:
    class Intercepting(AsyncWebsocketConsumer):
        async def websocket_send(self, event): ...

    assert handlers_of(Intercepting).intercepts
    assert not handlers_of(Chat).intercepts


def test_the_table_is_built_once() -> None:
    assert handlers_of(Chat) is handlers_of(Chat)


def unwrapped(function):
    def call(self, event):
        return function(self, event)

    return call


def wrapped(function):
    @functools.wraps(function)
    async def call(self, event):
        return await function(self, event)

    return call


class Full(AsyncWebsocketConsumer):
    encoder = json.dumps
    encode = json.JSONEncoder.encode
    decode = json.JSONDecoder().decode
    count = len

    @functools.cached_property
    def room(self): ...

    @cached_property
    def document(self): ...

    @classmethod
    def built(cls, event): ...

    @unwrapped
    def quiet(self, event): ...

    @wrapped
    async def loud(self, event): ...

    @sync_to_async
    def stored(self, event): ...

    def _tell(self, kind, event): ...

    joined = functools.partialmethod(_tell, "joined")
    left = loud


def test_only_functions_of_the_class_body_are_handlers() -> None:
    assert Full.as_asgi()
    assert set(handlers_of(Full).events) == {"quiet", "loud", "stored", "joined", "left"}


async def test_a_handler_may_be_a_partialmethod(open_socket: Open) -> None:
    class Room(AsyncWebsocketConsumer):
        groups = ["room"]

        async def tell(self, kind, event):
            await self.send(f"{kind} {event['who']}")

        user_joined = functools.partialmethod(tell, "joined")

    socket = open_socket(Room)
    await socket.connect()
    await Group("room").asend({"type": "user.joined", "who": "fry"})
    assert await socket.text() == "joined fry"
    await socket.goodbye()
