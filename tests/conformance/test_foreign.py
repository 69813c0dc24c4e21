"""Somebody else's layer behind our front still passes the suite."""

from __future__ import annotations

import unittest
from typing import Any

from raceway import clock
from raceway.layers.foreign import ForeignLayer
from raceway.testing.conformance import LayerConformance
from tests.layers.contract import Contract


class TestForeign(LayerConformance, unittest.IsolatedAsyncioTestCase):
    quiet_s = 0

    def make_layer(self, **options: Any) -> ForeignLayer:
        return ForeignLayer(Contract(**options))

    async def pass_time(self, seconds: float) -> None:
        clock.move(seconds)
        self.addCleanup(clock.move, -seconds)
