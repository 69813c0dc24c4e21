"""Our engine against the ``websockets`` library, over random frames, right and damaged, cut at random places."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from raceway.wire.websocket.deflate import compress
from tests.wire.websocket_client import (
    BINARY,
    CLOSE,
    CONTINUATION,
    FIN,
    PING,
    PONG,
    RSV1,
    TEXT,
    client_frame,
    close_payload,
)  # fmt: skip
from tests.wire.websocket_oracle import disagreement

MAX_BYTES = 400

masks = st.binary(min_size=4, max_size=4)
payloads = st.one_of(
    st.binary(max_size=40),
    st.text(max_size=20).map(str.encode),
    st.sampled_from([b"", b"x" * 125, b"x" * 126, b"x" * MAX_BYTES, b"x" * (MAX_BYTES + 1)]),
)
closes = st.one_of(
    st.just(b""),
    st.builds(
        close_payload, st.sampled_from([1000, 1001, 1005, 1012, 1014, 2999, 3000]), st.text(max_size=9)
    ),
    st.binary(max_size=4),
)
control_frames = st.one_of(
    st.builds(client_frame, st.sampled_from([FIN | PING, FIN | PONG]), st.binary(max_size=125), mask=masks),
    st.builds(client_frame, st.just(FIN | CLOSE), closes, mask=masks),
)


@st.composite
def messages(draw, deflate):
    """One message in one or more frames, with control frames in between."""
    payload = draw(payloads)
    first = draw(st.sampled_from([TEXT, BINARY]))
    if deflate and draw(st.booleans()):
        payload = compress(payload, 15)
        first |= RSV1
    edges = sorted(draw(st.lists(st.integers(0, len(payload)), max_size=3)))
    pieces = [payload[a:b] for a, b in zip([0, *edges], [*edges, len(payload)], strict=True)]
    stream = b""
    for number, piece in enumerate(pieces):
        opcode = CONTINUATION if number else first
        last = number == len(pieces) - 1
        stream += client_frame((FIN if last else 0) | opcode, piece, mask=draw(masks))
        if not last and draw(st.integers(0, 3)) == 0:
            stream += draw(control_frames)
    return stream


odd_frames = st.builds(
    client_frame,
    st.integers(0, 255),
    payloads,
    mask=st.one_of(st.none(), masks),
    length_octets=st.sampled_from([None, None, 2, 8]),
)


@st.composite
def streams(draw, deflate):
    parts = st.one_of(messages(deflate), messages(deflate), control_frames, odd_frames)
    stream = bytearray(b"".join(draw(st.lists(parts, max_size=5))))
    for at in draw(st.lists(st.integers(0, max(len(stream) - 1, 0)), max_size=2)):
        if stream:
            stream[at] ^= draw(st.integers(0, 255))
    return bytes(stream) + draw(st.sampled_from([b"", b"", b"\x81", b"\x81\x85abcd", b"\xff"]))


@settings(max_examples=400, deadline=None)
@given(st.data(), st.booleans())
def test_engine_and_library_agree(data, deflate):
    stream = data.draw(streams(deflate))
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=6))
    assert disagreement(stream, cuts, MAX_BYTES, deflate) is None


@settings(max_examples=100, deadline=None)
@given(st.data(), st.booleans())
def test_engine_and_library_agree_octet_by_octet(data, deflate):
    stream = data.draw(streams(deflate))
    assert disagreement(stream, list(range(len(stream))), MAX_BYTES, deflate) is None
