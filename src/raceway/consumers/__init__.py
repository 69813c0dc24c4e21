"""Consumers: your code for one connection."""

from raceway.consumers.base import Consumer
from raceway.consumers.websocket import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    JsonWebsocketConsumer,
    WebsocketConsumer,
)

__all__ = [
    "AsyncJsonWebsocketConsumer",
    "AsyncWebsocketConsumer",
    "Consumer",
    "JsonWebsocketConsumer",
    "WebsocketConsumer",
]
