"""Bytes in, items out: RFC 6455 sections 5 to 8."""

from __future__ import annotations

import gc
import sys
import time
import tracemalloc
import zlib

import pytest

from raceway.wire.websocket import Engine
from raceway.wire.websocket.deflate import compress
from tests.wire.websocket_client import (
    BINARY,
    CLOSE,
    CONTINUATION,
    DEFLATE,
    FIN,
    PING,
    PONG,
    RSV1,
    RSV2,
    RSV3,
    TEXT,
    client_frame,
    close_payload,
    plain,
    read,
    read_codes,
)

KAPPA = "κόσμε".encode()
MAX_BYTES = 70_000

GOOD = {
    "text": (client_frame(FIN | TEXT, b"hello"), ["hello"]),
    "empty text": (client_frame(FIN | TEXT), [""]),
    "empty binary": (client_frame(FIN | BINARY), [b""]),
    "binary": (client_frame(FIN | BINARY, bytes(range(256))), [bytes(range(256))]),
    "125 octets": (client_frame(FIN | TEXT, b"x" * 125), ["x" * 125]),
    "126 octets": (client_frame(FIN | TEXT, b"x" * 126), ["x" * 126]),
    "65535 octets": (client_frame(FIN | BINARY, b"x" * 65535), [b"x" * 65535]),
    "65536 octets": (client_frame(FIN | BINARY, b"x" * 65536), [b"x" * 65536]),
    "65536 octets of text": (client_frame(FIN | TEXT, KAPPA * 6000), ["κόσμε" * 6000]),
    "two in one read": (client_frame(FIN | TEXT, b"a") + client_frame(FIN | BINARY, b"b"), ["a", b"b"]),
    "mask of zeros": (client_frame(FIN | TEXT, b"a", mask=bytes(4)), ["a"]),
    "ping": (client_frame(FIN | PING, b"p"), [("Ping", b"p")]),
    "empty ping": (client_frame(FIN | PING), [("Ping", b"")]),
    "ping of 125 octets": (client_frame(FIN | PING, b"p" * 125), [("Ping", b"p" * 125)]),
    "pong": (client_frame(FIN | PONG, b"p"), [("Pong", b"p")]),
    "messages around a ping": (
        client_frame(FIN | TEXT, b"a") + client_frame(FIN | PING) + client_frame(FIN | TEXT, b"b"),
        ["a", ("Ping", b""), "b"],
    ),
    "fragments": (
        client_frame(TEXT, b"a") + client_frame(CONTINUATION, b"b") + client_frame(FIN, b"c"),
        ["abc"],
    ),
    "fragments of nothing": (client_frame(TEXT) + client_frame(CONTINUATION) + client_frame(FIN), [""]),
    "binary fragments": (client_frame(BINARY, b"\xff") + client_frame(FIN, b"\xfe"), [b"\xff\xfe"]),
    "control frames between fragments": (
        client_frame(TEXT, b"a") + client_frame(FIN | PING, b"1") + client_frame(CONTINUATION, b"b")
        + client_frame(FIN | PONG, b"2") + client_frame(FIN, b"c") + client_frame(FIN | TEXT, b"d"),
        [("Ping", b"1"), ("Pong", b"2"), "abc", "d"],
    ),
    "a character over three fragments": (
        client_frame(TEXT, KAPPA[:3]) + client_frame(CONTINUATION, KAPPA[3:4]) + client_frame(FIN, KAPPA[4:]),
        ["κόσμε"],
    ),
    "close": (client_frame(FIN | CLOSE, close_payload(1000, "bye")), [("Close", 1000, "bye")]),
    "close without a code": (client_frame(FIN | CLOSE), [("Close", 1005, "")]),
    "close with the longest reason": (
        client_frame(FIN | CLOSE, close_payload(4999, "r" * 123)),
        [("Close", 4999, "r" * 123)],
    ),
    "close between fragments": (
        client_frame(TEXT, b"a") + client_frame(FIN | CLOSE, close_payload(1001)) + client_frame(FIN, b"b"),
        [("Close", 1001, "")],
    ),
    "anything after a close": (
        client_frame(FIN | CLOSE) + client_frame(FIN | TEXT, b"late") + b"\xff\xff\xff",
        [("Close", 1005, "")],
    ),
}  # fmt: skip

