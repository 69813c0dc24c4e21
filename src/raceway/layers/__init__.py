"""Channel layers: what carries channels and groups between threads, processes and machines."""

from raceway.layers.channel import Channel
from raceway.layers.configured import (
    DEFAULT_CHANNEL_LAYER,
    ChannelLayers,
    channel_layers,
    get_channel_layer,
)
from raceway.layers.front import ChannelLayer
from raceway.layers.group import Group
from raceway.layers.spec import decode_event
from raceway.layers.user import User

__all__ = [
    "DEFAULT_CHANNEL_LAYER",
    "Channel",
    "ChannelLayer",
    "ChannelLayers",
    "Group",
    "User",
    "channel_layers",
    "decode_event",
    "get_channel_layer",
]
