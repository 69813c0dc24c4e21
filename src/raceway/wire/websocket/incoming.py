"""What an engine hands out: ``str`` for a text message, ``bytes`` for a binary one, or one of these."""

from __future__ import annotations

from typing import TypeAlias


class Ping:
    """Answer it with a pong of the same payload (RFC 6455 section 5.5.2)."""

    __slots__ = ("payload",)

    def __init__(self, payload: bytes) -> None:
        self.payload = payload

    def __repr__(self) -> str:
        return f"<Ping {self.payload!r}>"


class Pong:
    """The answer to a ping of ours, or one that nobody asked for (RFC 6455 section 5.5.3)."""

    __slots__ = ("payload",)

    def __init__(self, payload: bytes) -> None:
        self.payload = payload

    def __repr__(self) -> str:
        return f"<Pong {self.payload!r}>"


class Close:
    """The client's close frame; 1005 if it gave no code (RFC 6455 section 7.1.5). Nothing follows it."""

    __slots__ = ("code", "reason")

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason

    def __repr__(self) -> str:
        return f"<Close {self.code} {self.reason!r}>"


class Violation:
    """The client broke the protocol or a limit: close with ``code`` and ``reason``. Nothing follows it."""

    __slots__ = ("code", "reason")

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason

    def __repr__(self) -> str:
        return f"<Violation {self.code} {self.reason!r}>"


Incoming: TypeAlias = str | bytes | Ping | Pong | Close | Violation


class Broken(Exception):
    """Ends reading: becomes the ``Violation`` that the engine hands out; never leaves it."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason
