"""Routing: from a connection to the application that serves it. Every router is itself an ASGI application."""

from raceway.routing.middleware import ConnectMiddleware
from raceway.routing.protocol import ProtocolTypeRouter
from raceway.routing.urls import URLRouter

__all__ = ["ConnectMiddleware", "ProtocolTypeRouter", "URLRouter"]
