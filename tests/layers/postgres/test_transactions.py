"""What is sent in a transaction goes out if and only if that commits."""

from __future__ import annotations

import asyncio
import threading
import unittest
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from django.db import connections, transaction
from django.test import TestCase

from raceway.errors import ChannelFull, LayerUnavailable
from raceway.layers import Channel, Group, channel_layers, decode_event
from raceway.layers.postgres import PostgresLayer
from tests.servers.postgres import Database, new_prefix

from .ears import ARRIVAL_S, until

ALIAS = "in-transactions"


@pytest.fixture
async def layer(database: Database) -> AsyncIterator[PostgresLayer]:
    """The layer of ``ALIAS``."""
    layer = PostgresLayer(using=database.alias, prefix=new_prefix(), capacity=3)
    channel_layers.set(ALIAS, layer)
    yield layer
    channel_layers.set(ALIAS, None)
    await layer.aclose()


class Member:
    """An open channel in the group "g", in another process for all that the layer knows."""

    def __init__(self, layer: PostgresLayer, database: Database) -> None:
        self.layer = PostgresLayer(using=database.alias, prefix=layer.prefix)
        self.heard: list[Any] = []

    async def open(self) -> str:
        self.channel = await self.layer.new_channel()
        self.layer.open(self.channel, self.deliver)
        await self.layer.group_add("g", self.channel)
        return self.channel

    def deliver(self, encoded: bytes) -> bool:
        self.heard.append(decode_event(encoded)["n"])
        return True


@pytest.fixture
async def member(layer: PostgresLayer, database: Database) -> AsyncIterator[Member]:
    member = Member(layer, database)
    await member.open()
    yield member
    await member.layer.aclose()


async def number(layer: PostgresLayer, channel: str) -> Any:
    """Which message is received next."""
    return (await asyncio.wait_for(layer.receive(channel), ARRIVAL_S))["n"]


async def in_thread(work: Callable[[], object]) -> None:
    """As a view does it."""

    def call() -> None:
        try:
            work()
        finally:
            connections.close_all()

    await asyncio.to_thread(call)


@contextmanager
def taken_back(database: Database) -> Iterator[None]:
    """A transaction or a savepoint that is rolled back."""
    with suppress(ZeroDivisionError), transaction.atomic(using=database.alias):
        yield
        raise ZeroDivisionError


async def test_a_commit_sends_and_a_rollback_does_not(database: Database, member: Member) -> None:
    group, channel = Group("g", ALIAS), Channel(member.channel, ALIAS)
    is_open, may_commit = threading.Event(), threading.Event()

    def work() -> None:
        with taken_back(database):
            group.send({"type": "n", "n": "rolled back"})
        with transaction.atomic(using=database.alias):
            group.send({"type": "n", "n": 1})
            channel.send({"type": "n", "n": 2})
            is_open.set()
            may_commit.wait(20)

    working = asyncio.ensure_future(in_thread(work))
    await asyncio.to_thread(is_open.wait, 20)
    await Group("g", ALIAS).asend({"type": "n", "n": 0})
    await until(lambda: member.heard, "what is sent outside waits for nothing")
    await asyncio.sleep(0.15)
    assert member.heard == [0]
    may_commit.set()
    await working
    await until(lambda: len(member.heard) == 3, "what was committed is not heard")
    assert member.heard == [0, 1, 2]


async def test_a_savepoint_takes_back_what_was_sent_in_it(database: Database, member: Member) -> None:
    group = Group("g", ALIAS)

    def work() -> None:
        with transaction.atomic(using=database.alias):
            group.send({"type": "n", "n": 1})
            with taken_back(database):
                group.send({"type": "n", "n": "taken back"})
            with transaction.atomic(using=database.alias):
                group.send({"type": "n", "n": 2})

    await in_thread(work)
    await until(lambda: len(member.heard) == 2, "what was committed is not heard")
    assert member.heard == [1, 2]


async def test_immediate_goes_out_whatever_becomes_of_the_transaction(
    database: Database, member: Member
) -> None:
    def work() -> None:
        with taken_back(database):
            Group("g", ALIAS).send({"type": "n", "n": 1}, immediate=True)

    await in_thread(work)
    await until(lambda: member.heard == [1], "it is not heard")


