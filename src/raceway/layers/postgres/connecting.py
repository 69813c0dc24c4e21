"""Connections of the layer's own, to the database that Django's setting names."""

from __future__ import annotations

import asyncio
import os
import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import psycopg
from django.db import connections
from django.utils.connection import ConnectionDoesNotExist
from psycopg.conninfo import conninfo_to_dict

from raceway.errors import ConfigurationError, LayerUnavailable
from raceway.layers.postgres.limits import COMMAND_S, CONNECT_S
from raceway.layers.postgres.queries import QUERIES

KEPT_ALIVE: Final = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
"""So that a connection to a machine that is gone ends; in seconds, the last in milliseconds."""

NOT_FOR_LIBPQ: Final = ("context", "cursor_factory", "prepare_threshold")
"""What Django adds for psycopg: its own ways with types, which the layer does not need."""

Rows = list[tuple[Any, ...]]


class Place:
    """Where the tables are: an alias of ``DATABASES``; and a way to listen, if a pooler stands before that.

    Raises ``ConfigurationError`` for what cannot be.
    """

    def __init__(self, using: str, listen_dsn: str | None) -> None:
        self.using = using
        try:
            vendor = connections[using].vendor
        except ConnectionDoesNotExist:
            raise ConfigurationError(f"using={using!r} is no alias of DATABASES.") from None
        if vendor != "postgresql":
            raise ConfigurationError(f"using={using!r} is a database of {vendor}, not of PostgreSQL.")
        try:
            self._listening = None if listen_dsn is None else conninfo_to_dict(listen_dsn)
        except psycopg.ProgrammingError:  # which quotes it, with its password
            raise ConfigurationError("listen_dsn is no connection string of PostgreSQL.") from None

    @property
    def can_listen(self) -> bool:
        """Whether a connection is the same session from one statement to the next.

        Behind a pooler that lends connections for one transaction it is not, and Django is told to do without
        server-side cursors there.
        """
        return self._listening is not None or not connections[self.using].settings_dict.get(
            "DISABLE_SERVER_SIDE_CURSORS"
        )

    def parameters(self, name: str, *, listens: bool = False) -> dict[str, Any]:
        """What ``connect`` takes, for a connection that the server's operators see by ``name``."""
        if listens and self._listening is not None:
            given = dict(self._listening)
        else:
            given = {**connections[self.using].get_connection_params()}
            for key in NOT_FOR_LIBPQ:
                given.pop(key, None)
        return {
            **KEPT_ALIVE,
            "connect_timeout": CONNECT_S,
            **given,
            "application_name": f"raceway {name}",
            "autocommit": True,
            "prepare_threshold": None,  # a pooler would look for them in another session
        }


@contextmanager
def as_unavailable() -> Iterator[None]:
    """Say what went wrong in the server's own words."""
    try:
        yield
    except psycopg.errors.UndefinedTable as error:
        raise tables_are_missing(error) from error
    except psycopg.Error as error:
        raise LayerUnavailable(f"PostgreSQL: {said(error)}") from error


def tables_are_missing(error: psycopg.errors.UndefinedTable) -> LayerUnavailable:
    return LayerUnavailable(
        f"The tables of the PostgreSQL layer are missing ({said(error)}): run manage.py migrate."
    )


def said(error: psycopg.Error) -> str:
    return " ".join(str(error).split()) or type(error).__name__


class Session:
    """One connection in an event loop; one statement at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, connection: psycopg.AsyncConnection[Any]) -> None:
        self._loop = loop
        self.connection = connection

    @classmethod
    async def open(cls, place: Place, name: str, *, listens: bool = False) -> Session:
        """Raises ``LayerUnavailable``."""
        with as_unavailable():
            parameters = place.parameters(name, listens=listens)
            return cls(asyncio.get_running_loop(), await psycopg.AsyncConnection.connect(**parameters))

    async def run(self, query: str, parameters: dict[str, Any] | None = None) -> Rows:
        """The rows of one of ``QUERIES``. Raises ``LayerUnavailable``; whether it was done is not known then."""
        timer = self._loop.call_later(COMMAND_S, self._interrupt)
        try:
            with as_unavailable():
                cursor = self.connection.cursor(binary=True)
                await cursor.execute(QUERIES[query], parameters)
                return await cursor.fetchall() if cursor.description else []
        finally:
            timer.cancel()

    def _interrupt(self) -> None:
        """End it from our side: no answer has come for too long."""
        with suppress(OSError), socket.socket(fileno=os.dup(self.connection.pgconn.socket)) as connection:
            connection.shutdown(socket.SHUT_RDWR)

    @property
    def is_lost(self) -> bool:
        return self.connection.closed

    async def close(self) -> None:
        await self.connection.close()

    def drop(self) -> None:
        """Close it at once."""
        self.connection.pgconn.finish()


def has_ended(connection: psycopg.AsyncConnection[Any] | psycopg.Connection[Any]) -> bool:
    """Whether the server has ended an idle connection: what is written to one like that is lost for nothing."""
    poll = select.poll()
    try:
        poll.register(connection.pgconn.socket, select.POLLIN)
        while poll.poll(0):
            connection.pgconn.consume_input()
    except (psycopg.Error, OSError):
        return True
    return connection.closed


_of_the_parent: list[Any] = []


def forsake(connection: psycopg.AsyncConnection[Any] | psycopg.Connection[Any]) -> None:
    """In the child of a fork: close the socket, which is the parent's too, without a word to the server."""
    with suppress(psycopg.Error, OSError):
        os.close(connection.pgconn.socket)
    _of_the_parent.append(
        connection
    )  # it would complain of being forgotten, or close the socket's number once more
