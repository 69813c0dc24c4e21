"""The scopes that a request becomes (ASGI HTTP and WebSocket 2.5)."""

from __future__ import annotations

from typing import Any, Final

from raceway.server.connection import Connection
from raceway.server.proxy import forwarded
from raceway.wire.events import Request

ASGI: Final = {"version": "3.0", "spec_version": "2.5"}


def base_scope(kind: str, request: Request, connection: Connection) -> dict[str, Any]:
    """What HTTP and WebSocket scopes share."""
    client: Any = connection.client
    scheme = "https" if connection.secure else "http"
    if connection.trusts_peer:
        told_client, told_scheme = forwarded(request.headers, connection.shared.proxies)
        client = told_client or client
        scheme = told_scheme or scheme
    if kind == "websocket":
        scheme = "ws" if scheme == "http" else "wss"
    path = request.path
    root_path = connection.shared.config.root_path
    raw_path = request.raw_path
    if root_path and path != root_path and not path.startswith(root_path + "/"):
        path = root_path + path
        raw_path = root_path.encode() + raw_path
    return {
        "type": kind,
        "asgi": ASGI,
        "http_version": request.http_version,
        "scheme": scheme,
        "path": path,
        "raw_path": raw_path,
        "query_string": request.query_string,
        "root_path": root_path,
        "headers": request.headers,
        "client": client,
        "server": connection.server,
        "state": connection.shared.state.copy(),
    }
