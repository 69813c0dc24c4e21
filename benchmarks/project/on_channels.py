"""The consumers and applications of the project, on Channels, as its documentation writes them."""

# ruff: noqa: E402  Django is set up before models are imported

from __future__ import annotations

import django

django.setup()

from channels.auth import AuthMiddlewareStack
from channels.consumer import AsyncConsumer
from channels.generic.websocket import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    WebsocketConsumer,
)
from channels.routing import ChannelNameRouter, ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.urls import path

from benchmarks.project.asgi import view
from benchmarks.project.messages import SPACED, TEXT, event
from benchmarks.project.work import WORK, handle

EVENT = event(SPACED)


class Echo(AsyncWebsocketConsumer):
    async def receive(self, text_data=None, bytes_data=None):
        await self.send(text_data=text_data)


class SyncEcho(WebsocketConsumer):
    def receive(self, text_data=None, bytes_data=None):
        self.send(text_data=text_data)


class Room(AsyncJsonWebsocketConsumer):
    """Publishes what a client asks for: text that each consumer sends as it is, or makes JSON of."""

    groups = ["room"]

    async def receive(self, text_data=None, bytes_data=None):
        if text_data == "message":
            await self.channel_layer.group_send("room", {"type": "room.text", "text": TEXT})
        else:
            await self.channel_layer.group_send("room", EVENT)

    async def room_text(self, event):
        await self.send(text_data=event["text"])

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
working = ProtocolTypeRouter({"channel": ChannelNameRouter({WORK: Work.as_asgi()})})
