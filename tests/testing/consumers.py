"""Consumers that the kit's own tests talk to."""

from __future__ import annotations

import asyncio

from raceway.consumers import AsyncJsonWebsocketConsumer, AsyncWebsocketConsumer
from tests.project.consumers import Echo  # noqa: F401  one of them


class Chat(AsyncJsonWebsocketConsumer):
    """Everybody in the room hears everybody; ``url_route`` names the room."""

    @property
    def groups(self):
        return [f"chat.{self.scope['url_route']['kwargs']['room']}"]

    async def receive_json(self, content):
        user = self.scope.get("user")
        message = {"type": "chat.message", "from": str(user), "text": content["text"]}
        await self.group_send(self.groups[0], message)

    async def chat_message(self, event):
        await self.send_json({"from": event["from"], "text": event["text"]})


class Refusing(AsyncWebsocketConsumer):
    async def connect(self):
        await self.close(4003)


class Closing(AsyncWebsocketConsumer):
    async def receive(self, text_data=None, bytes_data=None):
        await self.close(4001, "enough")


class Broken(AsyncWebsocketConsumer):
    async def receive(self, text_data=None, bytes_data=None):
        raise ZeroDivisionError("in the consumer")


class BrokenAtConnect(AsyncWebsocketConsumer):
    async def connect(self):
        raise LookupError("no such room")


class Stubborn(AsyncWebsocketConsumer):
    disconnect_grace_s = 60

    async def receive(self, text_data=None, bytes_data=None):
        await asyncio.Event().wait()


class Choosy(AsyncWebsocketConsumer):
    async def connect(self):
        await self.accept(self.scope["subprotocols"][-1], headers=[(b"X-Moon", b"full")])


async def answers_404(scope, receive, send):
    await receive()
    await send({"type": "websocket.http.response.start", "status": 404, "headers": []})
    await send({"type": "websocket.http.response.body", "body": b"no"})


async def silent(scope, receive, send):
    """An application that never answers."""
    await asyncio.Event().wait()


async def returns_at_once(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
