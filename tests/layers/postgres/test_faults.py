"""What becomes of messages when connections, servers and sequencers do not do their part.

A gap is told once, and nothing is heard twice.
"""

from __future__ import annotations

import asyncio
import logging
import signal

import pytest

from raceway.errors import LayerUnavailable
from raceway.layers.postgres.limits import LATE_S, TIDY_S
from tests.servers.postgres import Database

from .ears import cast_until_it_goes, listening, until


async def test_a_listener_that_is_cut_off_hears_what_was_sent_meanwhile_and_is_told_of_a_gap(
    database: Database,
) -> None:
    async with listening(database, "g:x", "g:y") as one, listening(database, "a") as sender:
        await sender.carrier.cast("g:x", b"before")
        await until(lambda: one.ears.frames, "it was not heard")
        assert database.kill_sessions("listener") == 2
        await sender.carrier.cast("g:x", b"meanwhile")
        await until(lambda: one.ears.told == ["lost", "missed"], "a gap was not told")
        assert one.ears.payloads() == [b"before", b"meanwhile"]
        await sender.carrier.cast("g:y", b"after")
        await until(lambda: len(one.ears.frames) == 3, "it was not heard")
        assert "terminat" in one.ears.reasons[0]
        await asyncio.sleep(2 * LATE_S)
        assert one.ears.told == ["lost", "missed"]
        assert one.ears.payloads() == [b"before", b"meanwhile", b"after"]


async def test_what_was_under_way_on_a_cut_connection_is_not_sent_again(database: Database) -> None:
    async with listening(database, "g:x") as one:
        await one.carrier.cast("g:x", b"0")
        assert database.kill_sessions("writer") == 1
        results = await asyncio.gather(
            *[one.carrier.cast("g:x", b"%d" % number) for number in range(1, 4)], return_exceptions=True
        )
        assert {type(result) for result in results} <= {int, LayerUnavailable}
        await one.carrier.cast("g:x", b"last")
        await until(lambda: one.ears.payloads()[-1:] == [b"last"], "it was not heard")
        sent = [b"%d" % number for number, result in enumerate(results, 1) if isinstance(result, int)]
        assert one.ears.payloads() == [b"0", *sent, b"last"]
        assert one.ears.told == []


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
async def test_a_server_that_starts_again(own_database: Database, how: signal.Signals) -> None:
    """In good order, or as after a crash, which empties the log."""
    async with listening(own_database, "g:x", "g:y") as one, listening(own_database, "g:x") as other:
        await one.carrier.put("tasks", b"task", 10, 60)
        for number in range(10):
            await one.carrier.cast("g:x", b"%d" % number)
        await until(lambda: len(other.ears.frames) == 10, "frames are missing")
        await asyncio.to_thread(own_database.server.restart, how)
        await until(lambda: one.ears.told == other.ears.told == ["lost", "missed"], "a gap was not told")
        for number in range(10, 20):
            await cast_until_it_goes(one, "g:x", b"%d" % number)
        assert await one.carrier.cast("g:y", b"y") == 1
        await until(lambda: len(other.ears.frames) == 20, "frames are missing")
        await until(lambda: len(one.ears.frames) == 21, "frames are missing")
        assert other.ears.payloads() == [b"%d" % number for number in range(20)]
        assert (await one.carrier.pop("tasks", False)).entry == b"task"
        assert one.ears.told == other.ears.told == ["lost", "missed"]


async def test_a_server_that_hangs_for_a_while_loses_nothing(own_database: Database) -> None:
    async with listening(own_database, "g:x") as one:
        await one.carrier.cast("g:x", b"0")
        await until(lambda: one.ears.frames, "it was not heard")
        with own_database.server.paused():
            casts = [one.carrier.cast("g:x", b"%d" % number) for number in range(1, 4)]
            await asyncio.sleep(1)
            assert not any(cast.done() for cast in casts)
        await asyncio.gather(*casts)
        await until(lambda: len(one.ears.frames) == 4, "frames are missing")
        assert one.ears.payloads() == [b"0", b"1", b"2", b"3"]


