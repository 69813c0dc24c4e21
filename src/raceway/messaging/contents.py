"""What the messages of a client's connection say: values that any layer carries."""

from __future__ import annotations

from typing import Any

from raceway.routing.paths import whole_path
from raceway.types import Scope


def path_in(scope: Scope) -> str:
    """The path below ``root_path``, which is where a project's routes begin."""
    path = whole_path(scope)
    root: str = scope.get("root_path", "").rstrip("/")
    return path.removeprefix(root) or "/"


def handshake_content(scope: Scope, reply_channel: str) -> dict[str, Any]:
    """What ``websocket.connect`` says."""
    return {"reply_channel": reply_channel, **_asked(scope, "ws"), "order": 0}


def request_content(scope: Scope, reply_channel: str, body: bytes) -> dict[str, Any]:
    """What ``http.request`` says; the whole body is in it, so that ``body_channel`` is always ``None``."""
    return {
        "reply_channel": reply_channel,
        "http_version": scope.get("http_version", "1.1"),
        "method": scope["method"],
        **_asked(scope, "http"),
        "body": body,
        "body_channel": None,
    }


def _asked(scope: Scope, scheme: str) -> dict[str, Any]:
    return {
        "scheme": scope.get("scheme", scheme),
        "path": path_in(scope),
        "query_string": bytes(scope.get("query_string", b"")),
        "root_path": scope.get("root_path", ""),
        "headers": [[bytes(name), bytes(value)] for name, value in scope["headers"]],
        "client": _address(scope.get("client")),
        "server": _address(scope.get("server")),
    }


def _address(address: Any) -> list[Any] | None:
    return None if address is None else list(address)
