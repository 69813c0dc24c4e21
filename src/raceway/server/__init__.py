"""The protocol server: HTTP and WebSocket to clients, ASGI to the application."""

from raceway.server.config import Config
from raceway.server.running import load_application, run
from raceway.server.serving import Server

__all__ = ["Config", "Server", "load_application", "run"]
