"""The shapes that cross Raceway's two ASGI edges (ASGI 3.0, https://asgi.readthedocs.io)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

Scope: TypeAlias = MutableMapping[str, Any]
"""What is known of a connection before its first event (ASGI core, "Connection Scope")."""

Event: TypeAlias = MutableMapping[str, Any]
"""One event or message: a dictionary with a ``type`` (ASGI core, "Events")."""

Receive: TypeAlias = Callable[[], Awaitable[Event]]
Send: TypeAlias = Callable[[Event], Awaitable[None]]
ASGIApplication: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

Headers: TypeAlias = list[tuple[bytes, bytes]]
"""Header fields in wire order, names in lower case, duplicates kept."""

Prepare: TypeAlias = Callable[[Scope], Awaitable[Scope]]
"""Connect-time work: returns the scope that the application gets, or raises ``DenyConnection``."""
