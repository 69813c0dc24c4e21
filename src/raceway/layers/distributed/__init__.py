"""Layers between processes, whatever carries their frames: what a backend builds on."""

from raceway.layers.distributed.carrier import (
    DESK,
    EVERYBODY,
    Carrier,
    Ears,
    Popped,
    ThreadCarrier,
    channel_address,
    group_address,
    process_address,
)
from raceway.layers.distributed.layer import DistributedLayer

__all__ = [
    "DESK",
    "EVERYBODY",
    "Carrier",
    "DistributedLayer",
    "Ears",
    "Popped",
    "ThreadCarrier",
    "channel_address",
    "group_address",
    "process_address",
]
