"""Redis or Valkey for tests: single, as three shards, as a Cluster and under Sentinel.

``shared_server()`` and its like start once in a run, and end with it: a test takes a prefix of its own
(``new_prefix()``). Whoever kills or pauses servers takes ones of its own: ``running_server()`` and its like.
"""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

START_S = 10.0
ANSWER_S = 5.0
SLOTS = 16384
MASTER = "mymaster"

T = TypeVar("T")


def binary() -> str:
    """The server on the PATH; without one the test is skipped."""
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found is None:
        raise unittest.SkipTest("redis-server is missing (on Debian, as root: apt-get install redis-server)")
    return found


def new_prefix() -> str:
    """Keys of one test among those of others."""
    return f"t{secrets.token_hex(4)}"


class Refused(Exception):
    """A server answered with an error."""


class Server:
    """One server process, with nothing kept on disk. ``options`` are those of the command line, without ``--``."""

    def __init__(self, **options: Any) -> None:
        self.folder = tempfile.mkdtemp(prefix="rw-")
        self.port = free_port()
        self.options = options
        self.unix_socket = f"{self.folder}/s"
        self._process: subprocess.Popen[bytes] | None = None
        self._is_paused = False

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, on the same port as before if there was one, and wait until it answers."""
        options = {
            "port": self.port,
            "bind": "127.0.0.1",
            "unixsocket": self.unix_socket,
            "dir": self.folder,
            "logfile": f"{self.folder}/log",
            "save": "",
            "appendonly": "no",
            **self.options,
        }
        words = [word for name, value in options.items() for word in (f"--{name}", *words_of(value))]
        self._process = subprocess.Popen([*ends_with_parent(), binary(), *words])
        eventually(self._answers, START_S, lambda: f"{self.address} does not start: {self.log()[-800:]}")

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"redis-server has ended: {self.log()[-800:]}")
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return not self._is_plain or self.ask("PING") == b"PONG"
        except Refused as refused:
            return str(refused).startswith("NOAUTH")
        except OSError:
            return False

    @property
    def _is_plain(self) -> bool:
        return self.options.get("port") != 0

    def log(self) -> str:
        path = Path(self.folder, "log")
        return path.read_text() if path.exists() else ""

    def kill(self) -> None:
        """At once, as a crash does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(START_S)
            self._is_paused = False

    def stop(self) -> None:
        """In good order."""
        if self._process is not None and self._process.poll() is None:
            self.resume()
            self._process.terminate()
            try:
                self._process.wait(START_S)
            except subprocess.TimeoutExpired:
                self.kill()

    def pause(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)
        self._is_paused = True

    def resume(self) -> None:
        if self._is_paused:
            os.kill(self.pid, signal.SIGCONT)
            self._is_paused = False

    def end(self) -> None:
        """Stop it and forget what it had."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def ask(self, *words: str | int | bytes) -> Any:
        """What it answers to a command. Raises ``Refused`` and ``OSError``."""
        with socket.create_connection(("127.0.0.1", self.port), ANSWER_S) as connection:
            connection.settimeout(ANSWER_S)
            connection.sendall(packed(words))
            with connection.makefile("rb") as replies:
                return read_reply(replies)

    def info(self, section: str) -> dict[str, str]:
        lines = self.ask("INFO", section).decode().splitlines()
        return dict(line.partition(":")[::2] for line in lines)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def words_of(value: Any) -> list[str]:
    return [str(word) for word in value] if isinstance(value, tuple) else [str(value)]


def ends_with_parent() -> list[str]:
    """Before a command: what ends it with the thread that starts it, if the tests are killed. Linux has that."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL"] if setpriv else []


def eventually(
    holds: Callable[[], T], within_s: float, complaint: Callable[[], str] = lambda: "it does not happen"
) -> T:
    """What ``holds`` gives once that is true."""
    until = time.monotonic() + within_s
    while not (value := holds()):
        assert time.monotonic() < until, complaint()
        time.sleep(0.02)
    return value


