"""What layers between processes have in common passes the suite, over a hub that needs no server."""

from __future__ import annotations

import unittest
from typing import Any

from raceway import clock
from raceway.testing.conformance import FrontConformance
from tests.project import database  # noqa: F401  for transactions

from .hub import Hub, HubLayer
from .several import several


class OverHub(FrontConformance):
    quiet_s = 0.05
    layer_class: Any

    def setUp(self) -> None:
        self.hub = Hub()

    def make_layer(self, **options: Any) -> HubLayer:
        return self.layer_class(hub=self.hub, **options)

    def make_neighbour(self, **options: Any) -> HubLayer:
        return HubLayer(hub=self.hub, **options)

    def make_stranger(self, **options: Any) -> HubLayer:
        return HubLayer(hub=Hub(), **options)

    async def lose_connection(self, layer: HubLayer) -> None:
        for part in layer._parts.values():
            part.carrier.break_down("cut")  # type: ignore[attr-defined]

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

    @unittest.skip("Gaps are counted by the processes that listen.")
    async def test_after_a_lost_connection_members_are_told_once_and_hear_what_comes_then(self) -> None: ...
