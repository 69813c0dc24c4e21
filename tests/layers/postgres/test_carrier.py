"""Frames, queues and subscriptions, over a real server."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import pytest

from raceway.errors import ChannelFull, LayerUnavailable
from raceway.layers.postgres.limits import POLL_S, READ_BYTES, READ_ROWS
from raceway.layers.postgres.queries import QUERIES
from tests.servers.postgres import Database

from .ears import Listening, listening, until

LOCKS = """
    SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database
    WHERE locktype = 'advisory' AND datname = current_database()
"""


def numbered(numbers: range) -> list[bytes]:
    return [f"{number}".encode() for number in numbers]


# Frames


async def test_frames_come_in_order_to_who_subscribed_and_say_how_many_heard(database: Database) -> None:
    async with listening(database, "g:a") as one, listening(database, "g:a", "g:b") as other:
        sent = numbered(range(300))
        counts = await asyncio.gather(*[one.carrier.cast("g:a", frame) for frame in sent])
        assert set(counts) == {2}
        assert await one.carrier.cast("g:b", b"b") == 1
        assert await one.carrier.cast("g:nobody", b"") == 0
        await until(lambda: len(other.ears.frames) == 301, "frames are missing")
        await until(lambda: len(one.ears.frames) == 300, "frames are missing")
        assert one.ears.payloads() == sent
        assert other.ears.frames == [*(("g:a", frame) for frame in sent), ("g:b", b"b")]


async def test_a_subscription_begins_with_what_is_sent_after_it_and_ends_at_once(database: Database) -> None:
    async with listening(database, "a") as sender, listening(database, "a") as hearer:
        for round_ in range(20):
            await sender.carrier.cast("g:x", b"before")
            await hearer.subscribe("g:x")
            await sender.carrier.cast("g:x", b"%d" % round_)
            await until(lambda round_=round_: hearer.ears.payloads() == [b"%d" % round_], "it was not heard")
            hearer.carrier.unsubscribe("g:x")
            await sender.carrier.cast("g:x", b"after")
            hearer.ears.frames.clear()
        assert await sender.carrier.cast("a", b"the end") == 2
        await until(lambda: hearer.ears.frames, "it was not heard")
        assert hearer.ears.payloads() == [b"the end"]


async def test_layers_of_two_prefixes_are_apart(database: Database) -> None:
    async with listening(database, "g:x") as one, listening(database, "g:x", prefix="other") as other:
        assert await one.carrier.cast("g:x", b"1") == 1
        await one.carrier.put("tasks", b"entry", 10, 60)
        await other.carrier.flush()
        assert (await other.carrier.pop("tasks", False)).entry is None
        assert (await one.carrier.pop("tasks", False)).entry == b"entry"
        await until(lambda: one.ears.frames, "it was not heard")
        assert other.ears.frames == []


async def test_frames_larger_than_one_read_and_more_of_them_than_one_read(database: Database) -> None:
    async with listening(database, "g:x") as one:
        large = [bytes([number]) * (READ_BYTES // 2 + 1) for number in range(5)]
        for frame in large:
            one.carrier.cast("g:x", frame)
        small = numbered(range(READ_ROWS + 500))
        await asyncio.gather(*[one.carrier.cast("g:x", frame) for frame in small])
        await until(lambda: len(one.ears.frames) >= len(large) + len(small), "frames are missing")
        assert one.ears.payloads() == large + small


async def test_each_of_many_senders_keeps_its_order(database: Database) -> None:
    """Their transactions end in another order than their rows were numbered by PostgreSQL."""
    senders = 6
    async with listening(database, "g:x") as one:
        others = [listening(database) for _ in range(senders)]
        carriers = [(await other.__aenter__()).carrier for other in others]

        async def send(sender: int) -> None:
            for number in range(200):
                future = carriers[sender].cast("g:x", b"%d %d" % (sender, number))
                if number % (sender + 1) == 0:
                    await future

        await asyncio.gather(*map(send, range(senders)))
        for other in others:
            await other.__aexit__(None, None, None)
        await until(lambda: len(one.ears.frames) >= senders * 200, "frames are missing")
        heard = [tuple(map(int, frame.split())) for frame in one.ears.payloads()]
        for sender in range(senders):
            assert [number for who, number in heard if who == sender] == list(range(200))


async def test_a_long_write_transaction_elsewhere_delays_nothing(database: Database) -> None:
    with database.server.connect(database.name) as elsewhere:
        elsewhere.autocommit = False
        elsewhere.execute("INSERT INTO raceway_postgres_outbox (address, frame) VALUES ('test:g:x', 'late')")
        async with listening(database, "g:x") as one:
            for number in range(50):
                began_at = time.monotonic()
                await one.carrier.cast("g:x", b"%d" % number)
                await until(lambda number=number: len(one.ears.frames) > number, "it was not heard")
                assert time.monotonic() - began_at < 2
            elsewhere.commit()
            await until(lambda: len(one.ears.frames) > 50, "what was committed last was not heard")
            assert one.ears.payloads() == [*numbered(range(50)), b"late"]


def test_no_statement_of_a_reader_passes_what_is_dead(database: Database) -> None:
    """While a transaction is open, what was deleted stays where it was, in the way of whoever looks through a table."""
    asked = {
        "unseen": "1000000",
        "running": ["1", "2"],
        "beat_s": 1.0,
        "rows": 10,
        "bytes": 1000,
        "kept_s": 60.0,
    }
    parameters = {**asked, "carrier": "one", "position": 10}
    with database.server.connect(database.name) as connection:
        connection.execute(QUERIES["with_plain_plans"])
        for query in ("turn", "read", "prune_log"):
            rows = connection.execute(b"EXPLAIN " + QUERIES[query], parameters).fetchall()
            plan = "\n".join(line for (line,) in rows)
            assert "Index" in plan
            assert "Seq Scan" not in plan, plan


async def test_without_listening_it_polls(database: Database) -> None:
    """As behind a pooler: no LISTEN, no lock of a session, and nothing that a session would have to remember."""
    database = Database(database.server, DISABLE_SERVER_SIDE_CURSORS=True)
    async with listening(database, "g:x") as one, listening(database, "g:x") as other:
        for number in range(5):
            await one.carrier.cast("g:x", b"%d" % number)
            await until(lambda number=number: len(other.ears.frames) > number, "it was not heard", POLL_S + 5)
        await until(lambda: len(one.ears.frames) == 5, "it was not heard")
        assert one.ears.payloads() == other.ears.payloads() == numbered(range(5))
        assert database.run(LOCKS) == [(0,)]


async def test_a_way_around_the_pooler(database: Database) -> None:
    pooled = Database(database.server, DISABLE_SERVER_SIDE_CURSORS=True)
    direct = f"postgresql://{database.server.user}@127.0.0.1:{database.server.port}/{pooled.name}"
    async with listening(pooled, "g:x", listen_dsn=direct) as one:
        assert one.is_sequencer
        await one.carrier.cast("g:x", b"1")
        await until(lambda: one.ears.frames, "it was not heard")


# Queues


async def test_what_waits_is_first_in_first_out_and_each_is_taken_once(database: Database) -> None:
    async with listening(database) as one, listening(database) as other:
        puts = [one.carrier.put("fifo", b"%d" % number, 1000, 60) for number in range(200)]
        await asyncio.gather(*puts)
        taken: list[bytes | None] = []

        async def take(carrier: object) -> None:
            while (popped := await carrier.pop("fifo", False)).entry is not None:  # type: ignore[attr-defined]
                taken.append(popped.entry)

        first = await one.carrier.pop("fifo", False)
        assert first.entry == b"0"
        await asyncio.gather(take(one.carrier), take(other.carrier), take(other.carrier))
        assert sorted(map(int, filter(None, taken))) == list(range(1, 200))


async def test_capacity_is_kept_within_one_statement_too(database: Database) -> None:
    async with listening(database) as one:
        puts = [one.carrier.put("small", b"", 3, 60) for _ in range(5)]
        results = await asyncio.gather(*puts, return_exceptions=True)
        assert [type(result) for result in results] == [type(None)] * 3 + [ChannelFull] * 2
        figures = await one.carrier.figures("small")
        assert (figures["messages_pending"], figures["channel_full_count"]) == (3, 2)


async def test_what_is_put_back_is_the_first_again(database: Database) -> None:
    async with listening(database) as one:
        for entry in (b"1", b"2", b"3"):
            await one.carrier.put("back", entry, 10, 60)
        for hold in (False, True):
            popped = [await one.carrier.pop("back", hold) for _ in range(2)]
            for each in popped:
                one.carrier.put_back(each)
        assert [(await one.carrier.pop("back", False)).entry for _ in range(4)] == [b"1", b"2", b"3", None]
        assert (await one.carrier.figures("back"))["messages_count"] == 3


async def test_what_is_due_counts_as_put_when_it_was_due(database: Database) -> None:
    async with listening(database, "c:later") as one:
        await one.carrier.put_later("later", b"due", 60, 100, "token")
        await one.carrier.put_later("later", b"taken back", 60, 100, "other")
        await until(lambda: one.ears.frames, "receivers are not told")
        nothing = await one.carrier.pop("later", False)
        assert nothing.entry is None
        assert nothing.wait_s is not None
        assert 95 < nothing.wait_s <= 100
        assert await one.carrier.cancel("later", "other")
        assert not await one.carrier.cancel("later", "other")
        database.pass_time("test", 101)
        await one.carrier.put("later", b"now", 10, 60)
        assert not await one.carrier.cancel("later", "token")
        assert [(await one.carrier.pop("later", False)).entry for _ in range(3)] == [b"due", b"now", None]


async def test_what_expires_in_a_queue_is_deleted(database: Database) -> None:
    async with listening(database, "a") as one:
        await one.carrier.put("short", b"", 10, 60)
        database.pass_time("test", 61)
        assert (await one.carrier.pop("short", False)).entry is None
        rows = "SELECT count(*) FROM raceway_postgres_queue WHERE channel = 'test:short'"
        await until(lambda: database.run(rows) == [(0,)], "it is still there")


async def test_a_receiver_by_prefix_is_given_all_its_channels_in_order(database: Database) -> None:
    async with listening(database) as one:
        for channel in ("p!2", "p!1", "q!1", "p!2"):
            await one.carrier.put(channel, channel.encode(), 10, 60)
        popped = [await one.carrier.pop("p!", False) for _ in range(4)]
        assert [(each.channel, each.entry) for each in popped[:3]] == [
            ("p!2", b"p!2"),
            ("p!1", b"p!1"),
            ("p!2", b"p!2"),
        ]
        assert popped[3].entry is None


async def test_who_dies_with_a_message_in_hand_has_lost_it(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening(database, "a", lease_s=0.5) as one:
        await one.carrier.put("work", b"done", 10, 60)
        await one.carrier.put("work", b"lost", 10, 60)
        dying = listening(database, "a", lease_s=0.5)
        carrier = (await dying.__aenter__()).carrier
        carrier.release(await carrier.pop("work", True))
        assert (await carrier.pop("work", True)).entry == b"lost"
        carrier._reader._task.cancel()  # as the process ends: without a word
        await asyncio.wait([carrier._reader._task])
        await asyncio.sleep(0)
        while (await one.carrier.figures("work"))["messages_lost_count"] != 1:  # noqa: ASYNC110  nothing tells
            await asyncio.sleep(0.05)
        assert await one.carrier.cast("a", b"") == 1
        assert (await one.carrier.figures(None))["messages_lost_count"] == 1
        assert [record.getMessage() for record in caplog.records if "is lost" in record.message] == [
            "A message to work is lost: the process that had it in its hands has not been heard of for 0.5 s."
        ]
        await dying.__aexit__(None, None, None)


# Roles


async def test_one_has_a_role_until_it_resigns_or_its_lease_ends(database: Database) -> None:
    async with listening(database) as one, listening(database) as other:
        assert await one.carrier.elect("desk", 60)
        assert await one.carrier.elect("desk", 60)
        assert not await other.carrier.elect("desk", 60)
        await other.carrier.resign("desk")
        assert not await other.carrier.elect("desk", 60)
        await one.carrier.resign("desk")
        assert await other.carrier.elect("desk", 0.01)
        await asyncio.sleep(0.02)
        assert await one.carrier.elect("desk", 60)


# Errors


async def test_who_cannot_connect_is_told_in_the_servers_words_without_the_password(
    database: Database,
) -> None:
    absent = Database(database.server)
    absent_name = absent.name
    database.run(f'DROP DATABASE "{absent_name}"')
    from django.db import connections

    connections.databases[absent.alias]["PASSWORD"] = "planetexpress"
    async with listening(absent) as one:
        with pytest.raises(LayerUnavailable, match=f'database "{absent_name}" does not exist') as caught:
            await one.carrier.cast("g:x", b"")
        assert "planetexpress" not in str(caught.value)
        with pytest.raises(LayerUnavailable, match="does not exist"):
            await one.subscribe("g:x")


async def test_who_has_not_migrated_is_told_to(database: Database) -> None:
    empty = Database(database.server)
    empty.run("DROP TABLE raceway_postgres_outbox")
    async with listening(empty) as one:
        with pytest.raises(LayerUnavailable, match=r"run manage\.py migrate"):
            await one.carrier.cast("g:x", b"")


async def test_a_carrier_whose_loop_ends_has_done_what_it_was_given(database: Database) -> None:
    async with listening(database, "g:ends") as one:

        async def send_and_go() -> None:
            other = Listening(database)
            for number in range(50):
                other.carrier.cast("g:ends", b"%d" % number)

        await asyncio.to_thread(asyncio.run, send_and_go())
        await until(lambda: len(one.ears.frames) == 50, f"{Counter(one.ears.payloads())}")


async def test_a_carrier_whose_loop_ends_leaves_nothing_behind(database: Database) -> None:
    async with listening(database, "a") as one:

        async def listen_and_go() -> None:
            await Listening(database).subscribe("a")

        await asyncio.to_thread(asyncio.run, listen_and_go())
        assert await one.carrier.cast("a", b"") == 1


async def test_what_nobody_will_hear_is_swept_away(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that only sends, where there is no other, fills no table."""
    monkeypatch.setattr("raceway.layers.postgres.writer.SWEEP_S", 0)
    empty = Database(database.server)
    async with listening(empty) as one:
        for _ in range(3):
            assert await one.carrier.cast("g:x", b"frame") == 0
    assert empty.run("SELECT count(*) FROM raceway_postgres_outbox") == [(0,)]


