from __future__ import annotations

import unittest
from collections.abc import Iterator

import pytest

from tests.servers.postgres import Database, running_server, shared_server


@pytest.fixture(scope="module")
def database() -> Database:
    """A database for the tests of one file."""
    try:
        return Database(shared_server())
    except unittest.SkipTest as why:
        pytest.skip(str(why))


@pytest.fixture
def own_database() -> Iterator[Database]:
    """A database on a server that the test may restart."""
    try:
        with running_server() as server:
            yield Database(server)
    except unittest.SkipTest as why:
        pytest.skip(str(why))
