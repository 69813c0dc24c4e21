"""PostgreSQL for tests, from this machine's binaries: started on a free port, stopped by its process id.

``shared_server()`` starts once in a run, and ends with it: a test takes a prefix of its own, or a database. Whoever
restarts or pauses a server takes one of its own: ``running_server()``.
"""

from __future__ import annotations

import atexit
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
from django.core.management import call_command
from django.db import connections
from psycopg import sql

import tests.project  # noqa: F401  Django's settings

START_S = 60.0
USERS = ("postgres", "nobody")
"""As whom it runs if we are root, which it refuses to be."""

SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "on",  # as it is for users; without fsync it costs what it costs in memory
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "max_connections": "200",
    "listen_addresses": "127.0.0.1",
    "autovacuum_naptime": "5s",
    "log_min_messages": "warning",
}


def binaries() -> Path | None:
    """The folder of the newest server on this machine."""
    on_path = shutil.which("postgres")
    if on_path and shutil.which("initdb"):
        return Path(on_path).resolve().parent
    installed = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest = max(installed, key=lambda path: float(path.parts[-3]), default=None)
    return None if newest is None else newest.parent


class Server:
    """A running server, and what tests do to it. ``user`` may do anything, without a password."""

    user = "raceway"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = binaries()
        self.port = free_port()
        self._as_user: list[str] = []
        self._names = count(1)
        self._process: subprocess.Popen[bytes] | None = None
        if os.geteuid() == 0:
            self._be_another_user()
        self._run(
            "initdb",
            "-D",
            self.data,
            "-U",
            self.user,
            "--auth=trust",
            "-E",
            "UTF8",
            "--no-sync",
            "--locale=C",
        )
        self.start()

    @property
    def data(self) -> str:
        return str(self.folder / "data")

    def _be_another_user(self) -> None:
        known = {entry.pw_name: entry for entry in pwd.getpwall()}
        user = next(known[name] for name in USERS if name in known)
        os.chown(self.folder, user.pw_uid, user.pw_gid)
        self._as_user = [
            "setpriv",
            f"--reuid={user.pw_uid}",
            f"--regid={user.pw_gid}",
            "--clear-groups",
            "--",
        ]

    def _command(self, *command: str) -> list[str]:
        program, *options = command
        assert self.bin is not None
        return [*self._as_user, str(self.bin / program), *options]

    def _run(self, *command: str) -> None:
        done = subprocess.run(
            self._command(*command), cwd="/", capture_output=True, text=True, timeout=START_S
        )
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
        command = self._command(
            "postgres", "-D", self.data, "-p", str(self.port), "-k", str(self.folder), *options
        )
        with open(self.folder / "log", "ab") as log:
            self._process = subprocess.Popen(command, cwd="/", stdout=log, stderr=log)
        deadline = time.monotonic() + START_S
        while True:
            try:
                self.connect("postgres").close()
                return
            except psycopg.OperationalError as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((self.folder / "log").read_text()) from error
            time.sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT: in good order, without waiting for clients. SIGQUIT: as if it had crashed."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(START_S)
            self._process = None

    def restart(self, how: signal.Signals = signal.SIGINT) -> None:
        self.stop(how)
        self.start()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """While this lasts, none of its processes runs."""
        pids = [self._process.pid, *children(self._process.pid)]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def dsn(self, database: str) -> str:
        return f"host=127.0.0.1 port={self.port} user={self.user} dbname={database}"

    def connect(self, database: str) -> psycopg.Connection:
        return psycopg.connect(self.dsn(database), autocommit=True)

    def create_database(self) -> str:
        """A new, empty database; its name."""
        name = f"test_{next(self._names)}"
        with self.connect("postgres") as connection:
            connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        return name

    def settings(self, database: str) -> dict[str, object]:
        """What ``DATABASES`` says of one."""
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": database,
            "USER": self.user,
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
        }


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def running_server() -> Iterator[Server]:
    """A server for one test. Without PostgreSQL on this machine the test is skipped."""
    if binaries() is None:
        raise unittest.SkipTest("PostgreSQL is missing (on Debian, as root: apt-get install postgresql)")
    # Not under the temporary directory of the run, which another user may not enter.
    folder = Path(tempfile.mkdtemp(prefix="rw-pg-", dir="/tmp"))
    running = None
    try:
        running = Server(folder)
        yield running
    finally:
        if running is not None:
            running.stop(signal.SIGQUIT)
        shutil.rmtree(folder, ignore_errors=True)


_shared = ExitStack()
atexit.register(_shared.close)


@cache
def shared_server() -> Server:
    return _shared.enter_context(running_server())


@cache
def shared_database() -> Database:
    """A migrated database of the shared server."""
    return Database(shared_server())


class Database:
    """A new database with the tables of the layer, as an alias of ``DATABASES``."""

    def __init__(self, server: Server, **settings: object) -> None:
        self.server = server
        self.name = server.create_database()
        self.alias = f"postgres_{secrets.token_hex(4)}"
        self.settings = {**server.settings(self.name), **settings}
        add_alias(self.alias, self.settings)
        migrating = threading.Thread(target=self._migrate)  # the caller's thread may have an event loop
        migrating.start()
        migrating.join()

    def _migrate(self) -> None:
        call_command("migrate", "raceway_postgres", database=self.alias, verbosity=0)
        connections.close_all()

    def run(self, query: str, *parameters: object) -> list[tuple[object, ...]]:
        with self.server.connect(self.name) as connection:
            cursor = connection.execute(query, parameters)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []

    def pass_time(self, prefix: str, seconds: float) -> None:
        """What a layer has written is so much older."""
        ages = {"queue": ("channel", "ready_at", "expires_at"), "named": ("groupname", "until")}
        for table, (name, *times) in {**ages, "tally": ("channel", "since", "until")}.items():
            changes = ", ".join(f"{time} = {time} - %s * interval '1 second'" for time in times)
            self.run(
                f"UPDATE raceway_postgres_{table} SET {changes} WHERE starts_with({name}, %s)",
                *[seconds for _ in times],
                f"{prefix}:",
            )

    def kill_sessions(self, like: str = "%") -> int:
        """End the layer's connections whose names are so; how many."""
        ended = self.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = %s AND application_name LIKE %s AND pid <> pg_backend_pid()",
            self.name,
            f"raceway {like}",
        )
        return len(ended)


def add_alias(alias: str, settings: Any) -> None:
    """One more of ``DATABASES``."""
    databases = connections.configure_settings({**connections.databases, alias: settings})
    connections.databases[alias] = databases[alias]


def new_prefix() -> str:
    """Rows of one test among those of others."""
    return f"t{secrets.token_hex(4)}"
