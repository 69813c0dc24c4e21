"""The memory layer passes the suite."""

from __future__ import annotations

import unittest
from typing import Any

from raceway import clock
from raceway.layers.memory import MemoryLayer
from raceway.testing.conformance import FrontConformance
from tests.project import database  # noqa: F401  for transactions


class TestMemory(FrontConformance, unittest.IsolatedAsyncioTestCase):
    quiet_s = 0

    def make_layer(self, **options: Any) -> MemoryLayer:
        return MemoryLayer(**options)

    def make_stranger(self, **options: Any) -> MemoryLayer:
        return MemoryLayer(**options)

    async def pass_time(self, seconds: float) -> None:
        clock.move(seconds)
        self.addCleanup(clock.move, -seconds)