BAD = {
    "not masked": (client_frame(FIN | TEXT, b"a", mask=None), 1002),
    "empty and not masked": (client_frame(FIN | TEXT, mask=None), 1002),
    "RSV1 without an extension": (client_frame(FIN | RSV1 | TEXT, b"a"), 1002),
    "RSV2": (client_frame(FIN | RSV2 | TEXT, b"a"), 1002),
    "RSV3": (client_frame(FIN | RSV3 | BINARY, b"a"), 1002),
    "RSV on a ping": (client_frame(FIN | RSV1 | PING), 1002),
    **{f"opcode {n}": (client_frame(FIN | n), 1002) for n in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    "8 octets of length for 5": (client_frame(FIN | TEXT, b"hello", length_octets=8), 1002),
    "2 octets of length for 5": (client_frame(FIN | TEXT, b"hello", length_octets=2), 1002),
    "8 octets of length for 126": (client_frame(FIN | BINARY, b"x" * 126, length_octets=8), 1002),
    "8 octets of length for 65535": (client_frame(FIN | BINARY, b"x" * 65535, length_octets=8), 1002),
    "length with the high bit": (client_frame(FIN | BINARY, length=1 << 63), 1002),
    "ping of 126 octets": (client_frame(FIN | PING, b"p" * 126), 1002),
    "fragmented ping": (client_frame(PING, b"p"), 1002),
    "fragmented close": (client_frame(CLOSE), 1002),
    "continuation of nothing": (client_frame(CONTINUATION, b"a"), 1002),
    "last continuation of nothing": (client_frame(FIN, b"a"), 1002),
    "text inside a message": (client_frame(TEXT, b"a") + client_frame(FIN | TEXT, b"b"), 1002),
    "binary inside a message": (client_frame(TEXT, b"a") + client_frame(BINARY, b"b"), 1002),
    "close of one octet": (client_frame(FIN | CLOSE, b"\x03"), 1002),
    **{
        f"close {code}": (client_frame(FIN | CLOSE, close_payload(code)), 1002)
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
    },
    "close with a reason that is not UTF-8": (client_frame(FIN | CLOSE, b"\x03\xe8\xce\xba\xe1"), 1007),
    "text that is not UTF-8": (client_frame(FIN | TEXT, b"\xff"), 1007),
    "text of a surrogate": (client_frame(FIN | TEXT, b"\xed\xa0\x80"), 1007),
    "overlong text": (client_frame(FIN | TEXT, b"\xc0\xaf"), 1007),
    "text that ends within a character": (client_frame(FIN | TEXT, KAPPA[:-1]), 1007),
    "fragments that end within a character": (client_frame(TEXT, b"a") + client_frame(FIN, b"\xce"), 1007),
    "not UTF-8 over two fragments": (client_frame(TEXT, b"\xf4") + client_frame(CONTINUATION, b"\x90"), 1007),
    "above the limit": (client_frame(FIN | BINARY, bytes(MAX_BYTES + 1)), 1009),
    "above the limit in fragments": (
        client_frame(BINARY, bytes(MAX_BYTES - 9)) + client_frame(CONTINUATION, bytes(9)) + client_frame(FIN, b"x"),
        1009,
    ),
    "length far above the limit": (client_frame(FIN | BINARY, length=(1 << 63) - 1), 1009),
}  # fmt: skip


def cut_at_once(data: bytes) -> list[bytes]:
    return [data]


def cut_in_octets(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def cut_in_sevens(data: bytes) -> list[bytes]:
    return [data[at : at + 7] for at in range(0, len(data), 7)]


every_cut = pytest.mark.parametrize("cut", [cut_at_once, cut_in_octets, cut_in_sevens])


@every_cut
@pytest.mark.parametrize("name", GOOD)
def test_good_frames(name, cut):
    data, expected = GOOD[name]
    assert read(cut(data)) == expected


@every_cut
@pytest.mark.parametrize("name", BAD)
def test_bad_frames(name, cut):
    data, code = BAD[name]
    assert read_codes(cut(data), max_bytes=MAX_BYTES) == [("Violation", code)]


@every_cut
@pytest.mark.parametrize("name", BAD)
def test_what_was_good_before_a_bad_frame_is_delivered(name, cut):
    data, code = BAD[name]
    before = client_frame(FIN | TEXT, b"first") + client_frame(FIN | PING, b"second")
    items = read_codes(cut(before + data), max_bytes=MAX_BYTES)
    assert items == ["first", ("Ping", b"second"), ("Violation", code)]


@pytest.mark.parametrize("name", [name for name in {**GOOD, **BAD} if len({**GOOD, **BAD}[name][0]) < 200])
def test_every_split_in_two_says_the_same(name):
    data = client_frame(FIN | TEXT, "größer".encode()) + {**GOOD, **BAD}[name][0]
    whole = read([data])
    for at in range(len(data) + 1):
        assert read([data[:at], data[at:]]) == whole, at


def test_nothing_is_read_after_a_violation():
    engine = Engine(100, None)
    assert len(engine.receive_data(client_frame(FIN | TEXT, b"\xff") + client_frame(FIN | TEXT, b"a"))) == 1
    assert engine.receive_data(client_frame(FIN | TEXT, b"a")) == []


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_message_as_big_as_the_limit(opcode):
    assert len(read([client_frame(FIN | opcode, b"x" * 1000)], max_bytes=1000)[0]) == 1000
    assert read_codes([client_frame(FIN | opcode, b"x" * 1001)], max_bytes=1000) == [("Violation", 1009)]
    fragments = client_frame(opcode, b"x" * 999) + client_frame(FIN, b"x")
    assert len(read([fragments], max_bytes=1000)[0]) == 1000


class TestFailFast:
    """A fault shows at its first octet, though the frame or the message is not complete."""

    def test_octet_that_cannot_continue_a_character_inside_a_frame(self):
        head = client_frame(FIN | TEXT, KAPPA + b"\xf4\x90\x80\x80edited", length_octets=0)
        octets = [head[at : at + 1] for at in range(len(head))]
        engine = Engine(1000, None)
        silent = [engine.receive_data(octet) for octet in octets[: 6 + len(KAPPA) + 1]]
        assert not any(silent)
        assert [v.code for v in engine.receive_data(octets[6 + len(KAPPA) + 1])] == [1007]

    @pytest.mark.parametrize("bad", [b"\xc0", b"\xff", b"\x80", b"\xed\xa0", b"\xf0\x80", b"\xe0\x9f"])
    def test_in_the_first_read_of_a_frame(self, bad):
        data = client_frame(FIN | TEXT, b"ok" + bad + b"more")
        assert read_codes([data[: 6 + 2 + len(bad)]]) == [("Violation", 1007)]

    def test_in_a_fragment(self):
        assert read_codes([client_frame(TEXT, b"ok\xff")]) == [("Violation", 1007)]

    @pytest.mark.parametrize(
        ("head", "code"),
        [
            (b"\x83", 1002),
            (b"\xf1", 1002),
            (b"\x09", 1002),
            (b"\x80", 1002),
            (b"\x81\x05", 1002),
            (b"\x89\xfe", 1002),
            (b"\x81\xfe\x00\x7d", 1002),
            (b"\x81\xff\x80\x00\x00\x00\x00\x00\x00\x00", 1002),
            (b"\x81\xff\x00\x00\x00\x00\x00\x10\x00\x01", 1009),
        ],
    )
    def test_in_a_head(self, head, code):
        assert read([head[:-1]]) == []
        assert read_codes([head]) == [("Violation", code)]


class TestCompressed:
    def test_whole(self):
        data = client_frame(FIN | RSV1 | TEXT, compress(KAPPA, 15))
        assert read([data * 3], deflate=DEFLATE) == ["κόσμε"] * 3

    def test_binary(self):
        data = client_frame(FIN | RSV1 | BINARY, compress(bytes(5000), 9))
        assert read([data], deflate=DEFLATE) == [bytes(5000)]

    def test_not_compressed_though_agreed(self):
        assert read([client_frame(FIN | TEXT, b"a")], deflate=DEFLATE) == ["a"]

    @every_cut
    def test_fragments_around_a_ping(self, cut):
        body = compress(KAPPA * 100, 15)
        data = (
            client_frame(RSV1 | TEXT, body[:5])
            + client_frame(FIN | PING, b"p")
            + client_frame(CONTINUATION)
            + client_frame(FIN, body[5:])
            + client_frame(FIN | TEXT, b"plain")
        )
        assert read(cut(data), deflate=DEFLATE) == [("Ping", b"p"), "κόσμε" * 100, "plain"]

    @every_cut
    @pytest.mark.parametrize(
        ("data", "code"),
        [
            (client_frame(RSV1 | TEXT, compress(b"a", 15)) + client_frame(FIN | RSV1), 1002),
            (client_frame(FIN | RSV1 | PING), 1002),
            (client_frame(FIN | RSV1 | CONTINUATION, compress(b"a", 15)), 1002),
            (client_frame(FIN | RSV1 | 0x03, compress(b"a", 15)), 1002),
            (client_frame(FIN | RSV1 | CLOSE), 1002),
            (client_frame(FIN | RSV1 | RSV2 | TEXT, compress(b"a", 15)), 1002),
            (client_frame(FIN | RSV1 | TEXT, b"\xff\xff\xff"), 1007),
            (client_frame(FIN | RSV1 | TEXT, compress(b"a" * 50, 15)[:-2]), 1007),
            (client_frame(FIN | RSV1 | TEXT, compress(b"\xff", 15)), 1007),
            (client_frame(FIN | RSV1 | TEXT, compress(bytes(1001), 15)), 1009),
            (client_frame(FIN | RSV1 | BINARY, compress(bytes(100_000), 15)), 1009),
        ],
    )
    def test_bad(self, data, code, cut):
        assert read_codes(cut(data), deflate=DEFLATE, max_bytes=1000) == [("Violation", code)]

    def test_text_that_is_not_utf8_shows_before_the_message_ends(self):
        data = client_frame(RSV1 | TEXT, compress(b"a\xffb" * 500, 15))
        assert read_codes([data], deflate=DEFLATE) == [("Violation", 1007)]

    def test_a_message_as_big_as_the_limit(self):
        data = client_frame(FIN | RSV1 | BINARY, compress(bytes(1000), 15))
        assert read([data], deflate=DEFLATE, max_bytes=1000) == [bytes(1000)]
        assert read([data[:9], data[9:]], deflate=DEFLATE, max_bytes=1000) == [bytes(1000)]

    @pytest.mark.parametrize("read_bytes", [1 << 18, 1 << 12])
    def test_a_bomb_costs_little_memory(self, read_bytes):
        press = zlib.compressobj(9, zlib.DEFLATED, -15)
        bomb = client_frame(FIN | RSV1 | BINARY, press.compress(bytes(200 << 20)) + press.flush())
        assert len(bomb) < 1 << 18
        chunks = [bomb[at : at + read_bytes] for at in range(0, len(bomb), read_bytes)]
        tracemalloc.start()
        try:
            assert read_codes(chunks, deflate=DEFLATE) == [("Violation", 1009)]
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak_bytes < 4 << 20

    @pytest.mark.parametrize("between", [b"", client_frame(FIN | PING), client_frame(FIN | TEXT, b"a")])
    @pytest.mark.parametrize("fragmented", [False, True])
    def test_many_bombs_in_one_read_are_inflated_one_by_one(self, fragmented, between):
        body = compress(bytes(1 << 20), 15)
        bomb = client_frame(FIN | RSV1 | BINARY, body)
        if fragmented:
            bomb = client_frame(RSV1 | BINARY, body[:9]) + client_frame(FIN, body[9:])
        engine = Engine(1 << 20, DEFLATE)
        stream = (bomb + between) * 50 + client_frame(FIN | CLOSE)
        items = engine.receive_data(stream)
        calls = 1
        while engine.has_more:
            assert sum(len(item) for item in items if isinstance(item, bytes)) <= 1 << 20
            items = engine.receive_data(b"")
            calls += 1
        assert calls >= 50
        assert plain(items[-1]) == ("Close", 1005, "")

    def test_what_waits_is_read_in_front_of_what_follows(self):
        bomb = client_frame(FIN | RSV1 | BINARY, compress(bytes(1 << 20), 15))
        engine = Engine(1 << 20, DEFLATE)
        assert len(engine.receive_data(bomb * 2 + client_frame(FIN | TEXT, b"after"))) == 1
        assert engine.has_more
        assert not engine.resting
        assert engine.receive_data(client_frame(FIN | TEXT, b"later")) == [bytes(1 << 20), "after", "later"]
        assert not engine.has_more
        assert engine.resting


class TestCost:
    def test_a_resting_engine_holds_nothing(self):
        engine = Engine(1 << 20, DEFLATE)
        fresh_bytes = engine_bytes(engine)
        assert fresh_bytes < 100
        stream = b"".join(data for name, (data, _) in GOOD.items() if "close" not in name)
        for at in range(0, len(stream), 1000):
            engine.receive_data(stream[at : at + 1000])
        assert engine.resting
        assert engine_bytes(engine) == fresh_bytes

    def test_an_ended_engine_holds_nothing(self):
        engine = Engine(1 << 20, None)
        engine.receive_data(client_frame(BINARY, bytes(1 << 19)))
        assert engine_bytes(engine) > 1 << 19
        engine.receive_data(client_frame(FIN | CLOSE))
        assert not engine.resting
        assert engine_bytes(engine) < 1000

    def test_empty_fragments_do_not_pile_up(self):
        engine = Engine(1 << 20, None)
        engine.receive_data(client_frame(BINARY))
        many = client_frame(CONTINUATION) * 2000
        engine.receive_data(many)
        tracemalloc.start()
        try:
            for _ in range(10):
                assert engine.receive_data(many) == []
            left_bytes, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert left_bytes < 2000

    def test_a_message_in_tiny_fragments(self):
        fragment = client_frame(CONTINUATION, b"x" * 64)
        stream = client_frame(TEXT) + fragment * (1 << 14) + client_frame(FIN)
        assert read([stream]) == ["x" * (1 << 20)]

    def test_many_small_reads_are_not_quadratic(self):
        def read_in_small_pieces_s(size: int) -> float:
            data = client_frame(FIN | BINARY, bytes(4)) + client_frame(FIN | TEXT, b"x" * size, mask=bytes(4))
            chunks = [data[at : at + 64] for at in range(0, len(data), 64)]
            began = time.process_time()
            assert read(chunks, max_bytes=1 << 24)[1] == "x" * size
            return time.process_time() - began

        small_s = min(read_in_small_pieces_s(1 << 18) for _ in range(3))
        large_s = min(read_in_small_pieces_s(1 << 21) for _ in range(2))
        assert large_s < small_s * 8 * 4


def engine_bytes(engine: Engine) -> int:
    """The size of everything that is an engine's own."""
    shared = (type, type(sys), type(lambda: 0))
    seen: set[int] = {id(DEFLATE)}
    waiting: list[object] = [engine]
    total = 0
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen or isinstance(thing, shared):
            continue
        seen.add(id(thing))
        total += sys.getsizeof(thing) if not isinstance(thing, int) else 0
        waiting.extend(gc.get_referents(thing))
    return total
