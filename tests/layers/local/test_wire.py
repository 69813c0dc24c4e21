"""Frames: as bytes, in any pieces, and what is none."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raceway.layers.local import wire
from raceway.layers.local.wire import (
    FRAME_BYTES,
    LENGTH_BYTES,
    BrokenFrame,
    Frame,
    FrameReader,
    FromBroker,
    FromMember,
    Hello,
    Publish,
    Send,
    decode_from_broker,
    decode_from_member,
    encode,
)

VALUES = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text() | st.binary()
FIELDS: dict[object, st.SearchStrategy[object]] = {
    int: st.integers(0, 2**63 - 1),
    float: st.floats(allow_nan=False),
    bool: st.booleans(),
    str: st.text(max_size=20),
    bytes: st.binary(max_size=300),
    str | None: st.none() | st.text(max_size=20),
    list[str]: st.lists(st.text(max_size=20), max_size=5),
    dict[str, Any]: st.dictionaries(st.text(max_size=5), VALUES, max_size=5),
    list[dict[str, Any]]: st.lists(st.dictionaries(st.text(max_size=5), VALUES, max_size=5), max_size=3),
    Any: VALUES,
}


def frames(union: object) -> st.SearchStrategy[Any]:
    """Frames of all kinds in a union, with whatever their fields may hold."""
    return st.one_of(
        *(
            st.builds(kind, **{name: FIELDS[field] for name, field in get_type_hints(kind).items()})
            for kind in get_args(union)
        )
    )


@given(frames(FromMember))
def test_what_a_member_says_is_understood(frame: FromMember) -> None:
    (body,) = FrameReader().feed(encode(frame))
    assert decode_from_member(body) == frame


@given(frames(FromBroker))
def test_what_a_broker_says_is_understood(frame: FromBroker) -> None:
    (body,) = FrameReader().feed(encode(frame))
    assert decode_from_broker(body) == frame


def test_no_two_kinds_have_one_number() -> None:
    kinds = {*get_args(FromMember), *get_args(FromBroker)}
    assert len({kind.__struct_config__.tag for kind in kinds}) == len(kinds)


@given(st.lists(frames(FromMember), min_size=1, max_size=5), st.lists(st.integers(0, 500)))
def test_it_does_not_matter_how_bytes_are_split(said: list[FromMember], cuts: list[int]) -> None:
    data = b"".join(map(encode, said))
    reader = FrameReader()
    heard: list[FromMember] = []
    at = 0
    for cut in [*sorted(cut for cut in cuts if cut <= len(data)), len(data)]:
        heard += [decode_from_member(body) for body in reader.feed(data[at:cut])]
        at = cut
    assert heard == said


def test_every_split_of_two_frames_gives_two() -> None:
    data = encode(Hello("a")) + encode(Send(1, "work", b"message", 100, 60.0))
    for first in range(len(data) + 1):
        for second in range(first, len(data) + 1):
            reader = FrameReader()
            bodies = [
                body
                for part in (data[:first], data[first:second], data[second:])
                for body in reader.feed(part)
            ]
            assert [type(decode_from_member(body)) for body in bodies] == [Hello, Send]


def test_a_large_frame_in_many_pieces_is_read_in_time_that_grows_with_it() -> None:
    """Each piece is added once: no piece makes the reader look through what it has."""
    data = encode(Publish(0, "g", b"x" * 2**24, None, "close", 60.0))
    reader = FrameReader()
    pieces = [data[at : at + 4096] for at in range(0, len(data), 4096)]
    assert [len(reader.feed(piece)) for piece in pieces] == [0] * (len(pieces) - 1) + [1]


@given(st.binary(max_size=200))
def test_bytes_that_are_no_frame_are_broken_or_one(data: bytes) -> None:
    for decode in (decode_from_member, decode_from_broker):
        with suppress(BrokenFrame):
            assert isinstance(decode(data), get_args(Frame))


def test_a_length_that_no_frame_has_is_broken() -> None:
    with pytest.raises(BrokenFrame, match="more than"):
        FrameReader().feed((FRAME_BYTES + 1).to_bytes(LENGTH_BYTES, "big"))
    with pytest.raises(BrokenFrame, match="more than"):
        encode(Publish(0, "g", b"x" * FRAME_BYTES, None, "close", 60.0))


def test_what_one_side_says_the_other_does_not() -> None:
    with pytest.raises(BrokenFrame):
        decode_from_broker(encode(Hello("a"))[LENGTH_BYTES:])
    with pytest.raises(BrokenFrame):
        decode_from_member(encode(wire.Welcome("a", 15.0))[LENGTH_BYTES:])
