"""Transactions of the code under test commit, although the test's own transaction never does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db.transaction import Atomic, get_connection

from raceway.database import Waiting

_lock = threading.Lock()
_users = 0


@contextmanager
def see_commits() -> Iterator[None]:
    """Send what waits for a commit at the end of the code's own outermost ``atomic`` block.

    Inside a ``TestCase`` that block is not the outermost, so Django never runs what waits for it, unless the test
    uses ``captureOnCommitCallbacks(execute=True)``. Only what Raceway has to send is sent here; other callbacks are
    left to Django's rule.
    """
    global _users
    with _lock:
        _users += 1
        if _users == 1:
            Atomic.__exit__ = _exit  # type: ignore[method-assign]
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                Atomic.__exit__ = _exit_of_django  # type: ignore[method-assign]


_exit_of_django = Atomic.__exit__


def _exit(self: Atomic, *error: Any) -> None:
    _exit_of_django(self, *error)
    connection: Any = get_connection(self.using)
    blocks = connection.atomic_blocks
    if not blocks or connection.needs_rollback or not all(one._from_testcase for one in blocks):
        return
    ours = [one for one in connection.run_on_commit if isinstance(one[1], Waiting)]
    connection.run_on_commit = [one for one in connection.run_on_commit if one not in ours]
    for _, send, _ in ours:
        send()
