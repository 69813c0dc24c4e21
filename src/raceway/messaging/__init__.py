"""Message consumers, as the first generation of Channels had them: functions and classes that are called with a
message of a channel, and answer on its reply channel."""

from raceway.messaging.application import LayerApplication, MessageApplication
from raceway.messaging.generic import (
    BaseConsumer,
    JsonWebsocketConsumer,
    WebsocketConsumer,
    WebsocketDemultiplexer,
    WebsocketMultiplexer,
)
from raceway.messaging.message import Message
from raceway.messaging.routing import Router, include, route, route_class
from raceway.messaging.synchronous import SynchronousLayer
from raceway.messaging.views import ViewConsumer, encode_response, request_of

__all__ = [
    "BaseConsumer",
    "JsonWebsocketConsumer",
    "LayerApplication",
    "Message",
    "MessageApplication",
    "Router",
    "SynchronousLayer",
    "ViewConsumer",
    "WebsocketConsumer",
    "WebsocketDemultiplexer",
    "WebsocketMultiplexer",
    "encode_response",
    "include",
    "request_of",
    "route",
    "route_class",
]
