"""Consumers: your code for one connection."""

from raceway.consumers.base import Consumer
from raceway.consumers.functions import Socket, websocket_consumer
from raceway.consumers.http import AsyncHttpConsumer, HttpConsumer
from raceway.consumers.raw import AsyncConsumer, SyncConsumer
from raceway.consumers.sse import SseConsumer
from raceway.consumers.websocket import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    JsonWebsocketConsumer,
    WebsocketConsumer,
)

__all__ = [
    "AsyncConsumer",
    "AsyncHttpConsumer",
    "AsyncJsonWebsocketConsumer",
    "AsyncWebsocketConsumer",
    "Consumer",
    "HttpConsumer",
    "JsonWebsocketConsumer",
    "Socket",
    "SseConsumer",
    "SyncConsumer",
    "WebsocketConsumer",
    "websocket_consumer",
]
