import asyncio
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from unittest import IsolatedAsyncioTestCase

from raceway import clock
from raceway.testing import FrontConformance
from sqlite_layer import SqliteLayer


class TestSqliteLayer(FrontConformance, IsolatedAsyncioTestCase):
    quiet_s = 0.1

    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)

    def make_layer(self, **options):
        return SqliteLayer(path=str(Path(self.folder, "layer")), **options)

    make_neighbour = make_layer

    def make_stranger(self, **options):
        return SqliteLayer(path=str(Path(self.folder, "another")), **options)

    async def lose_connection(self, layer):
        """As if the process had slept for so long that frames were cleared away."""
        await asyncio.sleep(self.quiet_s)
        with closing(sqlite3.connect(layer.path)) as file:
            file.executescript(
                "BEGIN; INSERT INTO frames (address) VALUES ('g:group'); DELETE FROM frames; COMMIT"
            )

    async def pass_time(self, seconds):
        clock.move(seconds)
        self.addCleanup(clock.move, -seconds)
