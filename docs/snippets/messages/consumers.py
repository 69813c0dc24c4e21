from raceway import Channel, Group
from raceway.errors import DenyConnection
from raceway.messaging import JsonWebsocketConsumer, WebsocketDemultiplexer

lines = []


def connect(message, room):
    if room == "vault":
        raise DenyConnection
    Group(f"chat-{room}").add(message.reply_channel)


def receive(message, room):
    Group(f"chat-{room}").send({"text": message["text"]})
    Channel("log").send({"room": room, "text": message["text"]})


def write_down(message):
    lines.append((message["room"], message["text"]))


async def report(message):
    await message.reply_channel.asend({"status": 202, "content": f"{len(message['body'])} bytes"})


class Sketch(JsonWebsocketConsumer):
    groups = ["draw"]

    def receive(self, content, **kwargs):
        self.group_send("draw", content)


class Sums(JsonWebsocketConsumer):
    def receive(self, content, multiplexer, **kwargs):
        multiplexer.send({"sum": sum(content["numbers"])})


class Streams(WebsocketDemultiplexer):
    consumers = {"sums": Sums}
