"""A test's transaction in the thread of ``sync_to_async``."""

from __future__ import annotations

import threading

import pytest
from asgiref.sync import SyncToAsync
from django.db import connection

import tests.project  # noqa: F401  Django's settings
from raceway.testing import database


def test_a_blocked_thread_is_told_of_instead_of_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "SYNC_THREAD_S", 0.01)
    monkeypatch.setattr(database, "is_in_test_transaction", lambda one: True)
    connection.ensure_connection()
    ended, shared = threading.Event(), database.SharedTransaction()
    blocked = SyncToAsync.single_thread_executor.submit(ended.wait)
    try:
        with pytest.raises(RuntimeError, match=r"has blocked the thread of sync_to_async for 0.01 s"):
            shared.share()
        assert not connection.allow_thread_sharing
        shared.end()
    finally:
        ended.set()
        blocked.result()
        connection.close()
