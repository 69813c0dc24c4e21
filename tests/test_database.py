from __future__ import annotations

import subprocess
import sys
import threading

from django.db import connection, transaction

import tests.project  # noqa: F401  Django's settings
from raceway.database import after_commit, close_old_connections


def test_a_threads_connections_are_closed() -> None:
    seen: list[bool] = []

    def work() -> None:
        connection.ensure_connection()
        seen.append(connection.connection is not None)
        close_old_connections()
        seen.append(connection.connection is not None)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [True, False]


def test_after_commit() -> None:
    called: list[str] = []
    assert not after_commit(lambda: called.append("outside"))
    with transaction.atomic():
        assert after_commit(lambda: called.append("inside"))
        assert called == []
    assert called == ["inside"]
    connection.close()


def test_a_process_without_a_database_is_left_alone() -> None:
    code = (
        "import sys; from raceway.database import *; close_old_connections(); "
        "print(after_commit(print), 'django' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == ["False", "False"]
