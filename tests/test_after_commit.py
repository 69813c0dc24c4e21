"""What is sent inside ``atomic`` waits for the commit, by whatever it is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.test import TestCase, override_settings

from raceway import Channel, Group, User, get_channel_layer
from raceway.consumers import WebsocketConsumer
from raceway.layers.memory import MemoryLayer
from tests.consumers.driver import Socket
from tests.project.database import migrate


class Recorder(MemoryLayer):
    """Notes where messages go."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[str] = []

    def send_from_thread(self, channel: str, message: Any) -> None:
        self.sent.append(channel)

    def send_later_from_thread(self, channel: str, *args: Any) -> None:
        self.sent.append(channel)

    def publish_from_thread(self, group: str, *args: Any) -> None:
        self.sent.append(group)

    def start_publish(self, group: str, *args: Any) -> Any:
        self.sent.append(group)
        return asyncio.sleep(0)

    def start_send(self, channel: str, *args: Any) -> Any:
        self.sent.append(channel)
        return asyncio.sleep(0)


@pytest.fixture
def sent() -> Iterator[list[str]]:
    with override_settings(CHANNEL_LAYERS={"default": {"BACKEND": "tests.test_after_commit.Recorder"}}):
        layer = get_channel_layer()
        assert isinstance(layer, Recorder)
        yield layer.sent
    connections.close_all()


HELLO = {"type": "hello"}
IMMEDIATELY = {"immediate": True}

WAYS: dict[str, Callable[..., Any]] = {
    "place": lambda **options: Group("place").send(HELLO, **options),
    "crowd": lambda **options: Group("crowd").broadcast("hello", **options),
    "door": lambda **options: Channel("door").send(HELLO, **options),
    "later": lambda **options: Channel("later").send(HELLO, delay=60, **options),
    "raceway.user.7": lambda **options: User(7).send(HELLO, **options),
    "raceway.user.8": lambda **options: User(8).broadcast({"unread": 3}, **options),
}
ways = pytest.mark.parametrize("name", WAYS)


@ways
def test_it_waits_for_the_commit(sent: list[str], name: str) -> None:
    with transaction.atomic():
        WAYS[name]()
        with transaction.atomic():
            WAYS[name]()
        assert sent == []
    assert sent == [name, name]


@ways
def test_outside_a_transaction_or_when_told_so_it_does_not(sent: list[str], name: str) -> None:
    WAYS[name]()
    with transaction.atomic():
        WAYS[name](**IMMEDIATELY)
        assert sent == [name, name]
    assert sent == [name, name]


@ways
def test_what_is_rolled_back_is_never_sent(sent: list[str], name: str) -> None:
    with suppress(LookupError), transaction.atomic():
        WAYS[name]()
        raise LookupError
    assert sent == []


def test_a_savepoint_that_is_rolled_back_takes_its_messages_along(sent: list[str]) -> None:
    with transaction.atomic():
        Group("kept").send(HELLO)
        with suppress(LookupError), transaction.atomic():
            Group("lost").send(HELLO)
            with transaction.atomic():
                Group("lost-too").send(HELLO)
            raise LookupError
        Group("kept-too").send(HELLO)
    assert sent == ["kept", "kept-too"]


def test_a_mistake_is_raised_where_it_is_made(sent: list[str]) -> None:
    with transaction.atomic(), pytest.raises(TypeError, match=r"message\['when'\]"):
        Group("place").send({"type": "hello", "when": object()})
    assert sent == []


@pytest.fixture
def _other_database(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    other = {**connections.settings["default"], "NAME": str(tmp_path / "other.sqlite3")}
    monkeypatch.setitem(connections.settings, "other", other)
    yield
    connections["other"].close()
    del connections["other"]


@pytest.mark.usefixtures("_other_database")
def test_a_transaction_on_any_database_counts(sent: list[str]) -> None:
    connection.ensure_connection()
    with transaction.atomic(using="other"):
        Group("place").send(HELLO)
        assert sent == []
    assert sent == ["place"]


@pytest.mark.usefixtures("_other_database")
def test_with_transactions_on_several_the_first_of_them_in_the_settings_decides(sent: list[str]) -> None:
    with transaction.atomic(using="other"):
        with transaction.atomic(using="default"):
            Group("place").send(HELLO)
        assert sent == ["place"]


async def test_a_def_handlers_group_send_waits(sent: list[str]) -> None:
    seen: list[list[str]] = []

    class Writer(WebsocketConsumer):
        def receive(self, text_data=None, bytes_data=None):
            with transaction.atomic():
                self.group_send("place", HELLO)
                seen.append(list(sent))
                if text_data == "roll back":
                    transaction.set_rollback(True)
            seen.append(list(sent))
            self.send("done")

    socket = Socket(Writer.as_asgi(), lane=True)
    await socket.connect()
    for text in ("commit", "roll back"):
        socket.say(text)
        assert await socket.text() == "done"
    await socket.goodbye()
    assert seen == [[], ["place"], ["place"], ["place"]]


async def test_coroutines_are_in_no_transaction(sent: list[str]) -> None:
    await Group("place").asend(HELLO)
    await Group("crowd").abroadcast("hello")
    await Channel("door").asend(HELLO)
    await User(7).asend(HELLO)
    assert sent == ["place", "crowd", "door", "raceway.user.7"]


@override_settings(
    CHANNEL_LAYERS={"default": {"BACKEND": "tests.test_after_commit.Recorder", "TEST_CONFIG": {}}}
)
class InATestCase(TestCase):
    """Django wraps each of its test cases in a transaction that never commits: that one does not count."""

    @classmethod
    def setUpClass(cls) -> None:
        migrate()
        super().setUpClass()

    def setUp(self) -> None:
        self.sent.clear()

    @property
    def sent(self) -> list[str]:
        layer = get_channel_layer()
        assert isinstance(layer, Recorder)
        return layer.sent

    def test_it_is_sent_at_once(self) -> None:
        assert connection.in_atomic_block
        Group("place").send(HELLO)
        assert self.sent == ["place"]

    def test_a_transaction_of_the_code_under_test_counts(self) -> None:
        """The test kit's pytest plugin sees its end."""
        with transaction.atomic():
            Group("place").send(HELLO)
            assert self.sent == []
        assert self.sent == ["place"]