async def test_what_waits_for_the_connection_is_bounded(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raceway.layers.postgres.writer.WAITING_BYTES", 1000)
    async with listening(database) as one:
        casts = [one.carrier.cast("g:x", b"x" * 400) for _ in range(3)]
        with pytest.raises(LayerUnavailable, match="2 commands with 800 bytes wait for it"):
            await casts[2]
        assert await asyncio.gather(*casts[:2]) == [0, 0]
        assert await one.carrier.cast("g:x", b"x" * 1000) == 0


async def test_a_connection_that_has_ended_is_noticed_before_anything_is_written(database: Database) -> None:
    async with listening(database) as one:
        await one.carrier.cast("g:x", b"frame")
        session = one.carrier._writer._session
        assert session is not None
        database.run("SELECT pg_terminate_backend(%s, 5000)", session.connection.info.backend_pid)
        assert await one.carrier.cast("g:x", b"frame") == 0


async def test_only_to_take_a_message_waits_for_the_disk(database: Database) -> None:
    """What a crash makes the server forget is that it was done, so it counts as lost; it does not come twice."""
    async with listening(database) as one:
        await one.carrier.put("disk", b"work", 1, 60)
        popped = await one.carrier.pop("disk", True)
        with database.server.connect(database.name) as connection, connection.transaction():
            connection.execute("SET LOCAL synchronous_commit = on")
            connection.execute(QUERIES["release"], {"ids": [popped.handle.id]})
            assert connection.execute("SHOW synchronous_commit").fetchall() == [("off",)]
        assert database.run("SELECT FROM raceway_postgres_held WHERE id = %s", popped.handle.id) == []
