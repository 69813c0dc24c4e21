"""The Redis layer passes the suite on one server: as one process, and as several."""

from __future__ import annotations

import unittest
from typing import Any

from raceway.layers.redis import RedisLayer
from raceway.testing.conformance import FrontConformance
from tests.project import database  # noqa: F401  for transactions
from tests.servers.redis import Server, new_prefix, shared_server

from .several import several


class OnServers(FrontConformance):
    quiet_s = 0.05
    layer_class: Any = RedisLayer

    def setUp(self) -> None:
        self.hosts, self.servers = self.find_servers()
        self.prefix = new_prefix()

    def find_servers(self) -> tuple[list[Any], list[Server]]:
        """The option ``hosts``, and the servers that have the subscriptions."""
        return [shared_server().url], [shared_server()]

    def make_layer(self, **options: Any) -> Any:
        return self.layer_class(hosts=self.hosts, prefix=self.prefix, **options)

    def make_neighbour(self, **options: Any) -> RedisLayer:
        return RedisLayer(hosts=self.hosts, prefix=self.prefix, **options)

    def make_stranger(self, **options: Any) -> RedisLayer:
        return RedisLayer(hosts=self.hosts, prefix=new_prefix(), **options)

    async def lose_connection(self, layer: Any) -> None:
        for server in self.servers:
            server.ask("CLIENT", "KILL", "TYPE", "pubsub")


class SeveralProcesses(OnServers):
    layer_class = several(RedisLayer)

    @unittest.skip("A mailbox of another process is full without the sender's knowledge.")
    async def test_a_full_mailbox_is_told_to_who_shares_its_process(self) -> None: ...

    @unittest.skip("What a mailbox of another process had no room for is counted there.")
    async def test_statistics(self) -> None: ...


class TestRedis(OnServers, unittest.IsolatedAsyncioTestCase):
    pass


class TestSeveralProcesses(SeveralProcesses, unittest.IsolatedAsyncioTestCase):
    pass
