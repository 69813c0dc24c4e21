"""The PostgreSQL layer passes the suite: as one process, and as several."""

from __future__ import annotations

import unittest
from typing import Any

from django.db import transaction

from raceway import clock
from raceway.layers.postgres import PostgresLayer
from raceway.testing.conformance import FrontConformance
from tests.servers.postgres import new_prefix, shared_database

from .several import several


class OnPostgres(FrontConformance):
    layer_class: Any = PostgresLayer

    def setUp(self) -> None:
        self.database = shared_database()
        self.prefix = new_prefix()

    def make_layer(self, **options: Any) -> Any:
        return self.layer_class(using=self.database.alias, prefix=self.prefix, **options)

    def make_neighbour(self, **options: Any) -> PostgresLayer:
        return PostgresLayer(using=self.database.alias, prefix=self.prefix, **options)

    def make_stranger(self, **options: Any) -> PostgresLayer:
        return PostgresLayer(using=self.database.alias, prefix=new_prefix(), **options)

    async def pass_time(self, seconds: float) -> None:
        self.database.pass_time(self.prefix, seconds)
        clock.move(seconds)
        self.addCleanup(clock.move, -seconds)

    def transaction(self) -> Any:
        return transaction.atomic(using=self.database.alias)

    async def lose_connection(self, layer: Any) -> None:
        self.database.kill_sessions("listener")


class TestPostgres(OnPostgres, unittest.IsolatedAsyncioTestCase):
    pass


class TestSeveralProcesses(OnPostgres, unittest.IsolatedAsyncioTestCase):
    layer_class = several(PostgresLayer)

    @unittest.skip("A mailbox of another process is full without the sender's knowledge.")
    async def test_a_full_mailbox_is_told_to_who_shares_its_process(self) -> None: ...

    @unittest.skip("What a mailbox of another process had no room for is counted there.")
    async def test_statistics(self) -> None: ...
