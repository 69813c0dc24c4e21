"""The Redis layer passes the suite on a Cluster of three masters."""

from __future__ import annotations

import unittest
from typing import Any

from tests.servers.redis import Server, shared_cluster

from . import test_redis


class OnCluster(test_redis.OnServers):
    def find_servers(self) -> tuple[list[Any], list[Server]]:
        return shared_cluster().hosts, shared_cluster().nodes


class TestCluster(OnCluster, unittest.IsolatedAsyncioTestCase):
    pass


class TestClusterSeveralProcesses(OnCluster, test_redis.SeveralProcesses, unittest.IsolatedAsyncioTestCase):
    pass
