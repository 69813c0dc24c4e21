from __future__ import annotations

from raceway import Channel, Group
from raceway.consumers import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    HttpConsumer,
    SseConsumer,
    WebsocketConsumer,
)


class Echo(AsyncWebsocketConsumer):
    async def receive(self, text_data=None, bytes_data=None):
        if text_data == "close":
            await self.close(4001, "bye")
        elif text_data == "fail":
            raise ZeroDivisionError("as it was asked to")
        else:
            await self.send(text_data, bytes_data)


class Room(AsyncJsonWebsocketConsumer):
    groups = ["room"]

    async def receive_json(self, content):
        if "event" in content:
            await self.group_send(
                "room", {"type": "room.message", "text": content["event"], "keys": {7: "seven"}}
            )
        elif "close" in content:
            await self.group_send("room", {"type": "websocket.close", "code": 4002, "reason": "over"})
        else:
            await Group("room").abroadcast(content, exclude=self.channel_name, policy="drop_oldest")

    async def room_message(self, event):
        await self.send_json([event["text"], event["keys"][7], len(self.channel_name) > 0])

    async def disconnect(self, code):
        await Group("watchers").abroadcast(f"left with {code}")


class SyncRoom(WebsocketConsumer):
    def connect(self):
        Group("room").add(self.channel_name)
        self.accept()
        self.send("joined")

    def receive(self, text_data=None, bytes_data=None):
        if text_data == "leave":
            Group("room").discard(self.channel_name)
            self.send("left")
        elif text_data == "myself":
            Channel(self.channel_name).send({"type": "room.message", "text": "to myself"})
        else:
            Group("room").send({"type": "room.message", "text": text_data, "keys": {7: "sync"}})

    def room_message(self, event):
        self.send(f"sync {event['text']}")


class Watcher(AsyncWebsocketConsumer):
    groups = ["watchers"]

    async def receive(self, text_data=None, bytes_data=None):
        await self.send(str(await Group("room").acount()))


class Remembering(AsyncWebsocketConsumer):
    async def connect(self):
        await self.accept(headers=[(b"x-served-by", b"raceway")])
        await self.send(str(await self.scope["session"].aget("name")))


class Refusing(AsyncWebsocketConsumer):
    async def connect(self):
        await self.close()


async def function(socket):
    async for message in socket:
        await socket.send({"said": message, "to": socket.kwargs["name"]})


class HttpEcho(HttpConsumer):
    def handle(self, body):
        self.send_response(200, b"%d bytes" % len(body), headers={"X-Served-By": "raceway"})


class LongPoll(HttpConsumer):
    groups = ["room"]

    async def handle(self, body):
        await self.send_headers(status=200, headers={"Content-Type": "text/plain"})
        await self.send_body(b"wait for ", more_body=True)

    async def room_message(self, event):
        await self.send_body(event["text"].encode())


class Events(SseConsumer):
    groups = ["room"]

    async def room_message(self, event):
        await self.send(event["text"], event="room")
