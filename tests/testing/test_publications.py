"""``published`` and ``assert_published``."""

from __future__ import annotations

import asyncio
import threading
from unittest import TestCase

import pytest
from django.test import override_settings

import tests.project  # noqa: F401  Django's settings
from raceway.layers import Channel, Group, get_channel_layer
from raceway.layers.user import User
from raceway.testing import (
    ChannelLayersMixin,
    Published,
    assert_published,
    connect,
    fresh_channel_layers,
    published,
)
from raceway.testing.publications import Publication
from tests.testing import consumers

EVENT = {"type": "chat.message", "text": "hi"}


def test_what_is_sent_from_plain_code() -> None:
    with published() as sent:
        Group("chat").send(EVENT)
        Channel("thumbnails").send({"type": "make", "id": 1})
    assert sent == [
        Publication("group", "chat", EVENT),
        Publication("channel", "thumbnails", {"type": "make", "id": 1}),
    ]
    assert sent.to("chat") == sent.to(Group("chat")) == [EVENT]
    assert sent.to(Channel("chat")) == []
    assert sent.to(Channel("thumbnails")) == sent.to("thumbnails") != []
    Group("chat").send(EVENT)
    assert len(sent) == 2


async def test_what_is_sent_from_coroutines_and_by_the_layer_itself() -> None:
    layer = get_channel_layer()
    assert layer is not None
    with published() as sent:
        await Group("a").asend(EVENT)
        await Group("b").abroadcast("text")
        await Channel("c").asend(EVENT)
        await layer.group_send("d", EVENT)
        await layer.send("e", EVENT)
    assert [(one.kind, one.name) for one in sent] == [
        ("group", "a"),
        ("group", "b"),
        ("channel", "c"),
        ("group", "d"),
        ("channel", "e"),
    ]


async def test_what_consumers_send_and_they_still_get_it() -> None:
    async with connect(consumers.Chat, kwargs={"room": "moon"}) as socket:
        with assert_published("chat.moon", {"type": "chat.message", "from": "None", "text": "hi"}, times=1):
            await socket.send_json({"text": "hi"})
            await socket.expect_json({"from": "None", "text": "hi"})


def test_what_other_threads_send() -> None:
    with published() as sent:
        thread = threading.Thread(target=Group("chat").send, args=(EVENT,))
        thread.start()
        thread.join()
    sent.assert_published("chat", EVENT)


def test_a_group_with_named_channels_is_sent_to_once() -> None:
    Group("workers").add("thumbnails")
    with published() as sent:
        Group("workers").send(EVENT)
    assert len(sent) == 1


def test_one_context_inside_another() -> None:
    with published() as outer:
        with published() as inner:
            Group("chat").send(EVENT)
        Group("chat").send(EVENT)
    assert (len(outer), len(inner)) == (2, 1)


@pytest.mark.parametrize(
    "expected",
    [
        {"type": "websocket.send", "text": '{"a":[1,2]}'},
        {"text": '{"a":[1,2]}'},
        '{"a":[1,2]}',
        {"a": [1, 2]},
        {"a": (1, 2)},
        lambda message: message["type"] == "websocket.send",
        ...,
    ],
)
def test_the_ways_to_say_what_a_client_message_is(expected: object) -> None:
    with assert_published("chat", expected):
        Group("chat").broadcast({"a": [1, 2]})


@pytest.mark.parametrize(
    "other",
    [{"text": "hi"}, "hi", b"hi", {"type": "chat.message"}, lambda message: False, {"bytes": None}],
)
def test_what_is_something_else(other: object) -> None:
    with published() as sent:
        Group("chat").send(EVENT)
        Group("chat").broadcast("[]")
    with pytest.raises(AssertionError):
        sent.assert_published("chat", other)


def test_binary_messages() -> None:
    with published() as sent:
        Group("chat").broadcast(b"\x00")
    for expected in (b"\x00", {"bytes": b"\x00"}):
        sent.assert_published("chat", expected)


def test_users_have_groups() -> None:
    with assert_published(User(1), {"type": "hello"}):
        User(1).send({"type": "hello"})


