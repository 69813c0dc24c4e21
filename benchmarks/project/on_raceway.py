"""The consumers and applications of the project, on Raceway; ``on_channels`` has the same."""

# ruff: noqa: E402  Django is set up before models are imported

from __future__ import annotations

import django

django.setup()

from django.urls import path

import raceway.asgi
from benchmarks.project.asgi import view
from benchmarks.project.messages import COMPACT, TEXT, event
from benchmarks.project.work import WORK, handle
from raceway import Group
from raceway.auth import AuthMiddlewareStack
from raceway.consumers import (
    AsyncConsumer,
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    WebsocketConsumer,
)
from raceway.origin import AllowedHostsOriginValidator
from raceway.routing import ChannelNameRouter, ProtocolTypeRouter, URLRouter

EVENT = event(COMPACT)


class Echo(AsyncWebsocketConsumer):
    async def receive(self, text_data=None, bytes_data=None):
        await self.send(text_data=text_data)


class SyncEcho(WebsocketConsumer):
    def receive(self, text_data=None, bytes_data=None):
        self.send(text_data=text_data)


class Room(AsyncJsonWebsocketConsumer):
    """Publishes what a client asks for: a client message, or an event that each consumer makes JSON of."""

    groups = ["room"]

    async def receive(self, text_data=None, bytes_data=None):
        if text_data == "message":
            await Group("room").abroadcast(TEXT)
        else:
            await self.group_send("room", EVENT)

    async def room_event(self, event):
        await self.send_json(event)


class Work(AsyncConsumer):
    """Takes the messages of a named channel."""

    async def work_item(self, event):
        handle(event)


routes = URLRouter(
    [path("", Echo.as_asgi()), path("sync/", SyncEcho.as_asgi()), path("room/", Room.as_asgi())]
)
bare = ProtocolTypeRouter({"http": view, "websocket": routes})
stack = ProtocolTypeRouter(
    {"http": view, "websocket": AllowedHostsOriginValidator(AuthMiddlewareStack(routes))}
)
whole = raceway.asgi.get_application()
working = ProtocolTypeRouter({"channel": ChannelNameRouter({WORK: Work.as_asgi()})})
