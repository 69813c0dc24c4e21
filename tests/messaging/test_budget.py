"""What one message to a message consumer may cost above the server: Python calls inside the package."""

from __future__ import annotations

from raceway import Group
from raceway.messaging import MessageApplication, route
from tests.consumers.driver import Socket, settle
from tests.consumers.test_budget import calls_during


async def connect(message):
    Group("room").add(message.reply_channel)


async def receive(message):
    await message.reply_channel.asend({"text": message["text"]})


async def opened() -> Socket:
    routing = [route("websocket.connect", connect), route("websocket.receive", receive, path="^/")]
    socket = Socket(MessageApplication(routing).raceway_begin, lane=True)
    await socket.connect()
    await settle()
    return socket


async def test_an_echo() -> None:
    socket = await opened()

    async def echo() -> None:
        socket.say("hello")
        assert await socket.text() == "hello"

    calls = await calls_during(echo)
    sending = calls.index("Channel.asend")
    assert sending <= 25, calls  # what the consumer is given; the rest is what it does
    await socket.goodbye()


async def test_one_more_recipient_costs_one_call_and_the_push() -> None:
    async def cost(size: int) -> int:
        sockets = [await opened() for _ in range(size)]

        async def publish() -> None:
            await Group("room").asend({"text": "news"})
            await settle()

        calls = len(await calls_during(publish))
        for socket in sockets:
            assert await socket.text() == "news"
            await socket.goodbye()
        return calls

    few, many = await cost(2), await cost(52)
    assert (many - few) / 50 == 1  # the fake server's push is not in the package
