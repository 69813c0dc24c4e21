"""Consumers as users of Channels write them, over the layer that the settings name."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.interop.project.settings")

import django

django.setup()

from asgiref.sync import async_to_sync  # noqa: E402  after Django's set-up, as Channels wants it
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.urls import path  # noqa: E402


class Async(AsyncWebsocketConsumer):
    groups = ["room"]

    async def receive(self, text_data=None, bytes_data=None):
        if text_data == "myself":
            await self.channel_layer.send(self.channel_name, {"type": "room.message", "text": "to myself"})
        else:
            await self.channel_layer.group_send("room", {"type": "room.message", "text": text_data})

    async def room_message(self, event):
        await self.send(text_data=event["text"])


class Sync(WebsocketConsumer):
    def connect(self):
        async_to_sync(self.channel_layer.group_add)("room", self.channel_name)
        self.accept()

    def disconnect(self, code):
        async_to_sync(self.channel_layer.group_discard)("room", self.channel_name)

    def receive(self, text_data=None, bytes_data=None):
        message = {"type": "room.message", "text": text_data}
        if text_data == "myself":
            message["text"] = "to myself"
            async_to_sync(self.channel_layer.send)(self.channel_name, message)
        else:
            async_to_sync(self.channel_layer.group_send)("room", message)

    def room_message(self, event):
        self.send(text_data=event["text"])


application = ProtocolTypeRouter(
    {"websocket": URLRouter([path("async/", Async.as_asgi()), path("sync/", Sync.as_asgi())])}
)
