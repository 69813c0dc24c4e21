"""What a parser of any HTTP version tells its connection. One request is ``Request``, ``Body`` ..., ``End``.

Plain classes with slots, not dataclasses: one is made per request, and a frozen dataclass costs four times as
much to make.
"""

from __future__ import annotations

from typing import TypeAlias

from raceway.types import Headers


class Request:
    """A request head, checked and ready to become a scope.

    ``path`` is percent-decoded, ``raw_path`` is not and has no query string (ASGI HTTP 2.5). ``headers`` have
    lower-case names, wire order, duplicates kept. ``expects_continue``: answer 100 before the first read of the body.
    ``upgrade``: the request asks, with Connection: upgrade, for the protocol named (lower case), else ``None``.
    ``ends_here``: it has no body, so no ``Body`` and no ``End`` follow.
    ``keep_alive``: the connection may carry another request after this one.
    """

    __slots__ = (
        "ends_here",
        "expects_continue",
        "headers",
        "http_version",
        "keep_alive",
        "method",
        "path",
        "query_string",
        "raw_path",
        "upgrade",
    )

    def __init__(
        self,
        method: str,
        path: str,
        raw_path: bytes,
        query_string: bytes,
        headers: Headers,
        http_version: str,
        keep_alive: bool,
        ends_here: bool,
        expects_continue: bool,
        upgrade: str | None,
    ) -> None:
        self.method = method
        self.path = path
        self.raw_path = raw_path
        self.query_string = query_string
        self.headers = headers
        self.http_version = http_version
        self.keep_alive = keep_alive
        self.ends_here = ends_here
        self.expects_continue = expects_continue
        self.upgrade = upgrade

    def again(self) -> Request:
        """The same request once more, with a list of headers of its own."""
        return Request(
            self.method,
            self.path,
            self.raw_path,
            self.query_string,
            self.headers.copy(),
            self.http_version,
            self.keep_alive,
            self.ends_here,
            self.expects_continue,
            self.upgrade,
        )

    @property
    def accepts_trailers(self) -> bool:
        """Whether the client asked for trailers (RFC 9110 section 10.1.4)."""
        return any(name == b"te" and b"trailers" in value.lower() for name, value in self.headers)

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.raw_path!r} HTTP/{self.http_version}>"


class Body:
    """A piece of the request body, never empty; all that arrived in one read is one piece."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __repr__(self) -> str:
        return f"<Body {len(self.data)} bytes>"


class End:
    """The request body is complete."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<End>"


class Violation:
    """The client broke the protocol or a limit: answer ``status`` with ``reason`` as the body, then close.

    It is the last event of its connection: where the next request would begin is in doubt.
    """

    __slots__ = ("reason", "status")

    def __init__(self, status: int, reason: str) -> None:
        self.status = status
        self.reason = reason

    def __repr__(self) -> str:
        return f"<Violation {self.status} {self.reason}>"


HttpEvent: TypeAlias = Request | Body | End | Violation
