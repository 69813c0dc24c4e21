from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from raceway.layers.local.serving import BrokerHost


@pytest.fixture
def path() -> Iterator[Path]:
    """Where a broker may be: Unix sockets have short paths."""
    directory = tempfile.mkdtemp(prefix="rw-")
    yield Path(directory, "s")
    shutil.rmtree(directory)


@pytest.fixture
def host(path: Path) -> Iterator[BrokerHost]:
    """A broker that runs."""
    host = BrokerHost(path)
    host.start()
    yield host
    host.stop()
