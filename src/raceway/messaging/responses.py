"""What messages on the reply channel of a request do to its client. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from raceway.errors import InvalidMessage
from raceway.types import Event, Headers


def response_events(reply: Mapping[str, Any], is_started: bool) -> list[Event]:
    """What an HTTP client is sent for ``reply``: ``status`` and ``headers`` once, ``content`` with ``more_content`` as
    often as needed. Raises ``InvalidMessage`` for what cannot come now.
    """
    content = reply.get("content", b"")
    body = content.encode() if isinstance(content, str) else content
    if not isinstance(body, bytes):
        raise InvalidMessage(
            f"The 'content' of a response is bytes or str, not {type(content).__qualname__}."
        )
    more = bool(reply.get("more_content", False))
    events: list[Event] = []
    if not is_started:
        status = reply.get("status")
        if not isinstance(status, int):
            raise InvalidMessage("A response begins with a 'status', a number, in its first message.")
        headers = header_fields(reply.get("headers") or ())
        if not more and not any(name == b"content-length" for name, _ in headers):
            headers.append((b"content-length", b"%d" % len(body)))
        events.append({"type": "http.response.start", "status": status, "headers": headers})
    elif "status" in reply:
        raise InvalidMessage("The response has begun already: only its first message has a 'status'.")
    events.append({"type": "http.response.body", "body": body, "more_body": more})
    return events


def header_fields(headers: Iterable[Any] | Mapping[Any, Any]) -> Headers:
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    return [(as_bytes(name).lower(), as_bytes(value)) for name, value in pairs]


def as_bytes(value: str | bytes) -> bytes:
    return value.encode("latin-1") if isinstance(value, str) else bytes(value)
