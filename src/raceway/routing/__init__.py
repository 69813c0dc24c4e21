"""Routing: from a connection to the application that serves it. Every router is itself an ASGI application."""

from raceway.routing.channels import ChannelNameRouter
from raceway.routing.middleware import ConnectMiddleware
from raceway.routing.mount import Mount
from raceway.routing.project import get_default_application
from raceway.routing.protocol import ProtocolTypeRouter
from raceway.routing.reverse import reverse
from raceway.routing.urls import URLRouter

__all__ = [
    "ChannelNameRouter",
    "ConnectMiddleware",
    "Mount",
    "ProtocolTypeRouter",
    "URLRouter",
    "get_default_application",
    "reverse",
]
