"""The Redis layer passes the suite over three servers: every tag is where each process looks for it."""

from __future__ import annotations

import unittest
from typing import Any

from tests.servers.redis import Server, shared_shards

from . import test_redis


class TestShards(test_redis.SeveralProcesses, unittest.IsolatedAsyncioTestCase):
    def find_servers(self) -> tuple[list[Any], list[Server]]:
        servers = list(shared_shards())
        return [server.url for server in servers], servers
