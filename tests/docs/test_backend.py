"""The backend of the how-to is one: it passes the suite, in one process and spread over several."""

from __future__ import annotations

import os
import sys
import unittest
from contextlib import ExitStack
from itertools import count
from typing import Any, ClassVar
from unittest import mock

import pytest

from raceway.testing.conformance import FrontConformance
from tests.conformance.spread import Processes, SpreadLayer, processes
from tests.docs.blocks import DOCS
from tests.project import database  # noqa: F401  for transactions

FILES = ["docs/snippets/backend/sqlite_layer.py", "docs/snippets/backend/test_sqlite_layer.py"]

FOLDER = str(DOCS / "snippets/backend")
sys.path.append(FOLDER)

from test_sqlite_layer import TestSqliteLayer  # noqa: E402, F401

MEMBERS = 3


@pytest.mark.topology
class TestProcesses(FrontConformance, unittest.IsolatedAsyncioTestCase):
    processes: ClassVar[Processes]
    paths = count()

    @classmethod
    def setUpClass(cls) -> None:
        stack = ExitStack()
        cls.addClassCleanup(stack.close)
        with mock.patch.dict(os.environ, PYTHONPATH=FOLDER):
            cls.processes = stack.enter_context(processes(MEMBERS))

    def make_layer(self, **options: Any) -> SpreadLayer:
        path = str(self.processes.folder / f"{next(self.paths)}.sqlite3")
        return self.processes.spread("sqlite_layer.SqliteLayer", path=path, **options)

    make_stranger = make_layer

    async def end_layer(self, layer: SpreadLayer) -> None:
        layer.end()

    async def pass_time(self, seconds: float) -> None:
        self.processes.move_clock(seconds)
        self.addCleanup(self.processes.move_clock, -seconds)

    async def test_a_full_mailbox_is_told_to_who_shares_its_process(self) -> None:
        self.skipTest("Here nobody shares a process with who sends.")
