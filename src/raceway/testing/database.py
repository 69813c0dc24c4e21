"""The database in tests: nobody closes the test's own connections, all of its threads use them, and transactions of
the code under test commit, although the test's own never does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, TypeVar

from asgiref.sync import SyncToAsync
from django.core.signals import request_finished, request_started
from django.db import close_old_connections, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.transaction import Atomic, get_connection

from raceway.database import AfterCommit

T = TypeVar("T")

SYNC_THREAD_S: Final = 10.0
"""How long a test waits for sync code that still runs, in seconds."""


class WhileUsed:
    """Something that the first who enters begins, and the last who leaves ends."""

    def __init__(self, begin: Callable[[], None], end: Callable[[], None]) -> None:
        self._begin = begin
        self._end = end
        self._lock = threading.Lock()
        self._users = 0

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._begin()
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0:
                    self._end()


def _keep() -> None:
    request_started.disconnect(close_old_connections)
    request_finished.disconnect(close_old_connections)


def _close_again() -> None:
    request_started.connect(close_old_connections)
    request_finished.connect(close_old_connections)


keep_connections = WhileUsed(_keep, _close_again)
"""Let no request close old connections, as Django's test client does."""


_exit_of_django = Atomic.__exit__


def _exit(self: Atomic, *error: Any) -> None:
    _exit_of_django(self, *error)
    connection: Any = get_connection(self.using)
    blocks = connection.atomic_blocks
    if not blocks or connection.needs_rollback or not all(one._from_testcase for one in blocks):
        return
    ours = [one for one in connection.run_on_commit if isinstance(one[1], AfterCommit)]
    connection.run_on_commit = [one for one in connection.run_on_commit if one not in ours]
    for _, send, _ in ours:
        send.call()  # a test is to see what fails


see_commits = WhileUsed(
    partial(setattr, Atomic, "__exit__", _exit), partial(setattr, Atomic, "__exit__", _exit_of_django)
)
"""Send what waits for a commit at the end of the code's own outermost ``atomic`` block.

Inside a ``TestCase`` that block is not the outermost, so Django never runs what waits for it, unless the test uses
``captureOnCommitCallbacks(execute=True)``. Only what Raceway has to send is sent here; other callbacks are left to
Django's rule.
"""


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
        own = _in_sync_thread(partial(_put, found))
        for one in found.values():
            one.inc_thread_sharing()
        self._own |= own
        self._shared.update(found)

    def end(self) -> None:
        """Give that thread its own connections again."""
        if not self._shared:
            return
        try:
            _in_sync_thread(partial(_put_back, list(self._shared), dict(self._own)))
        finally:
            for one in self._shared.values():
                one.dec_thread_sharing()
            self._shared.clear()
            self._own.clear()


def _in_sync_thread(function: Callable[[], T]) -> T:
    """Call ``function`` in the thread of ``sync_to_async``. Raises ``RuntimeError`` if a test has left it blocked."""
    future = SyncToAsync.single_thread_executor.submit(function)
    try:
        return future.result(SYNC_THREAD_S)
    except TimeoutError:
        future.cancel()
        raise RuntimeError(
            f"Sync code of this test, or of one before it, has blocked the thread of sync_to_async for "
            f"{SYNC_THREAD_S:g} s: no other can run."
        ) from None


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