def packed(words: tuple[str | int | bytes, ...]) -> bytes:
    encoded = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in encoded)


def read_reply(replies: Any) -> Any:
    line: bytes = replies.readline()
    if not line:
        raise ConnectionError("the server has ended the connection")
    kind, rest = line[:1], line[1:-2]
    if kind == b"-":
        raise Refused(rest.decode())
    if kind == b":":
        return int(rest)
    if kind == b"$":
        return None if rest == b"-1" else replies.read(int(rest) + 2)[:-2]
    if kind == b"*":
        return None if rest == b"-1" else [read_reply(replies) for _ in range(int(rest))]
    return rest


# A Cluster


class Cluster:
    """Masters that share the slots evenly."""

    def __init__(self, masters: int = 3, node_timeout_ms: int = 1000) -> None:
        self.nodes = [self._new_node(node_timeout_ms) for _ in range(masters)]
        self._node_timeout_ms = node_timeout_ms

    def _new_node(self, node_timeout_ms: int) -> Server:
        return Server(
            **{
                "cluster-enabled": "yes",
                "cluster-config-file": "nodes.conf",
                "cluster-port": free_port(),
                "cluster-node-timeout": node_timeout_ms,
                "cluster-require-full-coverage": "no",
                "cluster-replica-validity-factor": 0,
                "repl-ping-replica-period": 1,
                "repl-diskless-sync-delay": 0,
            }
        )

    @property
    def hosts(self) -> list[Any]:
        """The option ``hosts`` of a layer."""
        return [{"cluster": [node.address for node in self.nodes[:2]]}]

    def start(self) -> None:
        for node in self.nodes:
            node.start()
        share = SLOTS // len(self.nodes)
        for number, node in enumerate(self.nodes):
            last = SLOTS - 1 if node is self.nodes[-1] else (number + 1) * share - 1
            node.ask("CLUSTER", "ADDSLOTSRANGE", number * share, last)
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            self._meet(node)
        eventually(self._is_whole, START_S)

    def _meet(self, node: Server) -> None:
        if node is not self.nodes[0]:
            self.nodes[0].ask("CLUSTER", "MEET", *node.address, node.options["cluster-port"])

    def _is_whole(self) -> bool:
        infos = [node.ask("CLUSTER", "INFO").decode() for node in self.nodes]
        known = f"cluster_known_nodes:{len(self.nodes)}"
        return all("cluster_state:ok" in info and known in info for info in infos) and all(
            covered(node.ask("CLUSTER", "SLOTS")) == SLOTS for node in self.nodes
        )

    def add_replica(self, of: Server) -> Server:
        """A replica that takes over from ``of`` when that dies."""
        replica = self._new_node(self._node_timeout_ms)
        replica.start()
        self.nodes.append(replica)
        self._meet(replica)
        eventually(self._is_whole, START_S)
        replica.ask("CLUSTER", "REPLICATE", node_id(of))
        eventually(lambda: replica.info("replication").get("master_link_status") == "up", START_S)
        return replica

    def owner(self, slot: int) -> Server:
        for first, last, (_, port, *_rest), *_replicas in self.nodes[0].ask("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return next(node for node in self.nodes if node.port == port)
        raise AssertionError(f"nobody has the slot {slot}")

    def begin_move(self, slot: int, to: Server) -> Server:
        """Say that a slot moves, without moving it yet; from which node."""
        source = self.owner(slot)
        to.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", node_id(source))
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", node_id(to))
        return source

    def end_move(self, slot: int, source: Server, to: Server) -> None:
        """Move the slot's keys, then the slot."""
        while keys := source.ask("CLUSTER", "GETKEYSINSLOT", slot, 100):
            source.ask("MIGRATE", *to.address, "", 0, 5000, "KEYS", *keys)
        for node in (to, source, *(node for node in self.nodes if node not in (to, source))):
            with suppress(Refused):  # a replica
                node.ask("CLUSTER", "SETSLOT", slot, "NODE", node_id(to))

    def move(self, slot: int, to: Server) -> None:
        self.end_move(slot, self.begin_move(slot, to), to)

    def end(self) -> None:
        for node in self.nodes:
            node.end()


def covered(slots: Any) -> int:
    return sum(last - first + 1 for first, last, *_ in slots)


def node_id(node: Server) -> str:
    name: bytes = node.ask("CLUSTER", "MYID")
    return name.decode()


# Sentinel


class Sentinels:
    """A master, its replica, and three Sentinels that agree on a new master half a second after the old one died."""

    def __init__(self) -> None:
        quick = {"repl-ping-replica-period": 1, "repl-diskless-sync-delay": 0}
        self.servers = [Server(**quick), Server(**quick)]
        self.sentinels: list[Server] = []

    @property
    def hosts(self) -> list[Any]:
        """The option ``hosts`` of a layer."""
        return [{"master_name": MASTER, "sentinels": [sentinel.address for sentinel in self.sentinels]}]

    def start(self) -> None:
        master, replica = self.servers
        master.start()
        replica.options["replicaof"] = master.address
        replica.start()
        eventually(lambda: replica.info("replication").get("master_link_status") == "up", START_S)
        for _ in range(3):
            sentinel = SentinelServer(master)
            self.sentinels.append(sentinel)
            sentinel.start()
        eventually(self._know_each_other, START_S)

    def _know_each_other(self) -> bool:
        return all(sentinel.knows_all() for sentinel in self.sentinels)

    def master(self) -> Server:
        """Who most of the Sentinels say is master."""
        ports = [int(sentinel.ask(*GET_MASTER)[1]) for sentinel in self.sentinels]
        port = max(ports, key=ports.count)
        return next(server for server in self.servers if server.port == port)

    def end(self) -> None:
        for server in (*self.sentinels, *self.servers):
            server.end()


GET_MASTER = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER)


