"""Starting and stopping a server in an event loop."""

from __future__ import annotations

import asyncio
import logging
import random
import resource
import socket
import ssl
from typing import Final, TypeAlias

from asgiref.compatibility import guarantee_single_callable

from raceway.server.config import Config
from raceway.server.connection import Connection
from raceway.server.http import HttpConnection
from raceway.server.lifespan import Lifespan
from raceway.server.listener import BACKLOG, close_sockets, open_sockets
from raceway.server.shared import Shared
from raceway.server.tls import server_context
from raceway.types import ASGIApplication

logger = logging.getLogger("raceway.server")

STOP_GRACE_S: Final = 1.0
"""After the drain time: for close frames to be answered and applications to end, before they are cancelled."""

LIFESPAN_STOP_S: Final = 10.0
"""For the application's lifespan shutdown."""

SPARE_FILES: Final = 128
"""Open files that are kept for everything but client connections."""

POLL_S: Final = 0.02
"""How often a stop looks whether everyone has left."""

Listening: TypeAlias = tuple[str, int] | str
"""Where a server listens: host and port, or the path of a Unix socket."""


class Server:
    """Serve one ASGI application in the running event loop.

    ``await start()`` runs the application's lifespan start-up and listens; ``await stop()`` drains and shuts down.
    Raises ``ConfigurationError`` from ``start`` where something stands in the way. ``addresses`` says where it
    listens, ``counters`` what happened to clients that broke limits. ``sockets`` are bound ones to listen on in place
    of those that ``config`` names; the server closes them.
    """

    def __init__(
        self,
        application: ASGIApplication,
        config: Config | None = None,
        sockets: list[socket.socket] | None = None,
    ) -> None:
        self.application: ASGIApplication = guarantee_single_callable(application)  # type: ignore[no-untyped-call]
        self.config = Config() if config is None else config
        self.addresses: list[Listening] = []
        self._sockets: list[socket.socket] = [] if sockets is None else sockets
        self._listeners: list[asyncio.Server] = []
        self._tls: ssl.SSLContext | None = None
        self._lifespan: Lifespan | None = None
        self._shared: Shared | None = None
        self._hurried = False

    @property
    def counters(self) -> dict[str, int]:
        return {} if self._shared is None else dict(self._shared.counters)

    @property
    def connections(self) -> int:
        """Open connections."""
        return 0 if self._shared is None else len(self._shared.connections)

    async def start(self) -> None:
        await self.prepare()
        await self.listen()

    async def prepare(self) -> None:
        """The first half of the start: bind, and run the application's lifespan start-up."""
        config = self.config
        loop = asyncio.get_running_loop()
        self._tls = server_context(config.ssl_certfile, config.ssl_keyfile) if config.ssl_certfile else None
        shared = Shared(self.application, config, loop, config.limits.connections or connections_allowed())
        self._sockets = self._sockets or open_sockets(config)
        self._lifespan = Lifespan(self.application)
        try:
            await self._lifespan.start()
        except BaseException:
            self._lifespan.abandon()
            self._close_sockets()
            raise
        self.addresses = [listening_address(opened) for opened in self._sockets]
        shared.state = self._lifespan.state
        shared.start_ticking()
        self._shared = shared

    async def listen(self) -> None:
        """The second half: accept connections. Also what ends a pause (``pause_accepting``)."""
        shared, tls = self._shared, self._tls
        if shared is None or self._listeners:
            return
        loop = asyncio.get_running_loop()
        self._listeners = [
            await loop.create_server(
                lambda: HttpConnection(shared),
                sock=opened.dup(),  # a listener closes its own; ours stays for the next one
                backlog=BACKLOG,
                ssl=tls,
                ssl_handshake_timeout=self.config.limits.tls_handshake_timeout_s if tls else None,
            )
            for opened in self._sockets
        ]

    def pause_accepting(self) -> None:
        """Leave new connections to other processes that listen on the same sockets, until ``listen``."""
        for listener in self._listeners:
            listener.close()
        self._listeners = []

    async def stop(self, drain_s: float | None = None) -> None:
        """Refuse new connections, let requests finish, close sockets with 1012 spread over ``drain_s`` seconds.

        Whoever is left afterwards is told, cancelled and dropped within about two seconds more; the lifespan
        shutdown always runs.
        """
        shared = self._shared
        if shared is None:
            return
        drain_s = self.config.drain_s if drain_s is None else drain_s
        shared.draining = True
        self.pause_accepting()
        self._close_sockets()
        try:
            await self._drain(shared, drain_s)
            await self._cut(shared)
        finally:
            if self._lifespan is not None:
                await self._lifespan.stop(LIFESPAN_STOP_S)
            shared.stop_ticking()
            self._shared = None

    def _close_sockets(self) -> None:
        close_sockets(self._sockets, self.config.uds)
        self._sockets = []

    def hurry(self) -> None:
        """End the drain time of a stop that is under way; the rest of the stop takes the time that it needs."""
        self._hurried = True

    async def _drain(self, shared: Shared, drain_s: float) -> None:
        streams: list[Connection] = []
        for connection in list(shared.connections):
            if connection.is_stream:
                streams.append(connection)
            else:
                connection.drain()
        random.shuffle(streams)
        loop = shared.loop
        began = loop.time()
        for number, stream in enumerate(streams):
            due = began + drain_s * number / len(streams)
            while loop.time() < due and not stream.lost and not self._hurried:  # noqa: ASYNC110
                await asyncio.sleep(POLL_S)
            stream.drain()
        while loop.time() < began + drain_s and self._is_busy(shared) and not self._hurried:  # noqa: ASYNC110
            await asyncio.sleep(POLL_S)

    async def _cut(self, shared: Shared) -> None:
        """The drain time is over."""
        for connection in list(shared.connections):
            connection.drain()
        await self._wait_for_all(shared, STOP_GRACE_S)
        for call in list(shared.running):
            call.task.cancel()
        await self._wait_for_all(shared, STOP_GRACE_S)
        if shared.running:
            logger.error(
                "%d calls of the application did not end when they were cancelled.", len(shared.running)
            )
        for connection in list(shared.connections):
            connection.abort()
        await asyncio.sleep(0)

    async def _wait_for_all(self, shared: Shared, timeout_s: float) -> None:
        until = shared.loop.time() + timeout_s
        while self._is_busy(shared) and shared.loop.time() < until:  # noqa: ASYNC110
            await asyncio.sleep(POLL_S)

    def _is_busy(self, shared: Shared) -> bool:
        return bool(shared.connections or shared.running)


def raise_file_limit() -> None:
    """Let this process open as many files as it may (the soft limit becomes the hard one)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def connections_allowed() -> int:
    """How many connections fit under the open-file limit."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return 1_000_000
    return max(soft - SPARE_FILES, soft // 2)


def listening_address(opened: socket.socket) -> Listening:
    """Where a socket listens."""
    name: object = opened.getsockname()
    if isinstance(name, tuple):
        return name[0], name[1]
    return name.decode() if isinstance(name, bytes) else str(name)
