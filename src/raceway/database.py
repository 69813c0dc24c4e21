"""Django's database connections, seen from threads that outlive many connections of clients."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial


def close_old_connections() -> None:
    """Close this thread's database connections that are broken or past ``CONN_MAX_AGE``.

    Django does this around each HTTP request; a handler's thread needs it after each call. A process that has
    not touched the database is left alone.
    """
    if "django.db" in sys.modules:
        from django import db

        db.close_old_connections()


class Waiting(partial[None]):
    """A call that waits for a commit; the test kit knows it by its class."""


def after_commit(call: Callable[[], None]) -> bool:
    """Have ``call()`` run when this thread's transaction has been committed; ``False`` if it is in none.

    The transaction that a Django ``TestCase`` wraps around a test does not count: it never commits. With
    transactions open on several databases, the first one in ``DATABASES`` decides.
    """
    if "django.db" not in sys.modules:
        return False
    from django.db import connections

    for connection in connections.all(initialized_only=True):
        if any(not getattr(block, "_from_testcase", False) for block in connection.atomic_blocks):
            connection.on_commit(Waiting(call))
            return True
    return False
