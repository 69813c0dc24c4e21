"""What ``raceway serve`` can be told, in one immutable value."""

from __future__ import annotations

from dataclasses import dataclass, field

from raceway.errors import ConfigurationError
from raceway.server.access import AccessLog
from raceway.wire.limits import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Where to listen, whom to trust, what to log, and the limits.

    Give one of ``host`` and ``port``, ``uds`` (a Unix socket's path) or ``fd`` (listening sockets that were
    inherited). ``port=0`` takes a free one. ``access_log`` may be another one than that on standard output.
    ``drain_s`` is how long a stop may take, in seconds.
    Raises ``ConfigurationError`` where two settings cannot go together.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    uds: str | None = None
    fd: tuple[int, ...] = ()
    ssl_certfile: str | None = None
    ssl_keyfile: str | None = None
    root_path: str = ""
    proxy_headers: bool = False
    forwarded_allow_ips: str = "127.0.0.1,::1"
    access_log: bool | AccessLog = True
    drain_s: float = 30.0
    ws_compression: bool = True
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if self.uds is not None and self.fd:
            raise ConfigurationError(
                "Give either a Unix socket (--uds) or a file descriptor (--fd), not both."
            )
        if self.ssl_keyfile is not None and self.ssl_certfile is None:
            raise ConfigurationError("A TLS key (--ssl-keyfile) needs its certificate: add --ssl-certfile.")
        if not 0 <= self.port <= 65535:
            raise ConfigurationError(f"Port {self.port} does not exist: choose one from 0 to 65535.")
        if self.drain_s < 0:
            raise ConfigurationError("The drain time (--drain-seconds) cannot be negative.")
        if self.root_path and not self.root_path.startswith("/"):
            raise ConfigurationError(f"The root path {self.root_path!r} must begin with a slash.")
