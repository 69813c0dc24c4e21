"""The Redis layer passes the suite on a Cluster of three masters."""

from __future__ import annotations

import asyncio
import unittest
from typing import Any

from tests.servers.redis import Server, shared_cluster

from . import test_redis

TURN_S = 0.2


class OnCluster(test_redis.OnServers):
    def find_servers(self) -> tuple[list[Any], list[Server]]:
        return shared_cluster().hosts, shared_cluster().nodes

    async def turn(self) -> None:
        """A process that has just begun asks where everything is before it hears anything."""
        await asyncio.sleep(TURN_S)


class TestClusterSeveralProcesses(OnCluster, test_redis.SeveralProcesses, unittest.IsolatedAsyncioTestCase):
    pass