async def test_a_server_that_hangs_for_too_long_is_given_up(
    own_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raceway.layers.postgres.connecting.COMMAND_S", 0.5)
    monkeypatch.setattr("raceway.layers.postgres.connecting.CONNECT_S", 2)
    async with listening(own_database, "g:x") as one:
        with own_database.server.paused():
            with pytest.raises(LayerUnavailable):
                await one.carrier.cast("g:x", b"unknown")
            await until(lambda: one.ears.told == ["lost"], "the loss was not told")
        await until(lambda: one.ears.told == ["lost", "missed"], "a gap was not told")
        await cast_until_it_goes(one, "g:x", b"after")
        await until(lambda: b"after" in one.ears.payloads(), "it was not heard")


async def test_who_comes_before_the_server_hears_when_it_is_there(own_database: Database) -> None:
    await asyncio.to_thread(own_database.server.stop)
    async with listening(own_database) as one:
        with pytest.raises(LayerUnavailable, match="refused"):
            await one.subscribe("g:x")
        await asyncio.to_thread(own_database.server.start)
        await until(lambda: one.ears.told == ["missed"], "it did not connect")
        await cast_until_it_goes(one, "g:x", b"1")
        await until(lambda: one.ears.frames, "it was not heard")


async def test_another_takes_over_from_a_sequencer_that_goes(database: Database) -> None:
    async with listening(database, "a") as first, listening(database, "g:x") as second:
        assert (first.is_sequencer, second.is_sequencer) == (True, False)
        await first.carrier.aclose()
        await until(lambda: second.is_sequencer, "nobody numbers", within_s=5)
        await second.carrier.cast("g:x", b"1")
        await until(lambda: second.ears.frames, "it was not heard")


async def test_another_stands_in_for_a_sequencer_that_hangs(database: Database) -> None:
    """It holds the lock, as a process does that was stopped, and does nothing."""
    with database.server.connect(database.name) as hanging:
        hanging.execute("SELECT pg_advisory_lock(%s)", [0x7261_6365_7761_7901])
        async with listening(database, "g:x") as one, listening(database, "g:x") as other:
            for number in range(20):
                await one.carrier.cast("g:x", b"%d" % number)
            await until(lambda: len(other.ears.frames) == len(one.ears.frames) == 20, "frames are missing", 5)
            assert {one.is_sequencer, other.is_sequencer} == {False}
            assert other.ears.payloads() == one.ears.payloads() == [b"%d" % number for number in range(20)]


async def test_several_that_number_at_once_number_nothing_twice(database: Database) -> None:
    async with (
        listening(database, "g:x") as one,
        listening(database, "a") as two,
        listening(database, "a") as three,
    ):
        for each in (one, two, three):
            each.carrier._reader._sequences_until = float("inf")
        for number in range(500):
            each = (one, two, three)[number % 3]
            each.carrier._reader.wake_sequencer()
            await each.carrier.cast("g:x", b"%d" % number)
        await until(lambda: len(one.ears.frames) >= 500, "frames are missing")
        assert one.ears.payloads() == [b"%d" % number for number in range(500)]


async def test_who_reads_too_late_is_told_of_a_gap(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """The log was pruned before it was read."""
    async with listening(database, "g:x", log_kept_s=0.2) as one, listening(database, "g:x") as slow:
        reads, slow.carrier._reader._read = slow.carrier._reader._read, nothing_to_read
        await one.carrier.cast("g:x", b"pruned")
        floor = "SELECT floor FROM raceway_postgres_state"
        [(before,)] = database.run(floor)
        await until(lambda: database.run(floor) > [(before,)], "the log is not pruned", within_s=TIDY_S * 5)
        slow.carrier._reader._read = reads
        await until(lambda: slow.ears.told == ["missed"], "a gap was not told")
        await one.carrier.cast("g:x", b"after")
        await until(lambda: slow.ears.frames, "it was not heard")
        assert slow.ears.payloads() == [b"after"]
        assert slow.ears.told == ["missed"]
        assert one.ears.told == []


async def nothing_to_read() -> bool:
    return False


async def test_who_was_silent_for_longer_than_its_lease_begins_again(database: Database) -> None:
    async with listening(database, "g:x", lease_s=1.5) as one:
        database.run("UPDATE raceway_postgres_carrier SET until = now() - interval '1 second'")
        database.run("DELETE FROM raceway_postgres_subscription")  # as whoever tidies up does
        await until(lambda: one.ears.told == ["missed"], "a gap was not told")
        await one.carrier.cast("g:x", b"1")
        await until(lambda: one.ears.frames, "it was not heard")


async def test_tables_that_are_emptied_are_a_gap(database: Database) -> None:
    async with listening(database, "g:x") as one:
        await one.carrier.cast("g:x", b"1")
        await until(lambda: one.ears.frames, "it was not heard")
        database.run("TRUNCATE raceway_postgres_state, raceway_postgres_log, raceway_postgres_subscription")
        await until(lambda: one.ears.told == ["missed"], "a gap was not told")
        await one.carrier.cast("g:x", b"2")
        await until(lambda: len(one.ears.frames) == 2, "it was not heard")


async def test_ears_that_fail_miss_only_what_they_failed_at(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening(database, "g:x") as one:
        heard, one.ears.heard = one.ears.heard, fail  # type: ignore[method-assign]
        with caplog.at_level(logging.CRITICAL, "raceway.layers"):
            await one.carrier.cast("g:x", b"1")
            await until(lambda: one.ears.told == ["lost", "missed"], "a gap was not told")
        one.ears.heard = heard  # type: ignore[method-assign]
        await one.carrier.cast("g:x", b"2")
        await until(lambda: one.ears.frames, "it was not heard")
        assert one.ears.payloads() == [b"2"]


def fail(*args: object) -> None:
    raise ZeroDivisionError
