"""Opening the sockets that a server listens on."""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys
from typing import Final

from raceway.errors import ConfigurationError
from raceway.server.config import Config

BACKLOG: Final = 2048
"""Connections that may wait to be accepted; the kernel may allow fewer."""


def open_sockets(config: Config) -> list[socket.socket]:
    """Bind what ``config`` names and listen; one socket per address that its host has.

    Raises ``ConfigurationError`` saying in one sentence what stands in the way.
    """
    if config.fd:
        return [_inherited(fd) for fd in config.fd]
    if config.uds is not None:
        return [_unix(config.uds)]
    return _tcp(config.host, config.port)


def open_slots(config: Config, slots: int) -> list[list[socket.socket]]:
    """What ``slots`` processes listen on: each has sockets of its own, over which Linux spreads connections.

    Those of the first slot listen, so that no other server can have the port; the others are bound, and get
    connections once somebody listens on them. All slots have the same list where they have to share (``slots_share``).
    Raises as ``open_sockets``.
    """
    if slots_share(config):
        return [open_sockets(config)] * slots
    opened: list[list[socket.socket]] = []
    try:
        opened.append(_tcp(config.host, config.port, spread=True))
        for _ in range(slots - 1):
            opened.append([_beside(first) for first in opened[0]])
    except OSError as error:
        for sockets in opened:
            close_sockets(sockets, None)
        raise ConfigurationError(_why_not(config.host, config.port, error)) from None
    return opened


def slots_share(config: Config) -> bool:
    """Whether all processes have to accept from the same sockets."""
    return bool(config.fd) or config.uds is not None or sys.platform != "linux"


def _beside(first: socket.socket) -> socket.socket:
    beside = socket.socket(first.family, first.type, first.proto)
    _prepare(beside)
    beside.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    beside.bind(first.getsockname())
    return beside


def close_sockets(sockets: list[socket.socket], uds: str | None) -> None:
    """Close them, and remove the Unix socket's file."""
    for opened in sockets:
        opened.close()
    if uds is not None and os.path.exists(uds):
        os.unlink(uds)


def close_slots(slots: list[list[socket.socket]], uds: str | None) -> None:
    """Close those of all slots, once: a second call does nothing, since the file may be another server's by then."""
    for number, sockets in enumerate(slots):
        close_sockets(sockets, None if number else uds)
    slots.clear()


def _inherited(fd: int) -> socket.socket:
    try:
        inherited = socket.socket(fileno=os.dup(fd))
        listening = inherited.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise ConfigurationError(f"File descriptor {fd} is not an open socket: {error.strerror}.") from None
    if not listening:
        inherited.close()
        raise ConfigurationError(f"File descriptor {fd} is a socket, but not a listening one.")
    inherited.setblocking(False)
    return inherited


def _unix(path: str) -> socket.socket:
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if os.path.exists(path):
            if not stat.S_ISSOCK(os.stat(path).st_mode):
                raise ConfigurationError(f"{path} exists and is not a socket; choose another path for --uds.")
            if opened.connect_ex(path) == 0:
                raise ConfigurationError(
                    f"Another server is listening on {path}; stop it or choose another path."
                )
            os.unlink(path)  # left behind by a server that was killed
            opened.close()
            opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        opened.bind(path)
        opened.listen(BACKLOG)
        opened.setblocking(False)
    except OSError as error:
        opened.close()
        raise ConfigurationError(
            f"Cannot listen on the Unix socket {path}: {error.strerror or error}."
        ) from None
    except ConfigurationError:
        opened.close()
        raise
    return opened


def _tcp(host: str, port: int, spread: bool = False) -> list[socket.socket]:
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise ConfigurationError(f"Host {host!r} has no address: {error}.") from None
    sockets: list[socket.socket] = []
    for family, kind, protocol, _, address in dict.fromkeys(found):
        opened = socket.socket(family, kind, protocol)
        sockets.append(opened)
        try:
            _prepare(opened)
            if port == 0 and len(sockets) > 1:  # one port for all addresses of the host
                address = (address[0], sockets[0].getsockname()[1], *address[2:])
            opened.bind(address)
            if spread:
                sockets[-1] = opened = _open_to_others(opened)
            opened.listen(BACKLOG)
        except OSError as error:
            close_sockets(sockets, None)
            raise ConfigurationError(_why_not(host, port, error)) from None
    return sockets


def _prepare(opened: socket.socket) -> None:
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if opened.family == socket.AF_INET6:
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    opened.setblocking(False)


def _open_to_others(bound: socket.socket) -> socket.socket:
    """The socket again, with others allowed beside it.

    It was bound without that: with it, a second server of the same user would join in, and nobody would be told. The
    new one is bound to a number and not to 0, so it keeps its port when it stops listening.
    """
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    with bound:
        return _beside(bound)


def _why_not(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} of {host} is in use: stop who uses it, or choose another port."
    if error.errno == errno.EACCES:
        return f"Port {port} of {host} needs privileges that this process lacks: choose one above 1023."
    return f"Cannot listen on {host} port {port}: {error.strerror}."
