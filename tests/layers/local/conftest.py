from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from raceway.layers.local.serving import BrokerHost


@pytest.fixture
def path(broker_path: Path) -> Path:
    return broker_path


@pytest.fixture
def host(path: Path) -> Iterator[BrokerHost]:
    """A broker that runs."""
    host = BrokerHost(path)
    host.start()
    yield host
    host.stop()
