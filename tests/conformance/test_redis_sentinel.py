"""The Redis layer passes the suite on the master that Sentinel names."""

from __future__ import annotations

import unittest
from typing import Any

from tests.servers.redis import Server, shared_sentinels

from . import test_redis


class TestSentinel(test_redis.OnServers, unittest.IsolatedAsyncioTestCase):
    def find_servers(self) -> tuple[list[Any], list[Server]]:
        return shared_sentinels().hosts, [shared_sentinels().master()]
