"""Saying no to a connection that no application will have."""

from __future__ import annotations

from raceway.consumers.response import text_response
from raceway.types import Receive, Scope, Send


async def refuse(scope: Scope, receive: Receive, send: Send, status: int, reason: str) -> None:
    """Answer ``status`` with ``reason`` as the body; where a server cannot, it refuses the WebSocket with 403
    (ASGI WebSocket, "Denial Response")."""
    await receive()
    kind = scope["type"]
    if kind == "websocket":
        if "websocket.http.response" not in scope.get("extensions", {}):
            await send({"type": "websocket.close"})
            return
        kind = "websocket.http"
    for event in text_response(kind, status, reason):
        await send(event)
