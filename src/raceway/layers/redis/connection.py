"""Connections to servers, of event loops and of threads: the one module that knows ``hiredis``.

The words are those of RESP 2 (https://redis.io/docs/latest/develop/reference/protocol-spec/), which all servers speak.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import ssl
import time
import weakref
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar, cast

import hiredis

from raceway.layers.redis.hosts import Server
from raceway.layers.redis.topology import Ask, Asking, Refusal

Word: TypeAlias = str | bytes | int | float
Reply: TypeAlias = Any
"""``bytes``, ``int``, ``None``, a list of replies, or a ``Refusal``."""

T = TypeVar("T")

CONNECT_S: Final = 5.0
"""How long a connection may take to be made, with what is said on it first, unless the host's options say otherwise."""

ASK_S: Final = 0.5
"""The same for a question about where things are: sends wait a second, and somebody else must have its turn."""

READ_BYTES: Final = 256 * 1024

NEVER_READ_BYTES: Final = 1024 * 1024
"""What may wait in this process for a kernel that takes no more of it; further commands then wait outside."""


def pack(*words: Word) -> bytes:
    """A command as it is written."""
    packed: bytes = hiredis.pack_command(words)  # type: ignore[arg-type]  # its stub leaves out some words
    return packed


def new_reader() -> hiredis.Reader:
    return hiredis.Reader(replyError=Refusal)


class Ended(ConnectionError):
    """The server has ended the connection, or said what is no protocol."""


# What is said first


def introduction(server: Server) -> list[bytes]:
    """The commands before all others: who we are, and which database we mean."""
    options = server.options
    commands = []
    provider = options.get("credential_provider")
    if provider is not None:
        commands.append(pack("AUTH", *provider.get_credentials()))
    elif options.get("password"):
        names = (options["username"],) if options.get("username") else ()
        commands.append(pack("AUTH", *names, options["password"]))
    if options.get("client_name"):
        commands.append(pack("CLIENT", "SETNAME", options["client_name"]))
    if options.get("db"):
        commands.append(pack("SELECT", options["db"]))
    return commands


def require_welcome(server: Server, replies: Iterable[Reply]) -> None:
    """Raise the first ``Refusal`` among the answers to ``introduction``."""
    for reply in replies:
        if isinstance(reply, Refusal):
            raise Refusal(f"{server}: {reply}".rstrip("."))


def tls_of(server: Server) -> ssl.SSLContext | None:
    """How to encrypt, as the options with ``ssl_`` say; verified unless they say otherwise."""
    if not server.is_tls:
        return None
    options = server.options
    context = ssl.create_default_context(
        cafile=options.get("ssl_ca_certs"),
        capath=options.get("ssl_ca_path"),
        cadata=options.get("ssl_ca_data"),
    )
    required = options.get("ssl_cert_reqs", "required")
    context.check_hostname = bool(options.get("ssl_check_hostname", True)) and required == "required"
    context.verify_mode = {
        "none": ssl.CERT_NONE,
        "optional": ssl.CERT_OPTIONAL,
        "required": ssl.CERT_REQUIRED,
    }.get(required, required)
    if options.get("ssl_certfile"):
        context.load_cert_chain(
            options["ssl_certfile"], options.get("ssl_keyfile"), options.get("ssl_password")
        )
    if options.get("ssl_min_version"):
        context.minimum_version = ssl.TLSVersion(options["ssl_min_version"])
    if options.get("ssl_ciphers"):
        context.set_ciphers(options["ssl_ciphers"])
    return context


def connect_s(server: Server) -> float:
    return float(server.options.get("socket_connect_timeout") or CONNECT_S)


def set_options(connection: socket.socket, server: Server) -> None:
    if server.path is None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if server.options.get("socket_keepalive"):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in (server.options.get("socket_keepalive_options") or {}).items():
                connection.setsockopt(socket.IPPROTO_TCP, option, value)


class Tls:
    """TLS between bytes and bytes: the socket is somebody else's affair."""

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)

    def shake(self, data: bytes) -> bool:
        """Go on with the handshake; whether it is done. Raises ``ssl.SSLError``."""
        self._incoming.write(data)
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def said(self) -> bytes:
        """What has to be written now."""
        return self._outgoing.read()

    def encrypt(self, data: bytes) -> bytes:
        self._tls.write(data)
        return self._outgoing.read()

    def decrypt(self, data: bytes) -> bytes:
        """What ``data`` completes. Raises ``ssl.SSLError``, of which ``SSLZeroReturnError`` is the end."""
        self._incoming.write(data)
        pieces = []
        with suppress(ssl.SSLWantReadError):
            while piece := self._tls.read(READ_BYTES):
                pieces.append(piece)
        return b"".join(pieces)


# In an event loop


class Connection:
    """A connection of one event loop; all methods belong to the loop's thread.

    A file descriptor and not a transport is kept: what is with the kernel is then exactly known, and after a fork, or
    when its loop has been closed, it can be let go of without a word. It is closed once: by ``close``, with this
    object, or when the process ends.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, server: Server, connected: socket.socket) -> None:
        self.server = server
        self._loop = loop
        self._fd = connected.detach()
        self._close_fd = weakref.finalize(self, os.close, self._fd)
        self._tls: Tls | None = None
        self._reader = new_reader()
        self._unwritten = bytearray()
        self._is_waiting_to_write = False
        self._is_reading = False
        self._receive: Callable[[Reply], object] = lambda reply: None
        self._lost: Callable[[str], object] = lambda why: None
        self._roomy: Callable[[], object] = lambda: None
        self.heard_at = loop.time()
        """When the server was last heard, by the loop's clock."""

    def start(
        self, receive: Callable[[Reply], object], lost: Callable[[str], object], roomy: Callable[[], object]
    ) -> None:
        """From now on call ``receive`` with each reply, ``lost`` once it ends by itself, and ``roomy`` when the kernel
        takes again what ``has_room`` denied."""
        self._receive, self._lost, self._roomy = receive, lost, roomy
        self.heard_at = self._loop.time()
        self._loop.add_reader(self._fd, self._readable)
        self._is_reading = True
        self._hear()

    @property
    def is_open(self) -> bool:
        return self._fd >= 0

    @property
    def has_room(self) -> bool:
        return len(self._unwritten) < NEVER_READ_BYTES

    def write(self, data: bytes) -> None:
        """Give ``data`` to the kernel, now or when it takes it; nothing happens on a lost connection."""
        if self._fd < 0:
            return
        if self._tls is not None:
            data = self._tls.encrypt(data)
        self._write(data)

    def _write(self, data: bytes) -> None:
        if self._is_waiting_to_write:
            self._unwritten += data
            return
        try:
            sent = os.write(self._fd, data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            self._loop.call_soon(
                self.lose, f"{self.server} cannot be written to ({error.strerror})", self._fd
            )
            return
        if sent < len(data):
            self._unwritten += memoryview(data)[sent:]
            self._is_waiting_to_write = True
            self._loop.add_writer(self._fd, self._writable)

    def _writable(self) -> None:
        try:
            sent = os.write(self._fd, self._unwritten)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.lose(f"{self.server} cannot be written to ({error.strerror})")
            return
        had_room = self.has_room
        del self._unwritten[:sent]
        if not self._unwritten:
            self._is_waiting_to_write = False
            self._loop.remove_writer(self._fd)
        if not had_room and self.has_room:
            self._roomy()

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.lose(f"{self.server} cannot be read from ({error.strerror})")
            return
        if not data:
            self.lose(f"{self.server} has ended the connection")
            return
        self.heard_at = self._loop.time()
        try:
            self._feed(data)
        except ssl.SSLError as error:
            self.lose(f"{self.server} has ended the connection ({error.reason})")
            return
        self._hear()

    def _feed(self, data: bytes) -> None:
        if self._tls is not None:
            data = self._tls.decrypt(data)
            if answer := self._tls.said():
                self._write(answer)
        self._reader.feed(data)

    def _hear(self) -> None:
        reader, receive = self._reader, self._receive
        try:
            while (reply := reader.gets()) is not False and self._fd >= 0:
                receive(reply)
        except hiredis.ProtocolError as error:
            self.lose(f"{self.server} speaks no RESP ({error})")

    def lose(self, why: str, fd: int | None = None) -> None:
        """End it, and tell so; nothing happens if it has ended, or has another file descriptor than ``fd``."""
        if self._fd >= 0 and fd in (None, self._fd):
            self.close()
            self._lost(why)

    def close(self) -> None:
        """End it without telling."""
        if self._fd >= 0:
            if self._is_reading:
                self._loop.remove_reader(self._fd)
            if self._is_waiting_to_write:
                self._loop.remove_writer(self._fd)
            self.forsake()

    def forsake(self) -> None:
        """Close the file descriptor without the loop, which has ended, or is the parent process's."""
        self._fd = -1
        self._close_fd()

    # Before it starts

    async def shake_hands(self, context: ssl.SSLContext) -> None:
        tls = Tls(context, self.server.host)
        is_done = tls.shake(b"")
        while not is_done:
            await self._say(tls.said())
            is_done = tls.shake(await self._hear_bytes())
        await self._say(tls.said())
        self._tls = tls

    async def converse(self, commands: Sequence[bytes]) -> list[Reply]:
        """Say ``commands`` and wait for their answers. Raises ``OSError``."""
        said = b"".join(commands)
        await self._say(self._tls.encrypt(said) if self._tls is not None and said else said)
        replies: list[Reply] = []
        while len(replies) < len(commands):
            reply = self._reader.gets()
            if reply is False:
                self._feed(await self._hear_bytes())
            else:
                replies.append(reply)
        return replies

    async def _say(self, data: bytes) -> None:
        while data:
            await self._ready(self._loop.add_writer, self._loop.remove_writer)
            data = data[os.write(self._fd, data) :]

    async def _hear_bytes(self) -> bytes:
        await self._ready(self._loop.add_reader, self._loop.remove_reader)
        data = os.read(self._fd, READ_BYTES)
        if not data:
            raise Ended(f"{self.server} has ended the connection")
        return data

    async def _ready(self, add: Callable[..., Any], remove: Callable[..., Any]) -> None:
        ready: asyncio.Future[None] = self._loop.create_future()
        add(self._fd, _resolve, ready)
        try:
            await ready
        finally:
            remove(self._fd)


def _resolve(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


async def connect(server: Server, also: Sequence[bytes] = ()) -> Connection:
    """A connection on which the introduction, and the commands ``also``, have been said and answered.

    Raises ``OSError``, and ``Refusal`` if the server does not want us.
    """
    try:
        async with asyncio.timeout(connect_s(server)):
            connection = await _open(server)
            try:
                if (context := tls_of(server)) is not None:
                    await connection.shake_hands(context)
                require_welcome(server, await connection.converse([*introduction(server), *also]))
            except BaseException:
                connection.close()
                raise
            return connection
    except TimeoutError:
        raise TimeoutError(f"{server} does not answer") from None
    except hiredis.ProtocolError as error:
        raise Ended(f"{server} speaks no RESP ({error})") from None


async def _open(server: Server) -> Connection:
    loop = asyncio.get_running_loop()
    if server.path is not None:
        return Connection(loop, server, await _connected(socket.AF_UNIX, server.path))
    errors: list[OSError] = []
    for family, _, _, _, address in await _addresses(server):
        try:
            connected = await _connected(family, address)
        except OSError as error:
            errors.append(error)
            continue
        set_options(connected, server)
        return Connection(loop, server, connected)
    raise errors[0] if errors else OSError(f"{server} has no address")


async def _addresses(server: Server) -> list[Any]:
    try:
        return socket.getaddrinfo(
            server.host, server.port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
        )
    except socket.gaierror:  # a name: to look it up takes time, and a thread
        loop = asyncio.get_running_loop()
        return await loop.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM)


async def _connected(family: int, address: Any) -> socket.socket:
    loop = asyncio.get_running_loop()
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        await loop.sock_connect(connection, address)
    except BaseException:
        connection.close()
        raise
    return connection


# In a thread without one


def _dial(server: Server, timeout_s: float) -> socket.socket:
    """A socket that is connected, with TLS if the server has it. Raises ``OSError``."""
    if server.path is not None:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    else:
        connection = socket.create_connection((server.host, server.port), timeout_s)
    try:
        connection.settimeout(timeout_s)
        if server.path is not None:
            connection.connect(server.path)
        set_options(connection, server)
        context = tls_of(server)
        return connection if context is None else context.wrap_socket(connection, server_hostname=server.host)
    except BaseException:
        connection.close()
        raise


class ThreadConnection:
    """A connection on which one thread at a time asks and waits. Raises ``OSError`` for whatever goes wrong."""

    def __init__(self, server: Server, also: Sequence[bytes] = ()) -> None:
        self.server = server
        self.made_at = time.monotonic()
        timeout = connect_s(server)
        self._reader = new_reader()
        try:
            self._socket = _dial(server, timeout)
        except OSError as error:
            raise OSError(f"{server}: {error}") from None
        try:
            commands = [*introduction(server), *also]
            require_welcome(server, self.ask(commands, timeout))
        except BaseException:
            self._socket.close()
            raise

    def ask(self, commands: Sequence[bytes], timeout_s: float) -> list[Reply]:
        """Say ``commands`` at once and wait for the answer to each."""
        if not commands:
            return []
        self._socket.settimeout(timeout_s)
        self._socket.sendall(b"".join(commands))
        return [self.hear(timeout_s) for _ in commands]

    def hear(self, timeout_s: float) -> Reply:
        """What the server says next, on a connection that subscribes."""
        try:
            while (reply := self._reader.gets()) is False:
                self._socket.settimeout(timeout_s)
                data = self._socket.recv(READ_BYTES)
                if not data:
                    raise Ended(f"{self.server} has ended the connection")
                self._reader.feed(data)
        except hiredis.ProtocolError as error:
            raise Ended(f"{self.server} speaks no RESP ({error})") from None
        return reply

    @property
    def is_open(self) -> bool:
        return self._socket.fileno() >= 0

    @property
    def is_stale(self) -> bool:
        """Between questions there is nothing to read but the end of the connection."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(0))

    def close(self) -> None:
        self._socket.close()


# Who asks for a topology


async def find_out(asking: Asking[T]) -> T:
    """Ask in the running loop what ``asking`` wants to know. Raises what it raises."""
    step = partial(next, asking)
    while True:
        try:
            ask = step()
        except StopIteration as end:
            return cast(T, end.value)
        try:
            step = partial(asking.send, _accepted(await _answer(ask)))
        except (OSError, Refusal) as error:
            step = partial(asking.throw, error)


def hurried(server: Server) -> Server:
    """The same, but another one is asked if it does not answer in ``ASK_S``, unless its options say otherwise."""
    return replace(server, options={"socket_connect_timeout": ASK_S, **server.options})


async def _answer(ask: Ask) -> Reply:
    server = hurried(ask.server)
    connection = await connect(server)
    try:
        async with asyncio.timeout(connect_s(server)):
            return (await connection.converse([pack(*ask.command)]))[0]
    finally:
        connection.close()


def find_out_in_thread(asking: Asking[T]) -> T:
    """The same in a thread without a loop."""
    step = partial(next, asking)
    while True:
        try:
            ask = step()
        except StopIteration as end:
            return cast(T, end.value)
        try:
            step = partial(asking.send, _accepted(_answer_in_thread(ask)))
        except (OSError, Refusal) as error:
            step = partial(asking.throw, error)


def _answer_in_thread(ask: Ask) -> Reply:
    connection = ThreadConnection(server := hurried(ask.server))
    try:
        return connection.ask([pack(*ask.command)], connect_s(server))[0]
    finally:
        connection.close()


def _accepted(reply: Reply) -> Reply:
    if isinstance(reply, Refusal):
        raise reply
    return reply
