"""The layer that needs nothing but the project's own PostgreSQL."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, cast

from django.apps import apps
from django.db import ProgrammingError, connections
from psycopg.errors import UndefinedTable

from raceway.database import is_in_transaction
from raceway.errors import ChannelFull, ConfigurationError
from raceway.layers.distributed import DistributedLayer
from raceway.layers.distributed.carrier import Ears, channel_address, group_address, process_address
from raceway.layers.distributed.frames import Deliver, Publish, encode
from raceway.layers.front import positive
from raceway.layers.postgres.carrier import PostgresCarrier
from raceway.layers.postgres.commands import Names, Wake
from raceway.layers.postgres.connecting import Place, tables_are_missing
from raceway.layers.postgres.limits import LEASE_S, WAKE_EVERY_S
from raceway.layers.postgres.queries import QUERIES
from raceway.layers.postgres.threads import PostgresThreadCarrier
from raceway.layers.spec import process_of, require_group_name
from raceway.registry import Message
from raceway.registry.policy import Policy

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

APP: Final = "raceway.layers.postgres"


class PostgresLayer(DistributedLayer):
    """Carry messages between processes by way of the database ``using``, an alias of ``DATABASES``.

    In a transaction of that database what is sent goes out if and only if it commits. ``listen_dsn`` is a connection
    string that leads to the same database directly, for where a pooler that lends connections by the transaction stands
    before it. Layers of another ``prefix`` in the same database are apart. A process that has been silent for
    ``lease_s`` seconds counts as dead. ``raceway.layers.postgres`` has to be in ``INSTALLED_APPS``, and migrated.
    """

    def __init__(
        self,
        *,
        using: str = "default",
        listen_dsn: str | None = None,
        prefix: str = "raceway",
        lease_s: float = LEASE_S,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if not apps.is_installed(APP):
            raise ConfigurationError(f'INSTALLED_APPS lacks "{APP}", which brings the tables of the layer.')
        require_group_name(prefix, "prefix")
        self.using = using
        self.prefix = prefix
        self.lease_s = positive("lease_s", lease_s)
        self.place = Place(using, listen_dsn)
        self._wake_up = Wake(WAKE_EVERY_S)

    def make_carrier(self, loop: asyncio.AbstractEventLoop, ears: Ears) -> PostgresCarrier:
        return PostgresCarrier(
            loop,
            self.place,
            ears,
            prefix=self.prefix,
            wake=self._wake_up,
            lease_s=self.lease_s,
            log_kept_s=self.expiry,
        )

    def make_thread_carrier(self) -> PostgresThreadCarrier:
        return PostgresThreadCarrier(self.place, prefix=self.prefix, wake=self._wake_up)

    def in_transaction(self) -> InTransaction | None:
        for connection in connections.all(initialized_only=True):
            if connection.alias == self.using and is_in_transaction(connection):
                return InTransaction(self, connection)
        return None

    def wake_sequencer(self) -> None:
        """What a thread has written in its transaction is committed."""
        cast(PostgresThreadCarrier, self._thread_carrier).wake_sequencer()


class InTransaction:
    """Write what is sent as rows of a thread's open transaction, on Django's own connection."""

    def __init__(self, layer: PostgresLayer, connection: BaseDatabaseWrapper) -> None:
        self._layer = layer
        self._connection = connection
        self._names = Names(layer.prefix, "")

    def send_from_thread(self, channel: str, message: Message) -> None:
        self._layer._sent_count += 1
        self._write(channel, message, 0, None)

    def send_later_from_thread(self, channel: str, message: Message, delay_s: float, token: str) -> None:
        self._write(channel, message, delay_s, token)

    def publish_from_thread(
        self, group: str, message: Message, exclude: str | None = None, policy: Policy = "close"
    ) -> None:
        self._layer._sent_count += 1
        address = group_address(group)
        self._cast(address, encode(Publish("", self._layer._seal.seal(message), exclude, policy)))
        for (channel,) in self._run("named_in_transaction", {"group": self._names.key(address)}):
            if channel != exclude:
                with suppress(ChannelFull):  # each member gets what it has room for
                    self._write(channel, message, 0, None)

    def _write(self, channel: str, message: Message, delay_s: float, token: str | None) -> None:
        owner, sealed = process_of(channel), self._layer._seal.seal(message)
        if owner is None:
            self._put(channel, sealed, delay_s, token)
        else:
            self._cast(process_address(owner), encode(Deliver(channel, sealed, delay_s, token or "")))

    def _put(self, channel: str, entry: bytes, delay_s: float, token: str | None) -> None:
        capacity = self._layer.capacity_of(channel)
        put = self._run(
            "put_in_transaction",
            {
                "channel": self._names.key(channel),
                "entry": entry,
                "delay_s": delay_s,
                "expiry_s": self._layer.expiry,
                "capacity": capacity,
                "token": token,
            },
        )
        if not put:
            self._layer._full_count += 1
            raise ChannelFull(f"The channel {channel!r} holds {capacity} messages already.")
        self._cast(channel_address(channel), b"")

    def _cast(self, address: str, frame: bytes) -> None:
        self._run("cast_in_transaction", {"address": self._names.key(address), "frame": frame})
        self._wake_after_commit()

    def _wake_after_commit(self) -> None:
        """Once for each transaction or savepoint in which something was written."""
        wake, waiting = self._layer.wake_sequencer, self._connection.run_on_commit
        if not (waiting and waiting[-1][1] == wake and waiting[-1][0] <= set(self._connection.savepoint_ids)):
            self._connection.on_commit(wake, robust=True)

    def _run(self, query: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            try:
                cursor.execute(QUERIES[query].decode(), parameters)
            except ProgrammingError as error:
                if isinstance(error.__cause__, UndefinedTable):
                    raise tables_are_missing(error.__cause__) from error
                raise
            rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows
