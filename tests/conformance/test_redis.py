"""The Redis layer passes the suite on one server: as one process, and as several."""

from __future__ import annotations

import unittest
from typing import Any

from raceway.layers.redis import RedisLayer
from raceway.testing.conformance import FrontConformance
from tests.project import database  # noqa: F401  for transactions
from tests.servers.redis import new_prefix, shared_server

from .several import several


class OnServer(FrontConformance):
    layer_class: Any = RedisLayer

    def setUp(self) -> None:
        self.server = shared_server()
        self.prefix = new_prefix()

    def make_layer(self, **options: Any) -> Any:
        return self.layer_class(hosts=[self.server.url], prefix=self.prefix, **options)

    def make_neighbour(self, **options: Any) -> RedisLayer:
        return RedisLayer(hosts=[self.server.url], prefix=self.prefix, **options)

    def make_stranger(self, **options: Any) -> RedisLayer:
        return RedisLayer(hosts=[self.server.url], prefix=new_prefix(), **options)

    async def lose_connection(self, layer: Any) -> None:
        self.server.ask("CLIENT", "KILL", "TYPE", "pubsub")


class TestRedis(OnServer, unittest.IsolatedAsyncioTestCase):
    pass


class TestSeveralProcesses(OnServer, unittest.IsolatedAsyncioTestCase):
    layer_class = several(RedisLayer)

    @unittest.skip("A mailbox of another process is full without the sender's knowledge.")
    async def test_a_full_mailbox_is_told_to_who_shares_its_process(self) -> None: ...

    @unittest.skip("What a mailbox of another process had no room for is counted there.")
    async def test_statistics(self) -> None: ...
