"""Which pages may open a WebSocket: browsers send cookies with a handshake from any page (RFC 6455 10.2)."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import lru_cache
from typing import ClassVar, Final
from urllib.parse import SplitResult, urlsplit

from django.conf import settings
from django.utils.http import is_same_domain

from raceway.conf import get_settings
from raceway.errors import DenyConnection
from raceway.routing import ConnectMiddleware
from raceway.types import ASGIApplication, Scope

logger = logging.getLogger("raceway.origin")

DEFAULT_PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443}

ORIGINS_REMEMBERED: Final = 256
"""How many origins are remembered with their verdict: most handshakes come from few pages."""

LOCAL_HOSTS: Final = (".localhost", "127.0.0.1", "[::1]")
"""What Django allows with ``DEBUG`` and no ``ALLOWED_HOSTS``."""


class OriginValidator(ConnectMiddleware):
    """Refuse handshakes from other pages than those of ``allowed_origins``, with 403.

    An entry is ``"example.com"``, ``".example.com"`` (with its subdomains), ``"example.com:3000"`` (this port only),
    ``"https://example.com:8443"`` (this scheme and port only), or ``"*"``, which checks nothing. A handshake without an
    origin, which no browser makes, is refused unless ``allow_missing_origin`` (default:
    ``RACEWAY["ALLOW_MISSING_ORIGIN"]``).
    """

    _where: ClassVar = "allowed_origins"
    """Where the entries stand, for who reads the log."""

    def __init__(
        self,
        inner: ASGIApplication,
        allowed_origins: Iterable[str],
        allow_missing_origin: bool | None = None,
    ) -> None:
        super().__init__(inner)
        self.allowed_origins = list(allowed_origins)
        self.allow_missing_origin = allow_missing_origin

    async def prepare(self, scope: Scope) -> None:
        if scope["type"] != "websocket":
            raise ValueError(f"{type(self).__qualname__} is for WebSockets, not for {scope['type']!r}")
        allowed = self.get_allowed_origins()
        if "*" in allowed:
            return
        origins = [value for name, value in scope["headers"] if name == b"origin"]
        if not origins:
            accepted = self.allow_missing_origin
            if accepted is None:
                accepted = get_settings().allow_missing_origin
        else:
            accepted = len(origins) == 1 and is_allowed(origins[0].decode("latin-1"), tuple(allowed))
        if not accepted:
            logger.info(
                "Refused a WebSocket at %s: %s.",
                ascii(scope["path"]),
                f"its origin {origins[0]!a} is not allowed ({self._where})"
                if origins
                else "it has no Origin, which native clients need RACEWAY['ALLOW_MISSING_ORIGIN'] for",
            )
            raise DenyConnection("This origin is not allowed.")

    def get_allowed_origins(self) -> list[str]:
        return self.allowed_origins


class AllowedHostsOriginValidator(OriginValidator):
    """Refuse handshakes from pages of other hosts than ``ALLOWED_HOSTS``."""

    _where = "ALLOWED_HOSTS"

    def __init__(self, inner: ASGIApplication, allow_missing_origin: bool | None = None) -> None:
        super().__init__(inner, (), allow_missing_origin)

    def get_allowed_origins(self) -> list[str]:
        return allowed_hosts()


def allowed_hosts() -> list[str]:
    """``ALLOWED_HOSTS``, or with ``DEBUG`` what Django puts in the place of an empty one."""
    if settings.DEBUG and not settings.ALLOWED_HOSTS:
        return list(LOCAL_HOSTS)
    return list(settings.ALLOWED_HOSTS)


@lru_cache(ORIGINS_REMEMBERED)
def is_allowed(origin: str, allowed_origins: tuple[str, ...]) -> bool:
    """Whether an ``Origin`` header (RFC 6454 section 7) matches one of the entries."""
    try:
        parts = urlsplit(origin)
        port = _port(parts)
    except ValueError:
        return False
    if not parts.scheme or parts.hostname is None:
        return False
    return any(_matches(parts, port, allowed) for allowed in allowed_origins)


def _matches(origin: SplitResult, port: int | None, allowed: str) -> bool:
    assert origin.hostname is not None
    try:
        wanted = urlsplit(allowed.lower() if "://" in allowed else f"//{allowed.lower()}")
        wanted_port = _port(wanted)
    except ValueError:  # one entry that is no host is not to refuse the others' pages
        return False
    return (
        wanted.hostname is not None
        and wanted.scheme in ("", origin.scheme)
        and (port == wanted_port or (not wanted.scheme and wanted_port is None))
        and is_same_domain(origin.hostname, wanted.hostname)
    )


def _port(parts: SplitResult) -> int | None:
    return DEFAULT_PORTS.get(parts.scheme) if parts.port is None else parts.port
