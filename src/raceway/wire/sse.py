"""Write server-sent events (WHATWG HTML section 9.2, "The text/event-stream format")."""

from __future__ import annotations


def encode_event(
    data: str | bytes,
    *,
    event: str | None = None,
    event_id: str | None = None,
    retry_ms: int | None = None,
) -> bytes:
    """Write one event. ``data`` may have several lines; ``bytes`` must be UTF-8 already.

    ``event`` is its type, ``event_id`` what the browser repeats as ``Last-Event-ID``, ``retry_ms`` how long
    it waits before it reconnects. Raises ``ValueError`` for a type or id that does not fit on one line or
    holds NUL (browsers ignore such an id), and for a negative ``retry_ms``.
    """
    head = b""
    if event is not None:
        head += b"event: " + _one_line("event", event) + b"\n"
    if event_id is not None:
        head += b"id: " + _one_line("event_id", event_id) + b"\n"
    if retry_ms is not None:
        if retry_ms < 0:
            raise ValueError(f"retry_ms is a time in milliseconds, not {retry_ms}")
        head += b"retry: %d\n" % retry_ms
    payload = data.encode() if isinstance(data, str) else data
    return head + b"data: " + _continue_lines(payload, b"\ndata: ") + b"\n\n"


def comment(text: str = "") -> bytes:
    """Write a comment, which browsers ignore and proxies take for a sign of life."""
    return b": " + _continue_lines(text.encode(), b"\n: ") + b"\n\n"


def _continue_lines(payload: bytes, separator: bytes) -> bytes:
    """Start each line anew; CR, LF and CRLF all end a line there."""
    if b"\r" in payload:
        payload = payload.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return payload.replace(b"\n", separator)


def _one_line(name: str, value: str) -> bytes:
    if "\n" in value or "\r" in value or "\0" in value:
        raise ValueError(f"{name} must be one line without NUL, not {value!r}")
    return value.encode()
