"""Threads without an event loop: one connection for all, no loop, and an end to every wait."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from raceway.errors import ChannelFull, LayerUnavailable
from raceway.layers.postgres.commands import Command, Named, Wake
from raceway.layers.postgres.connecting import Place
from raceway.layers.postgres.limits import WAKE_EVERY_S
from raceway.layers.postgres.threads import Call, PostgresThreadCarrier
from tests.servers.postgres import Database

from .ears import listening, until


@pytest.fixture
async def threads(database: Database) -> AsyncIterator[PostgresThreadCarrier]:
    carrier = PostgresThreadCarrier(Place(database.alias, None), prefix="test", wake=Wake(WAKE_EVERY_S))
    yield carrier
    carrier.close()


async def test_many_threads_send_in_order_over_one_connection(
    database: Database, threads: PostgresThreadCarrier
) -> None:
    def send(sender: int) -> None:
        for number in range(50):
            assert threads.cast("g:x", b"%d %d" % (sender, number)) == 1

    async with listening(database, "g:x") as one:
        await asyncio.gather(*[asyncio.to_thread(send, sender) for sender in range(8)])
        await until(lambda: len(one.ears.frames) == 400, "frames are missing")
        heard = [tuple(map(int, frame.split())) for frame in one.ears.payloads()]
        for sender in range(8):
            assert [number for who, number in heard if who == sender] == list(range(50))
        sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND application_name = 'raceway threads'"
        assert database.run(sessions, database.name) == [(1,)]


async def test_what_threads_put_others_take(database: Database, threads: PostgresThreadCarrier) -> None:
    threads.put("tasks", b"1", 2, 60)
    threads.put("tasks", b"2", 2, 60)
    with pytest.raises(ChannelFull):
        threads.put("tasks", b"3", 2, 60)
    threads.put_later("tasks", b"later", 60, 100, "token")
    assert threads.cancel("tasks", "token")
    assert not threads.cancel("tasks", "token")
    threads.add_named("group", "tasks", 60)
    assert threads.named("group") == threads.publish("group", b"") == ["tasks"]
    threads.discard_named("group", "tasks")
    assert threads.named("group") == []
    async with listening(database) as one:
        assert [(await one.carrier.pop("tasks", False)).entry for _ in range(3)] == [b"1", b"2", None]


async def test_a_thread_gathers_the_answers_of_all_who_hear_it(
    database: Database, threads: PostgresThreadCarrier
) -> None:
    async with listening(database, "a") as one, listening(database, "a") as other:

        def answer(address: str, frame: bytes) -> None:
            one.carrier.cast(frame.decode(), b"answer")

        one.ears.heard = answer  # type: ignore[method-assign]
        other.ears.heard = answer  # type: ignore[method-assign]
        assert await asyncio.to_thread(threads.gather, "a", str.encode, 10) == ([b"answer"] * 2, 0)
        other.ears.heard = lambda *_: None  # type: ignore[method-assign]
        assert await asyncio.to_thread(threads.gather, "a", str.encode, 0.2) == ([b"answer"], 1)
    assert await asyncio.to_thread(threads.gather, "a", str.encode, 10) == ([], 0)


async def test_a_connection_that_was_cut_is_made_again(
    database: Database, threads: PostgresThreadCarrier
) -> None:
    """Before anything is written to it."""
    assert threads.cast("g:x", b"") == 0
    assert threads._connection is not None
    pid = threads._connection.info.backend_pid
    assert database.run("SELECT pg_terminate_backend(%s, 5000)", pid) == [(True,)]
    assert threads.cast("g:x", b"") == 0
    assert threads._connection.info.backend_pid != pid


async def test_a_server_that_does_not_answer_is_not_waited_for_without_end(
    own_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raceway.layers.postgres.threads.COMMAND_S", 0.3)
    threads = PostgresThreadCarrier(Place(own_database.alias, None), prefix="test", wake=Wake(WAKE_EVERY_S))
    threads.cast("g:x", b"")
    with own_database.server.paused(), pytest.raises(LayerUnavailable, match="no answer"):
        await asyncio.to_thread(threads.cast, "g:x", b"")
    assert threads.cast("g:x", b"") == 0
    threads.close()


async def test_what_nobody_is_there_to_hear_is_swept_away(
    database: Database, threads: PostgresThreadCarrier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a process that has an event loop the outbox would grow for ever."""
    empty = Database(database.server)
    threads = PostgresThreadCarrier(Place(empty.alias, None), prefix="test", wake=Wake(WAKE_EVERY_S))
    rows = "SELECT count(*) FROM raceway_postgres_outbox"
    threads.cast("g:x", b"")
    assert empty.run(rows) == [(1,)]
    threads._sweep_at = 0
    threads.cast("g:x", b"")
    assert empty.run(rows) == [(0,)]
    async with listening(empty, "a"):
        empty.run("INSERT INTO raceway_postgres_outbox (address, frame) VALUES ('test:a', '')")
        threads._sweep_at = 0
        threads.cast("g:x", b"")
    threads.close()


async def test_one_thread_that_fails_does_not_fail_the_others(threads: PostgresThreadCarrier) -> None:
    ready = threading.Barrier(4)

    def put(number: int) -> str:
        ready.wait()
        try:
            threads.put("one", b"", 1, 60)
        except ChannelFull:
            return "full"
        return "put"

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(put, range(4))) == ["full", "full", "full", "put"]


async def test_threads_may_add_commands_while_one_takes_them(threads: PostgresThreadCarrier) -> None:
    class Interrupted(Call):
        """Another thread has its turn when this is looked at."""

        @property
        def command(self) -> Command:  # type: ignore[override]
            threads._waiting.append(Call(Named("late")))
            return Named("interrupted")

        @command.setter
        def command(self, command: Command) -> None: ...

    threads._waiting.append(Interrupted(Named("interrupted")))
    assert threads.named("group") == []


async def test_what_a_thread_has_given_up_is_not_done_later(
    threads: PostgresThreadCarrier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raceway.layers.postgres.threads.COMMAND_S", 0.05)
    with threads._lock, pytest.raises(LayerUnavailable, match="too slow"):
        await asyncio.to_thread(threads.put, "given-up", b"1", 10, 60)
    threads.put("given-up", b"2", 1, 60)
