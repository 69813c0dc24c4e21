"""The local layer passes the suite with its members in four processes, and its broker in a fifth."""

from __future__ import annotations

import unittest
from contextlib import ExitStack
from typing import Any, ClassVar

import pytest

from raceway.testing.conformance import FrontConformance
from tests.conformance.spread import Processes, SpreadLayer, processes
from tests.project import database  # noqa: F401  for transactions

pytestmark = pytest.mark.topology

MEMBERS = 4


class TestLocalProcesses(FrontConformance, unittest.IsolatedAsyncioTestCase):
    processes: ClassVar[Processes]

    @classmethod
    def setUpClass(cls) -> None:
        stack = ExitStack()
        cls.addClassCleanup(stack.close)
        cls.processes = stack.enter_context(processes(MEMBERS))

    def make_layer(self, **options: Any) -> SpreadLayer:
        return self.processes.make_layer(**options)

    def make_stranger(self, **options: Any) -> SpreadLayer:
        return self.processes.make_layer(**options)

    async def end_layer(self, layer: SpreadLayer) -> None:
        layer.end()

    async def pass_time(self, seconds: float) -> None:
        self.processes.move_clock(seconds)
        self.addCleanup(self.processes.move_clock, -seconds)

    async def test_a_full_mailbox_is_told_to_who_shares_its_process(self) -> None:
        self.skipTest("Here nobody shares a process with who sends.")
