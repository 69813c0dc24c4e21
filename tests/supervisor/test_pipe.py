"""The words between supervisor and worker, and the sharing of one socket."""

from __future__ import annotations

import pytest

from raceway.supervisor import pipe
from raceway.supervisor.balance import should_pause

pytestmark = pytest.mark.pure

WORDS = [
    pipe.Layers([pipe.Broker("/tmp/with space/é.sock", 15.0)], ["default"]),
    pipe.Loaded(),
    pipe.Failed("two\nlines"),
    pipe.Connections(3),
]


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_words_arrive_however_they_are_cut(size: int) -> None:
    data = b"".join(map(pipe.line, WORDS))
    lines, heard = pipe.from_worker(), []
    for start in range(0, len(data), size):
        heard += lines.receive(data[start : start + size])
    assert heard == WORDS


@pytest.mark.parametrize(
    "data", [b"not json\n", b'{"type":"stop","drain_s":1}\n', b"x" * (pipe.LINE_BYTES + 1)]
)
def test_what_is_no_word_of_a_worker_is_an_error(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  each its own
        pipe.from_worker().receive(data)


def test_who_has_many_more_than_the_others_pauses() -> None:
    assert should_pause(200, 100.0)
    assert not should_pause(110, 100.0)


def test_a_few_connections_are_no_load() -> None:
    assert not should_pause(4, 1.0)
