"""Message consumers over another maker's channel layer, which knows neither pushes nor threads."""

from __future__ import annotations

import json

import pytest

from raceway import Group
from raceway.layers import channel_layers
from raceway.messaging import MessageApplication
from tests.conformance.plain import PlainLayer
from tests.messaging.serving import serving
from tests.messaging.test_http import ask
from tests.server.running import DEADLINE_S

pytestmark = pytest.mark.shell


@pytest.fixture(autouse=True)
def foreign(layer: object) -> None:
    channel_layers.set("default", PlainLayer())


def connect(message):
    Group("chat").add(message.reply_channel)
    message.reply_channel.send({"accept": True, "text": "welcome"})


def receive(message):
    if message["text"] == "bye":
        message.reply_channel.send({"text": "bye", "close": 4000})
    else:
        Group("chat").send({"text": json.dumps([message["text"], message["order"]])})


async def request(message):
    await message.reply_channel.asend({"status": 200, "content": b"answer"})


ROUTING = {"websocket.connect": connect, "websocket.receive": receive, "http.request": request}


def test_sockets_and_requests() -> None:
    with serving(MessageApplication(ROUTING)) as served:
        with served.socket() as one, served.socket() as two:
            assert [one.recv(DEADLINE_S), two.recv(DEADLINE_S)] == ["welcome", "welcome"]
            for number in range(1, 6):
                one.send("hello")
                for socket in (one, two):
                    assert json.loads(socket.recv(DEADLINE_S)) == ["hello", number]
            one.send("bye")
            assert one.recv(DEADLINE_S) == "bye"
            one.close()
            assert one.close_code == 4000
        assert ask(served).said == b"answer"


def test_a_handshake_is_accepted_though_the_answer_takes_its_way_through_the_layer() -> None:
    with (
        serving(
            MessageApplication({"websocket.receive": receive, "websocket.connect": lambda message: None})
        ) as served,
        served.socket() as socket,
    ):
        socket.send("bye")
        assert socket.recv(DEADLINE_S) == "bye"
