"""Which brokers a server's process hosts itself, or asks its supervisor for: those of the ``local`` layers."""

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


def start_hosting() -> None:
    """Host what this process may: under a supervisor, which does it for all its workers, nothing.

    Raises ``ConfigurationError`` as ``hosting_wanted`` does.
    """
    for layer in local_layers():
        layer.host()


async def stop_hosting() -> None:
    """Let another process take over, if one waits; in the loop that serves."""
    for layer in local_layers():
        await layer.aclose()
