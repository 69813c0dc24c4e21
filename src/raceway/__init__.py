"""The real-time framework for Django."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raceway.layers import Channel, Group, User, channel_layers, get_channel_layer
    from raceway.presence import Presence

__version__ = "0.1.0"

_HOMES = {
    "Channel": "raceway.layers",
    "Group": "raceway.layers",
    "Presence": "raceway.presence",
    "User": "raceway.layers",
    "channel_layers": "raceway.layers",
    "get_channel_layer": "raceway.layers",
}
"""Where each public name lives: it is imported when it is first used, so that ``import raceway`` costs nothing."""

__all__ = ["Channel", "Group", "Presence", "User", "__version__", "channel_layers", "get_channel_layer"]


def __getattr__(name: str) -> Any:
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module 'raceway' has no attribute {name!r}") from None
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
