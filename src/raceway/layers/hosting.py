"""What a server does with the layers at its start and end, and which brokers it hosts or asks its supervisor for."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TypedDict

from raceway.layers.configured import channel_layers

if TYPE_CHECKING:
    from raceway.layers.local.layer import LocalLayer


class Wanted(TypedDict):
    """One broker: where it listens, and after how long a silence it counts a member as dead."""

    path: str
    lease_s: float


def local_layers() -> list[LocalLayer]:
    """The ``local`` layers that are configured. Raises ``ConfigurationError`` if any layer cannot be made."""
    layers = [channel_layers[alias] for alias in channel_layers]
    if sys.platform == "win32":  # it has no Unix sockets, and the module cannot even be imported
        return []
    from raceway.layers.local.layer import LocalLayer

    return [layer for layer in layers if isinstance(layer, LocalLayer)]


def hosting_wanted() -> list[Wanted]:
    """What a worker asks its supervisor for, once its application is loaded.

    Raises ``ConfigurationError`` if a layer cannot be made, or no broker can be where it looks for one: so a worker
    says at its start what is wrong, as a server without a supervisor does.
    """
    layers = local_layers()
    if layers:
        from raceway.layers.local.place import prepare_directory

        for layer in layers:
            prepare_directory(layer.path)
    return [{"path": str(layer.path), "lease_s": layer.lease_s} for layer in layers]


async def open_layers() -> None:
    """Have the layers ready in this loop before the first connection: host the brokers that this process may, and
    connect; in a layer's absence that is said in the log, and tried again at its first use.

    Raises ``ConfigurationError`` as ``hosting_wanted`` does.
    """
    for layer in local_layers():
        layer.host()
    for alias in channel_layers:
        await channel_layers[alias].aopen()


def join_only() -> None:
    """Host no broker in this process, whoever listens here: a worker comes and goes, and messages wait in the broker.

    Raises ``ConfigurationError`` if a layer cannot be made.
    """
    for layer in local_layers():
        layer.may_host = False


async def close_layers() -> None:
    """Let go of what this loop holds of the layers, so that another process can take over what this one hosted."""
    for alias in channel_layers:
        await channel_layers[alias].aclose()
