"""Django's database connections, seen from threads that outlive many connections of clients."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from threading import local
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

from asgiref.sync import sync_to_async

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

logger = logging.getLogger("raceway.database")

P = ParamSpec("P")
T = TypeVar("T")

KEPT_S: Final = 1.0
"""How long past its age a database connection is kept while its thread goes from one piece of work to the next."""

_thread: Final = local()


def database_sync_to_async(
    func: Callable[P, T], *, thread_sensitive: bool = True, executor: ThreadPoolExecutor | None = None
) -> Callable[P, Coroutine[Any, Any, T]]:
    """``asgiref``'s ``sync_to_async`` for a function that uses the database: its connections do not grow old.

    ``await database_sync_to_async(load)(pk)``, or as a decorator. In consumers it is the same as ``sync_to_async``,
    for Raceway looks after the connections of its threads anyway; elsewhere, old ones are closed before and after.
    """

    @wraps(func)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        if getattr(_thread, "is_looked_after", False):
            return func(*args, **kwargs)
        close_old_connections()
        try:
            return func(*args, **kwargs)
        finally:
            close_old_connections()

    return sync_to_async(call, thread_sensitive=thread_sensitive, executor=executor)


async def aclose_old_connections() -> None:
    """``close_old_connections`` in the thread that this task's ``sync_to_async`` calls run in."""
    await sync_to_async(close_old_connections)()


def look_after_thread() -> None:
    """Say that this thread's owner closes its connections after each piece of work."""
    _thread.is_looked_after = True


def close_old_connections() -> None:
    """Close this thread's database connections that are broken or past ``CONN_MAX_AGE``.

    Django does this around each HTTP request; a handler's thread needs it after each call. A process that has
    not touched the database is left alone.
    """
    if _may_be_used():
        from django import db

        db.close_old_connections()


def close_used_up_connections() -> None:
    """Close those of this thread's connections that whoever borrows it next should not have: in a transaction, after
    an error, or older than ``CONN_MAX_AGE`` by more than ``KEPT_S``.

    Django closes connections at the end of each request, and most handlers are shorter than opening one.
    """
    if _may_be_used():
        from django.db import connections

        for connection in connections.all(initialized_only=True):
            if connection.in_atomic_block:
                logger.error(
                    "A call left a transaction open on the database %r; it is rolled back. Enter and leave atomic() in "
                    "one function: with sync_to_async, each call may have another thread.",
                    connection.alias,
                )
                connection.close()
                del connections[
                    connection.alias
                ]  # Django lets nobody use a connection that was closed in a transaction
            elif connection.connection is not None and not _is_fresh(connection):
                connection.close_if_unusable_or_obsolete()


def _is_fresh(connection: BaseDatabaseWrapper) -> bool:
    """Whether it is as good as new, although its ``CONN_MAX_AGE`` is 0 or over."""
    return (
        connection.close_at is not None
        and 0 <= monotonic() - connection.close_at < KEPT_S
        and not connection.errors_occurred
        and connection.get_autocommit() == connection.settings_dict["AUTOCOMMIT"]
    )


def _may_be_used() -> bool:
    """Whether this process can have opened a database: it has loaded Django's, and its settings.

    Routes need ``django.urls``, which loads ``django.db`` also where nobody has settings.
    """
    if "django.db" not in sys.modules:
        return False
    from django.conf import settings

    return settings.configured


class AfterCommit:
    """A call that waits for a commit; the test kit knows it by its class."""

    def __init__(self, call: Callable[[], None]) -> None:
        self.call = call

    def __call__(self) -> None:
        try:
            self.call()
        except Exception:
            logger.exception("What was sent in a transaction failed after its commit.")


def after_commit(call: Callable[[], None]) -> bool:
    """Have ``call()`` run when this thread's transaction has been committed; ``False`` if it is in none.

    If it fails then, that is logged: what has been committed is not to look as if it had failed, and whatever else
    waits for the commit is to run.

    With transactions open on several databases, the first one in ``DATABASES`` decides.
    """
    if not _may_be_used():
        return False
    from django.db import connections

    for connection in connections.all(initialized_only=True):
        if is_in_transaction(connection):
            connection.on_commit(AfterCommit(call))
            return True
    return False


def is_in_transaction(connection: BaseDatabaseWrapper) -> bool:
    """Whether what is done on it waits for a commit.

    The transaction that a Django ``TestCase`` wraps around a test does not count: it never commits.
    """
    return any(not getattr(block, "_from_testcase", False) for block in connection.atomic_blocks)
