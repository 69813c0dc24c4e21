from __future__ import annotations

from collections.abc import Iterator

import pytest

import tests.project  # noqa: F401  Django's settings
from raceway.layers import channel_layers
from raceway.layers.memory import MemoryLayer


@pytest.fixture(autouse=True)
def layer() -> Iterator[MemoryLayer]:
    """A fresh memory layer in the place of the default one."""
    layer = MemoryLayer()
    channel_layers.set("default", layer)
    yield layer
    channel_layers.set("default", None)
