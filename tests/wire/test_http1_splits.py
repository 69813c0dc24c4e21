"""The same events however the bytes are cut, and promises that hold for any bytes."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wire.http1_corpus import INVALID, INVALID_BODIES, VALID, chunked, head, told
from tests.wire.http1_properties import check, read_to_end

CORPUS = {
    **{name: data for name, (data, _) in VALID.items()},
    **{name: data for name, (data, _) in INVALID.items()},
    **{name: data for name, (data, _) in INVALID_BODIES.items()},
}


@pytest.mark.parametrize("data", CORPUS.values(), ids=CORPUS)
def test_corpus_cut_at_every_position(data: bytes) -> None:
    expected = told(read_to_end([data]))
    for position in range(len(data) + 1):
        assert told(read_to_end([data[:position], data[position:]])) == expected, position
    assert told(read_to_end([data[index : index + 1] for index in range(len(data))])) == expected


@pytest.mark.parametrize("data", CORPUS.values(), ids=CORPUS)
def test_corpus_keeps_every_promise(data: bytes) -> None:
    check(data, [])


PARTS = (
    *CORPUS.values(),
    head()[:-2],
    chunked(b"")[:-2],
    b"GET / HTTP/1.1\r\n",
    b"Host: a\r\n",
    b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: upgrade\r\nUpgrade: websocket\r\n",
    b"Expect: 100-continue\r\n",
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b"\t",
    b"\0",
    b"\x85",
    b"0\r\n",
    b"3\r\nabc\r\n",
    b";a=b",
    b":",
    b"a" * 60,
    b"X: y\r\n",
)
parts = st.lists(st.one_of(st.sampled_from(PARTS), st.binary(max_size=8)), max_size=8).map(b"".join)


@settings(max_examples=300, deadline=None)
@given(data=parts, cuts=st.lists(st.integers(0, 10_000), max_size=6))
def test_joined_parts(data: bytes, cuts: list[int]) -> None:
    check(data, cuts)


@settings(max_examples=300, deadline=None)
@given(
    data=st.sampled_from([*CORPUS.values()]),
    edits=st.lists(st.tuples(st.integers(0, 1_000), st.integers(0, 3), st.binary(max_size=3)), max_size=4),
    cuts=st.lists(st.integers(0, 10_000), max_size=4),
)
def test_mutated_corpus(data: bytes, edits: list[tuple[int, int, bytes]], cuts: list[int]) -> None:
    for position, removed, inserted in edits:
        position %= len(data) + 1
        data = data[:position] + inserted + data[position + removed :]
    check(data, cuts)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=50), max_size=10), st.integers(0, 2**32))
def test_chunked_body_arrives_as_it_was_sent(chunks: list[bytes], seed: int) -> None:
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    data = chunked(body) + head()
    cuts = random.Random(seed).sample(range(len(data)), 5)
    assert told(read_to_end([data])) == [
        "POST / body",
        *([b"".join(chunks)] if chunks else []),
        "end",
        "GET /",
    ]
    check(data, cuts)
