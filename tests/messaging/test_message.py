from __future__ import annotations

import logging

import pytest

from raceway import Channel
from raceway.messaging import Message
from raceway.messaging.message import _told


def message(**content: object) -> Message:
    return Message(dict(content), "websocket.receive")


def test_it_reads_and_writes_like_a_dict() -> None:
    said = message(path="/", text="hello")
    said["text"] = "changed"
    assert said["text"] == said.content["text"] == said.get("text") == "changed"
    assert "path" in said
    assert "bytes" not in said
    assert said.get("bytes") is None
    assert said.get("bytes", b"") == b""
    assert list(said) == list(said.keys()) == ["path", "text"]
    assert list(said.values()) == ["/", "changed"]
    assert dict(said.items()) == said.content
    with pytest.raises(KeyError):
        said["bytes"]


def test_its_channels() -> None:
    said = Message({"reply_channel": "websocket.send.x!1"}, "websocket.receive", "other")
    assert (said.channel.name, said.channel.alias) == ("websocket.receive", "other")
    assert isinstance(said.reply_channel, Channel)
    assert (str(said.reply_channel), said.reply_channel.alias) == ("websocket.send.x!1", "other")
    assert message().reply_channel is None


def test_its_layer(layer: object) -> None:
    assert message().channel_layer is layer


def test_a_copy_shares_nothing() -> None:
    said = message(headers=[[b"host", b"here"]])
    copy = said.copy()
    copy["headers"][0][1] = b"there"
    assert said["headers"] == [[b"host", b"here"]]
    assert copy.channel.name == said.channel.name


def test_context_is_content_and_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    _told.clear()
    said = message(text="x")
    assert said.context is said.content
    assert said.context["text"] == "x"
    assert [(one.levelno, one.message) for one in caplog.records] == [
        (logging.WARNING, "message.context is called message.content: write that.")
    ]


def test_it_says_what_it_is() -> None:
    assert repr(message(path="/", text="x")) == "<Message on websocket.receive with path, text>"
    assert repr(message()) == "<Message on websocket.receive with nothing>"
