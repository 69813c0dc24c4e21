from __future__ import annotations

from collections.abc import Iterator

import pytest

from raceway.layers import channel_layers
from raceway.layers.memory import MemoryLayer


@pytest.fixture
def layer() -> Iterator[MemoryLayer]:
    """A fresh memory layer in the place of the default one."""
    layer = MemoryLayer()
    channel_layers.set("default", layer)
    yield layer
    channel_layers.set("default", None)
