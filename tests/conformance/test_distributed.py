"""What layers between processes have in common passes the suite, over a hub that needs no server."""

from __future__ import annotations

import unittest
from typing import Any

from raceway import clock
from raceway.testing.conformance import FrontConformance

from .hub import Hub, HubLayer
from .several import several


class OverHub(FrontConformance):
    quiet_s = 0.05
    layer_class: Any

    def setUp(self) -> None:
        self.hub = Hub()

    def make_layer(self, **options: Any) -> HubLayer:
        return self.layer_class(hub=self.hub, **options)

    async def pass_time(self, seconds: float) -> None:
        clock.move(seconds)
        self.addCleanup(clock.move, -seconds)


class TestOneProcess(OverHub, unittest.IsolatedAsyncioTestCase):
    layer_class = HubLayer


class TestSeveralProcesses(OverHub, unittest.IsolatedAsyncioTestCase):
    layer_class = several(HubLayer)

    @unittest.skip("A mailbox of another process is full without the sender's knowledge.")
    async def test_a_full_mailbox_is_told_to_who_shares_its_process(self) -> None: ...

    @unittest.skip("What a mailbox of another process had no room for is counted there.")
    async def test_statistics(self) -> None: ...
