"""The code on the slides of "Teaching a mature framework new tricks" (Rony Sheer): as it stands there, but for imports
and names of today. What a slide got wrong warns, and works. Each test quotes its slide."""

from __future__ import annotations

import json
import logging
import warnings

import pytest

from raceway.messaging import JsonWebsocketConsumer, route_class
from raceway.messaging.message import _told
from tests.messaging.serving import serving, wait_for_members
from tests.server.running import DEADLINE_S

pytestmark = pytest.mark.shell


@pytest.fixture(autouse=True)
def untold():
    """Each test is told what is told once."""
    _told.clear()


def ws_message(message):
    ...
    message.reply_channel.send(
        {
            "text": message.context["text"],
        }
    )


def test_slide_function_consumer(caplog: pytest.LogCaptureFixture) -> None:
    """ "Consumer: Listens to a channel", a function; ``message.context`` (sic)."""
    with serving({"websocket.receive": ws_message}) as served, served.socket() as socket:
        for text in ("one", "two"):
            socket.send(text)
            assert socket.recv(DEADLINE_S) == text
    told = [record for record in caplog.records if "message.content" in record.message]
    assert [record.levelno for record in told] == [logging.WARNING]


with warnings.catch_warnings(record=True) as chat_warnings:
    warnings.simplefilter("always")

    class ChatConsumer(JsonWebsocketConsumer):
        strict_ordering = False
        slight_ordering = True

        def connection_groups(self, **kwargs):
            return ["friends"]

        def receive(self, content):
            self.group_send(content)

    class SketchConsumer(JsonWebsocketConsumer):
        strict_ordering = False
        slight_ordering = True

        def connection_groups(self, **kwargs):
            return ["draw"]

        def receive(self, content, **kwargs):
            self.group_send("draw", content)


channel_routing = [
    route_class(ChatConsumer, path=r"^/chat"),
    route_class(SketchConsumer, path=r"^/draw"),
]


def test_slight_ordering_warns_and_changes_nothing() -> None:
    told = [str(warning.message) for warning in chat_warnings]
    assert len(told) == 2
    assert told[0].startswith("ChatConsumer.slight_ordering = True changes nothing")


def test_slide_class_consumer(caplog: pytest.LogCaptureFixture) -> None:
    """ "Consumer: Listens to a channel", a class, with "Routing: Look familiar?"; ``group_send`` without a name."""
    with (
        serving(channel_routing) as served,
        served.socket("/chat") as one,
        served.socket("/chat/room") as two,
    ):
        wait_for_members("friends", 2)
        for said in ({"say": "hello"}, ["again"]):
            one.send(json.dumps(said))
            assert json.loads(one.recv(DEADLINE_S)) == json.loads(two.recv(DEADLINE_S)) == said
    told = [record for record in caplog.records if "without the name of a group" in record.message]
    assert [record.levelno for record in told] == [logging.WARNING]


def test_slide_sketch() -> None:
    """ "Daphne" and "Javascript": what the page sends on ``ws://host/draw``."""
    with serving(channel_routing) as served, served.socket("/draw") as one, served.socket("/draw") as two:
        wait_for_members("draw", 2)
        one.send(json.dumps({"x": 3, "y": 4}))
        assert json.loads(two.recv(DEADLINE_S)) == {"x": 3, "y": 4}


def test_slide_a_path_of_no_route_is_told_nothing() -> None:
    with serving(channel_routing) as served, served.socket("/draw") as one, served.socket("/other") as other:
        wait_for_members("draw", 1)
        other.send(json.dumps({"x": 3, "y": 4}))
        one.send(json.dumps({"x": 5, "y": 6}))
        assert json.loads(one.recv(DEADLINE_S)) == {"x": 5, "y": 6}
