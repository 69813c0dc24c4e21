from __future__ import annotations

import json
import logging
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils.translation import gettext_lazy

from raceway.consumers import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from tests.consumers.conftest import Open


class Echo(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content):
        await self.send_json(content)


class SyncEcho(JsonWebsocketConsumer):
    def receive_json(self, content):
        self.send_json(content)


@pytest.mark.parametrize("consumer", [Echo, SyncEcho])
async def test_json_in_and_out(open_socket: Open, consumer: Any) -> None:
    socket = open_socket(consumer)
    await socket.connect()
    for content in ({"a": [1, None, "ü"]}, [], 0, "", None, False):
        socket.say(json.dumps(content))
        assert json.loads(await socket.text()) == content
    await socket.goodbye()


@pytest.mark.parametrize("consumer", [Echo, SyncEcho])
@pytest.mark.parametrize(
    ("message", "code"), [("{", 1007), ("", 1007), ("NaN", 1007), (b"{}", 1003), ("[" * 5000, 1007)]
)
async def test_what_is_not_json_closes_without_a_traceback(
    open_socket: Open, consumer: Any, message: Any, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    socket = open_socket(consumer)
    await socket.connect()
    with caplog.at_level(logging.INFO):
        socket.say(message)
        assert await socket.next() == {"type": "websocket.close", "code": code}
        await socket.end()
    assert [(record.levelname, record.exc_info) for record in caplog.records] == [("INFO", None)]


async def test_on_error_can_answer_a_bad_message(open_socket: Open) -> None:
    class Patient(Echo):
        async def on_error(self, error, event):
            await self.send_json({"error": str(error), "was": event["text"]})

    socket = open_socket(Patient)
    await socket.connect()
    socket.say("{")
    answer = json.loads(await socket.text())
    assert answer["was"] == "{"
    assert answer["error"].startswith("The message is not JSON")
    socket.say("1")
    assert await socket.text() == "1"


async def test_what_django_code_holds_can_be_sent(open_socket: Open) -> None:
    class Rich(AsyncJsonWebsocketConsumer):
        async def connect(self):
            self.accept()
            self.send_json(
                {1: Decimal("1.20"), "d": timedelta(days=1), "l": gettext_lazy("hello"), "s": {7}}, close=4000
            )

    socket = open_socket(Rich)
    await socket.connect()
    assert json.loads(await socket.text()) == {"1": "1.20", "d": "P1DT00H00M00S", "l": "hello", "s": [7]}
    assert await socket.next() == {"type": "websocket.close", "code": 4000}


@pytest.mark.parametrize("base", [AsyncJsonWebsocketConsumer, JsonWebsocketConsumer])
async def test_own_encoders_may_be_def_or_async_def(open_socket: Open, base: Any) -> None:
    class Plain(base):
        @classmethod
        def decode_json(cls, text_data):
            return text_data.split(",")

        @classmethod
        def encode_json(cls, content):
            return "|".join(content)

        async def receive_json(self, content):
            await self.send_json(content)

    class Async(Plain):
        @classmethod
        async def decode_json(cls, text_data):
            if text_data == "bad":
                raise ValueError("bad")
            return text_data.split(";")

        @classmethod
        async def encode_json(cls, content):
            return "&".join(content)

    socket = open_socket(Plain)
    await socket.connect()
    socket.say("a,b")
    assert await socket.text() == "a|b"
    socket = open_socket(Async)
    await socket.connect()
    socket.say("a;b")
    assert await socket.text() == "a&b"
    socket.say("bad")
    assert await socket.next() == {"type": "websocket.close", "code": 1007}


async def test_super_receive_passes_more_arguments(open_socket: Open) -> None:
    class More(AsyncJsonWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None, **kwargs):
            await super().receive(text_data, bytes_data, extra=1)

        async def receive_json(self, content, **kwargs):
            await self.send_json([content, kwargs])

    socket = open_socket(More)
    await socket.connect()
    socket.say("0")
    assert await socket.text() == '[0,{"extra":1}]'
