from __future__ import annotations

import inspect
import os
import subprocess
import sys
import threading
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connection, transaction

import tests.project  # noqa: F401  Django's settings
from raceway.consumers import AsyncWebsocketConsumer
from raceway.database import (
    KEPT_S,
    aclose_old_connections,
    after_commit,
    close_old_connections,
    close_used_up_connections,
    database_sync_to_async,
)
from tests.consumers.driver import Socket


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


def test_a_call_that_fails_after_the_commit_takes_nothing_with_it(caplog: pytest.LogCaptureFixture) -> None:
    called: list[str] = []

    def fail() -> None:
        raise LookupError("the layer is away")

    with transaction.atomic():
        after_commit(fail)
        transaction.on_commit(lambda: called.append("the project's own"))
    assert called == ["the project's own"]
    assert "the layer is away" in caplog.text
    connection.close()


def test_a_process_without_a_database_is_left_alone() -> None:
    code = (
        "import sys; from raceway.database import *; close_old_connections(); "
        "print(after_commit(print), 'django' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == ["False", "False"]


def test_a_process_without_settings_is_left_alone() -> None:
    code = (
        "import os, django.db; del os.environ['DJANGO_SETTINGS_MODULE']; from raceway.database import *; "
        "close_old_connections(); close_used_up_connections(); print(after_commit(print))"
    )
    environ = {**os.environ, "DJANGO_SETTINGS_MODULE": "no.such"}
    done = subprocess.check_output([sys.executable, "-c", code], text=True, env=environ)
    assert done.split() == ["False"]


def open_connection(answer: str = "open") -> str:
    connection.ensure_connection()
    return answer


def is_open() -> bool:
    return connection.connection is not None


async def test_a_database_function_leaves_no_old_connection() -> None:
    was_open: list[bool] = []

    @database_sync_to_async
    def work(answer: str) -> str:
        """Says so."""
        was_open.append(is_open())
        return open_connection(answer)

    await sync_to_async(open_connection)()  # one that has grown old: CONN_MAX_AGE is 0
    assert await work("done") == "done"
    assert was_open == [False]
    assert not await sync_to_async(is_open)()
    assert (work.__name__, inspect.getdoc(work)) == ("work", "Says so.")


async def test_it_is_left_behind_by_one_that_fails() -> None:
    @database_sync_to_async
    def work() -> None:
        open_connection()
        raise LookupError("nothing there")

    with pytest.raises(LookupError, match="nothing there"):
        await work()
    assert not await sync_to_async(is_open)()


async def test_methods_too() -> None:
    class Store:
        @database_sync_to_async
        def name(self) -> str:
            return type(self).__name__

    assert await Store().name() == "Store"


async def test_closing_old_connections() -> None:
    await sync_to_async(open_connection)()
    await aclose_old_connections()
    assert not await sync_to_async(is_open)()


async def test_calls_of_a_consumer_that_follow_closely_share_a_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """``raceway.threads`` closes it when no more follow."""
    monkeypatch.setattr("raceway.threads.REST_S", 1.0)
    seen: list[Any] = []

    class Twice(AsyncWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None):
            for _ in range(2):
                await database_sync_to_async(self.look)()
            await self.send("done")

        def look(self):
            connection.ensure_connection()
            seen.append(connection.connection)

    socket = Socket(Twice.as_asgi(), lane=True)
    await socket.connect()
    socket.say("look")
    assert await socket.text() == "done"
    await socket.goodbye()
    assert seen[0] is seen[1]


def kept(spoil: Any) -> bool:
    """Whether a thread goes on with its connection, after ``spoil(connection)``, when somebody else borrows it."""
    answers: list[bool] = []

    def work() -> None:
        connection.ensure_connection()
        spoil(connection)
        close_used_up_connections()
        answers.append(is_open())
        connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return answers[0]


def test_a_connection_is_kept_from_one_piece_of_work_to_the_next_while_it_is_fresh() -> None:
    def grow_old(one: Any) -> None:
        one.close_at -= KEPT_S

    def fail(one: Any) -> None:
        one.errors_occurred = True

    assert kept(lambda one: None)
    assert not kept(grow_old)
    assert not kept(fail)
    assert not kept(lambda one: one.set_autocommit(False))


async def test_a_transaction_that_a_call_leaves_open_is_nobody_elses(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whoever borrows the thread next would write into it."""

    class Leaves(AsyncWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None):
            await sync_to_async(transaction.atomic().__enter__)()
            await self.send("left")

    class Borrows(AsyncWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None):
            await self.send(str(await sync_to_async(self.look)()))

        def look(self):
            connection.ensure_connection()
            return connection.in_atomic_block

    answers = []
    for consumer in (Leaves, Borrows):
        socket = Socket(consumer.as_asgi(), lane=True)
        await socket.connect()
        socket.say("go")
        answers.append(await socket.text())
        await socket.goodbye()
    assert answers == ["left", "False"]
    assert "left a transaction open on the database 'default'" in caplog.text
