"""Database connections in tests: nobody closes the test's own, and all of its threads use it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from asgiref.sync import SyncToAsync
from django.core.signals import request_finished, request_started
from django.db import close_old_connections, connections
from django.db.backends.base.base import BaseDatabaseWrapper

_lock = threading.Lock()
_keepers = 0


@contextmanager
def keep_connections() -> Iterator[None]:
    """Let no request close old connections, as Django's test client does; the last one to leave ends it."""
    global _keepers
    with _lock:
        _keepers += 1
        if _keepers == 1:
            request_started.disconnect(close_old_connections)
            request_finished.disconnect(close_old_connections)
    try:
        yield
    finally:
        with _lock:
            _keepers -= 1
            if _keepers == 0:
                request_started.connect(close_old_connections)
                request_finished.connect(close_old_connections)


class SharedTransaction:
    """Let ``sync_to_async`` use the connections of this thread while a test's transaction is open in it.

    Under pytest the event loop runs in the test's own thread, so ``sync_to_async`` (and Django's ``aget()``) has to
    use another one, whose connections would not see what the test has written.
    """

    def __init__(self) -> None:
        self._shared: dict[str, BaseDatabaseWrapper] = {}
        self._own: dict[str, BaseDatabaseWrapper] = {}

    def share(self) -> None:
        """Share those connections in a test's transaction that are not shared yet."""
        found = {
            one.alias: one
            for one in connections.all(initialized_only=True)
            if one.alias not in self._shared and is_in_test_transaction(one)
        }
        if not found:
            return
        for one in found.values():
            one.inc_thread_sharing()
        self._own |= SyncToAsync.single_thread_executor.submit(_put, found).result()
        self._shared.update(found)

    def end(self) -> None:
        """Give that thread its own connections again."""
        if not self._shared:
            return
        SyncToAsync.single_thread_executor.submit(_put_back, list(self._shared), self._own).result()
        for one in self._shared.values():
            one.dec_thread_sharing()
        self._shared.clear()
        self._own.clear()


def is_in_test_transaction(connection: BaseDatabaseWrapper) -> bool:
    """Whether a ``TestCase``, or pytest-django for it, has opened a transaction around the test."""
    return any(getattr(block, "_from_testcase", False) for block in connection.atomic_blocks)


def _put(shared: dict[str, BaseDatabaseWrapper]) -> dict[str, BaseDatabaseWrapper]:
    """Use these in this thread; returns those that it had."""
    own = {one.alias: one for one in connections.all(initialized_only=True) if one.alias in shared}
    for alias, one in shared.items():
        connections[alias] = one
    return own


def _put_back(aliases: list[str], own: dict[str, BaseDatabaseWrapper]) -> None:
    for alias in aliases:
        if alias in own:
            connections[alias] = own[alias]
        else:
            del connections[alias]