class SentinelServer(Server):
    """Keeps what it knows in a file of its own, so it is started by that."""

    def __init__(self, master: Server) -> None:
        super().__init__()
        Path(self.folder, "conf").write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self.folder}\nlogfile {self.folder}/log\n"
            f"sentinel monitor {MASTER} {master.address[0]} {master.port} 2\n"
            f"sentinel down-after-milliseconds {MASTER} 500\n"
            f"sentinel failover-timeout {MASTER} 3000\n"
        )

    def start(self) -> None:
        self._process = subprocess.Popen([*ends_with_parent(), binary(), f"{self.folder}/conf", "--sentinel"])
        eventually(self._answers, START_S, lambda: f"Sentinel does not start: {self.log()[-800:]}")

    def knows_all(self) -> bool:
        said = self.ask("SENTINEL", "MASTER", MASTER)
        known = dict(zip(said[::2], said[1::2], strict=True))
        return known[b"num-other-sentinels"] == b"2" and known[b"num-slaves"] == b"1"


# For one test, or for all


@contextmanager
def running_server(**options: Any) -> Iterator[Server]:
    with ExitStack() as stack:
        server = Server(**options)
        stack.callback(server.end)
        server.start()
        yield server


@contextmanager
def running_cluster(masters: int = 3) -> Iterator[Cluster]:
    with ExitStack() as stack:
        cluster = Cluster(masters)
        stack.callback(cluster.end)
        cluster.start()
        yield cluster


@contextmanager
def running_sentinels() -> Iterator[Sentinels]:
    with ExitStack() as stack:
        sentinels = Sentinels()
        stack.callback(sentinels.end)
        sentinels.start()
        yield sentinels


_shared = ExitStack()
atexit.register(_shared.close)


@cache
def shared_server() -> Server:
    return _shared.enter_context(running_server())


@cache
def shared_shards() -> tuple[Server, ...]:
    """Three servers that a layer may shard over."""
    return (shared_server(), *(_shared.enter_context(running_server()) for _ in range(2)))


@cache
def shared_cluster() -> Cluster:
    return _shared.enter_context(running_cluster())


@cache
def shared_sentinels() -> Sentinels:
    return _shared.enter_context(running_sentinels())