async def test_the_sequencer_is_woken_at_the_commit(
    database: Database, member: Member, layer: PostgresLayer
) -> None:
    """And once for many: the rows themselves wake nobody."""
    woken = []
    layer.wake_sequencer = lambda: woken.append(1)  # type: ignore[method-assign]

    def work() -> None:
        with transaction.atomic(using=database.alias):
            for number in range(50):
                Group("g", ALIAS).send({"type": "n", "n": number})
            assert not woken

    await in_thread(work)
    assert woken == [1]
    await until(lambda: len(member.heard) == 50, "what was committed is not heard")
    assert member.heard == list(range(50))


async def test_named_channels_delays_and_named_members(database: Database, layer: PostgresLayer) -> None:
    await layer.group_add("g", "tasks")
    await layer.group_add("g", "other")

    def work() -> None:
        with transaction.atomic(using=database.alias):
            Channel("tasks", ALIAS).send({"type": "n", "n": 1})
            Group("g", ALIAS).send({"type": "n", "n": 2})
            later = Channel("tasks", ALIAS).send({"type": "n", "n": 3}, delay=100)
            Channel("tasks", ALIAS).send({"type": "n", "n": 4}, delay=100)
            assert later is not None
            assert not Channel("tasks", ALIAS).cancel(later)  # nobody else sees it yet
        assert Channel("tasks", ALIAS).cancel(later)

    await in_thread(work)
    assert [await number(layer, "tasks") for _ in range(2)] == [1, 2]
    assert await number(layer, "other") == 2
    database.pass_time(layer.prefix, 100)
    assert await number(layer, "tasks") == 4
    assert (await layer.global_statistics())["messages_count"] == 2


async def test_a_full_channel_is_told_in_the_transaction_which_stays_usable(
    database: Database, layer: PostgresLayer
) -> None:
    def work() -> None:
        with transaction.atomic(using=database.alias):
            for number in range(3):
                Channel("full", ALIAS).send({"type": "n", "n": number})
            with pytest.raises(ChannelFull):
                Channel("full", ALIAS).send({"type": "n", "n": 3})

    await in_thread(work)
    assert [await number(layer, "full") for _ in range(3)] == [0, 1, 2]
    assert layer.full_count == 1


async def test_a_transaction_on_another_database_lets_it_wait_too(database: Database, member: Member) -> None:
    other = Database(database.server)

    def work() -> None:
        with taken_back(other):
            Group("g", ALIAS).send({"type": "n", "n": "rolled back"})
        with transaction.atomic(using=other.alias):
            Group("g", ALIAS).send({"type": "n", "n": 1})

    await in_thread(work)
    await until(lambda: member.heard, "what was committed is not heard")
    assert member.heard == [1]


async def test_the_transaction_around_a_test_does_not_count(database: Database, member: Member) -> None:
    class Test(TestCase):
        databases = {database.alias}

        def test(self) -> None:
            Group("g", ALIAS).send({"type": "n", "n": 1})
            with transaction.atomic(using=database.alias):
                Group("g", ALIAS).send({"type": "n", "n": "the test never commits"})

    def work() -> None:
        result = unittest.TestResult()
        unittest.TestSuite([Test("test")]).run(result)
        assert result.wasSuccessful(), result.errors
        assert result.testsRun == 1

    await in_thread(work)
    await until(lambda: member.heard, "it is not heard")
    await asyncio.sleep(0.1)
    assert member.heard == [1]


async def test_each_thread_keeps_its_order_over_many_transactions(database: Database, member: Member) -> None:
    def work(sender: int) -> Callable[[], None]:
        def send() -> None:
            for number in range(60):
                with transaction.atomic(using=database.alias):
                    Group("g", ALIAS).send({"type": "n", "n": (sender, number)})

        return send

    await asyncio.gather(*[in_thread(work(sender)) for sender in range(4)])
    await until(lambda: len(member.heard) == 240, "what was committed is not heard")
    for sender in range(4):
        assert [n for who, n in member.heard if who == sender] == list(range(60))


async def test_who_has_not_migrated_is_told_to(database: Database) -> None:
    empty = Database(database.server)
    layer = PostgresLayer(using=empty.alias)

    def send() -> None:
        with transaction.atomic(using=empty.alias):
            writer = layer.in_transaction()
            assert writer is not None
            with pytest.raises(LayerUnavailable, match=r"run manage\.py migrate"):
                writer.publish_from_thread("g", layer.prepare({"type": "a"}))

    empty.run("DROP TABLE raceway_postgres_outbox")
    await in_thread(send)
    await layer.aclose()