def test_how_often() -> None:
    with published() as sent:
        Group("chat").send(EVENT)
        Group("chat").send(EVENT)
    sent.assert_published("chat", EVENT, times=2)
    with pytest.raises(AssertionError, match="to be sent to 'chat' 1 times, but 2 times"):
        sent.assert_published("chat", EVENT, times=1)
    sent.assert_published("moon", times=0)


def test_a_failure_shows_what_was_sent() -> None:
    with pytest.raises(AssertionError, match=r"a message to be sent to 'chat'.\nNothing was sent."):
        Published().assert_published("chat")
    with published() as sent:
        Group("chat").send(EVENT)
    with pytest.raises(
        AssertionError,
        match=r"another message:\nexpected: \{'type': 'x'\}\nreceived: \{'type': 'chat",
    ):
        sent.assert_published(Group("chat"), {"type": "x"})
    with pytest.raises(AssertionError, match=r"to 'moon'.\nSent were:\n  group 'chat': \{'"):
        sent.assert_published("moon", {"type": "x"})
    with pytest.raises(AssertionError, match=r"never_true.* to be sent"):
        sent.assert_published("chat", never_true)


def test_that_nothing_is_sent() -> None:
    Published().assert_nothing_published()
    with published() as sent:
        Group("chat").send(EVENT)
    sent.assert_nothing_published("moon")
    with pytest.raises(AssertionError, match=r"nothing to be sent, but this was:\n  group 'chat'"):
        sent.assert_nothing_published()


def test_what_is_not_carried_is_not_published() -> None:
    with published() as sent, pytest.raises(TypeError):
        Group("chat").send({"type": "x", "what": object()})
    sent.assert_nothing_published()


def test_each_test_has_fresh_layers() -> None:
    class Tests(ChannelLayersMixin, TestCase):
        def test(self):
            self.layer = get_channel_layer()

    before = get_channel_layer()
    first, second = Tests("test"), Tests("test")
    assert first.run().wasSuccessful()
    assert second.run().wasSuccessful()
    assert len({id(layer) for layer in (before, first.layer, second.layer)}) == 3
    assert get_channel_layer() is before


MEMORY = {"BACKEND": "raceway.layers.memory.MemoryLayer", "CONFIG": {"capacity": 3}}
LAYERS = {
    "default": MEMORY,
    "tuned": {"BACKEND": "no.such.Layer", "CONFIG": {"hosts": ["x"], "expiry": 7, "group_expiry": 8}},
    "own": {**MEMORY, "TEST_CONFIG": {"capacity": 5}},
}


@override_settings(CHANNEL_LAYERS=LAYERS)
def test_fresh_layers_keep_their_limits() -> None:
    with fresh_channel_layers():
        default, tuned, own = (get_channel_layer(alias) for alias in LAYERS)
        assert (default.capacity, tuned.capacity, own.capacity) == (3, 100, 5)
        assert (tuned.expiry, tuned.group_expiry) == (7, 8)


def never_true(message):
    return False


async def test_an_event_loop_that_waits() -> None:
    """What a coroutine sends later is noted when it is sent."""
    with published() as sent:
        task = asyncio.ensure_future(Group("chat").asend(EVENT))
        sent.assert_nothing_published()
        await task
    sent.assert_published("chat")


def test_what_is_sent_for_later_is_noted_with_its_delay() -> None:
    with published() as sent:
        token = Channel("thumbnails").send({"type": "make"}, delay=30)
    assert token
    assert sent == [Publication("channel", "thumbnails", {"type": "make"}, delay_s=30)]
    assert str(sent[0]) == "channel 'thumbnails' in 30 s: {'type': 'make'}"
    with pytest.raises(AssertionError, match="in 30 s"):
        sent.assert_nothing_published()


async def test_what_coroutines_send_for_later_is_noted_once() -> None:
    with published() as sent:
        await Channel("thumbnails").asend({"type": "make"}, delay=1.5)
    assert [one.delay_s for one in sent] == [1.5]
