"""The scopes that a test's connections have: what Raceway's own server would give."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias
from urllib.parse import quote, unquote

from raceway.types import Headers, Scope

HOST: Final = "testserver"
"""The host that Django's test client uses too; under a test runner it is in ``ALLOWED_HOSTS``."""

SPEC_VERSION: Final = "2.5"

Text: TypeAlias = str | bytes
GivenHeaders: TypeAlias = Mapping[str, Text] | Mapping[bytes, Text] | Iterable[tuple[Text, Text]] | None
"""Header fields as a test may write them: a dictionary or pairs, of ``str`` or ``bytes``."""


def websocket_scope(
    path: str,
    headers: GivenHeaders = None,
    subprotocols: Iterable[str] | None = None,
    spec_version: str | None = None,
) -> Scope:
    """The scope of a handshake for ``path``, which may have a query string."""
    return {
        **_scope("websocket", "ws", path, headers, spec_version),
        "subprotocols": list(subprotocols or ()),
    }


def http_scope(method: str, path: str, headers: GivenHeaders = None) -> Scope:
    """The scope of a request for ``path``, which may have a query string."""
    return {**_scope("http", "http", path, headers, None), "method": method.upper()}


def as_headers(given: GivenHeaders) -> Headers:
    """The fields as ASGI has them: pairs of bytes, names in lower case."""
    pairs: Iterable[Any] = given.items() if isinstance(given, Mapping) else given or ()
    return [(_as_bytes(name).lower(), _as_bytes(value)) for name, value in pairs]


def _scope(kind: str, scheme: str, path: str, headers: GivenHeaders, spec_version: str | None) -> Scope:
    raw_path, _, query = path.partition("?")
    return {
        "type": kind,
        "asgi": {"version": "3.0", "spec_version": spec_version or SPEC_VERSION},
        "http_version": "1.1",
        "scheme": scheme,
        "path": unquote(raw_path),
        "raw_path": quote(raw_path, safe="/%:@!$&'()*+,;=~").encode(),
        "query_string": quote(query, safe="/?%:@!$&'()*+,;=~[]").encode(),
        "root_path": "",
        "headers": as_headers(headers),
        "client": ("127.0.0.1", 50000),
        "server": (HOST, 80),
        "state": {},
        "extensions": {},
    }


def _as_bytes(text: Text) -> bytes:
    return text.encode("latin-1") if isinstance(text, str) else bytes(text)
