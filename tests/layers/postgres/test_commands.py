"""What goes together into one statement, and when it is time to number. No server is asked."""

from __future__ import annotations

import re
from collections import deque
from pathlib import Path

from raceway.layers.distributed.carrier import Popped
from raceway.layers.postgres import commands, limits, reader
from raceway.layers.postgres.commands import Cast, Command, Names, Pop, Put, Release, Wake, next_batch
from raceway.layers.postgres.queries import QUERIES, parse
from raceway.layers.postgres.reader import Turns

NAMES = Names("test", "me")


def batches(*waiting: Command) -> list[list[Command]]:
    queue = deque(waiting)
    found = []
    while queue:
        found.append(next_batch(queue))
    return found


def test_commands_of_a_kind_go_together_and_all_keep_their_order() -> None:
    cast, put, release = Cast("a", b""), Put("c", b"", 1, 1), Release(1)
    pops = Pop("c", False), Pop("c", False), Pop("c", True), Pop("d", True)
    assert batches(cast, cast, put, put, put, cast, *pops, release, release) == [
        [cast, cast],
        [put, put, put],
        [cast],
        list(pops[:2]),
        [pops[2]],
        [pops[3]],
        [release, release],
    ]


def test_a_batch_is_bounded() -> None:
    small, large = Cast("a", b""), Cast("a", bytes(limits.WRITE_BYTES))
    assert [len(batch) for batch in batches(*[small] * (limits.WRITE_ROWS + 1))] == [limits.WRITE_ROWS, 1]
    assert batches(small, large, small) == [[small, large], [small]]


def test_each_publisher_is_told_of_its_own_group() -> None:
    batch = [
        Cast("g:a", b"1", publishes=True),
        Cast("g:a", b"2"),
        Cast("g:b", b"3", publishes=True),
        Cast("p:x", b"4"),
    ]
    parameters = Cast.parameters(batch, NAMES)
    assert parameters["addresses"] == ["test:g:a", "test:g:a", "test:g:b", "test:p:x"]
    assert (set(parameters["counted"]), set(parameters["groups"])) == (
        {"test:g:a", "test:p:x"},
        {"test:g:a", "test:g:b"},
    )
    rows = [("test:g:a", 2, None), ("test:g:a", 0, "one"), ("test:g:a", 0, "two")]
    assert Cast.results(batch, rows, NAMES) == [["one", "two"], 2, [], 0]


def test_who_finds_nothing_is_told_when_to_come_again() -> None:
    batch = [Pop("c", False)] * 3
    rows = [(1, "test:c", b"entry", "ready", "expires", None), (None, None, None, "later", None, 7.5)]
    taken, *nothing = Pop.results(batch, rows, NAMES)
    assert (taken.entry, taken.channel, taken.handle.id) == (b"entry", "c", 1)
    assert nothing == [Popped(None, "c", 7.5)] * 2


def test_a_prefix_is_a_range_of_names() -> None:
    assert Pop.parameters([Pop("c", False)], NAMES)["channel"] == "test:c"
    by_prefix = Pop.parameters([Pop("c!", False)], NAMES)
    assert (by_prefix["low"], by_prefix["high"]) == ("test:c!", 'test:c"')
    assert by_prefix["low"] <= "test:c!anything" < by_prefix["high"]


def test_a_process_wakes_others_only_so_often() -> None:
    wake = Wake(0.005)
    assert [wake.is_due(now / 1000) for now in range(12)] == [now in (0, 5, 10) for now in range(12)]


def test_turns_come_with_news_once_more_after_it_and_now_and_then() -> None:
    turns = Turns()
    turns.begin(100.0)
    assert turns.at == 100.0 + limits.POLL_S
    turns.news()
    assert turns.at == 100.0 + limits.WAKE_EVERY_S
    turns.begin(100.05)
    assert turns.at == 100.05 + limits.FOLLOW_S
    turns.begin(100.06)
    assert turns.at == 100.06 + limits.POLL_S
    turns.moved(0)
    assert turns.at == 100.06 + limits.POLL_S
    turns.moved(3)
    assert turns.at == 100.06 + limits.FOLLOW_S


def test_news_during_a_turn_are_for_the_next() -> None:
    turns = Turns()
    turns.begin(0)
    turns.news()
    turns.news()
    assert turns.at == limits.WAKE_EVERY_S


def test_whoever_keeps_quiet_after_a_wake_up_is_seen_to() -> None:
    """A process that has woken the sequencer says nothing for ``WAKE_EVERY_S``, so the sequencer looks again after."""
    assert limits.FOLLOW_S > limits.WAKE_EVERY_S
    assert limits.LATE_S > 3 * limits.BEAT_S


def test_statements_have_names() -> None:
    assert parse("-- one: what\nA\n\n-- two: what\n-- more about it\nB\nC\n") == {"one": "A", "two": "B\nC"}


def test_every_statement_is_used_and_every_use_is_of_one() -> None:
    folder = Path(commands.__file__).parent
    source = "".join(path.read_text() for path in folder.glob("*.py") if path.name != "queries.py")
    assert {name for name in QUERIES if f'"{name}"' not in source} == set()
    asked = re.findall(r"(?:query = |run\(\s*|_ask\(|_run\(|_turn\()\"(\w+)\"", source)
    assert len(asked) > 20
    assert set(asked) <= QUERIES.keys()


def test_the_words_for_news_are_those_that_are_listened_to() -> None:
    for word in (reader.LOG_NEWS, reader.OUTBOX_NEWS, reader.SEQUENCER_NEWS):
        assert any(query == f"LISTEN {word}".encode() for query in QUERIES.values())
        assert any(word.encode() in query and b"LISTEN" not in query for query in QUERIES.values())
