"""The local layer passes the suite: with all members in one process, and as several processes that meet at a broker.

A second layer object has another process id, so for the broker it is another process.
"""

from __future__ import annotations

import shutil
import tempfile
import unittest
from pathlib import Path
from typing import Any

from raceway import clock
from raceway.layers.local import LocalLayer
from raceway.layers.local.serving import BrokerHost
from raceway.testing.conformance import FrontConformance
from tests.conformance.several import several
from tests.project import database  # noqa: F401  for transactions


class WithBroker(FrontConformance):
    quiet_s = 0.05

    def setUp(self) -> None:
        directory = tempfile.mkdtemp(prefix="rw-")
        self.addCleanup(shutil.rmtree, directory)
        self.path = Path(directory, "s")
        self.host = self.start_broker(self.path)

    def start_broker(self, path: Path) -> BrokerHost:
        host = BrokerHost(path)
        host.start()
        self.addCleanup(host.stop)
        return host

    def make_neighbour(self, **options: Any) -> LocalLayer:
        return LocalLayer(path=self.path, **options)

    def make_stranger(self, **options: Any) -> LocalLayer:
        elsewhere = self.path.with_name("t")
        self.start_broker(elsewhere)
        return LocalLayer(path=elsewhere, **options)

    async def lose_connection(self, layer: LocalLayer) -> None:
        self.host.stop()
        self.host.start()

    async def pass_time(self, seconds: float) -> None:
        clock.move(seconds)
        self.addCleanup(clock.move, -seconds)


class TestLocal(WithBroker, unittest.IsolatedAsyncioTestCase):
    def make_layer(self, **options: Any) -> LocalLayer:
        return LocalLayer(path=self.path, **options)


class TestSeveralProcesses(WithBroker, unittest.IsolatedAsyncioTestCase):
    def make_layer(self, **options: Any) -> Any:
        return several(LocalLayer)(path=self.path, **options)

    @unittest.skip("A mailbox of another process is full without the sender's knowledge.")
    async def test_a_full_mailbox_is_told_to_who_shares_its_process(self) -> None: ...

    @unittest.skip("What a mailbox of another process had no room for is counted there.")
    async def test_statistics(self) -> None: ...

    @unittest.skip("Gaps are counted by the processes that listen.")
    async def test_after_a_lost_connection_members_are_told_once_and_hear_what_comes_then(self) -> None: ...
