"""permessage-deflate: what is agreed (RFC 7692 section 7.1), and how messages are inflated (section 7.2)."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raceway.prepared import PLAIN
from raceway.wire.websocket.deflate import Inflater, compress, inflate, negotiate
from raceway.wire.websocket.incoming import Broken

AGREED = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"


class TestNegotiate:
    @pytest.mark.parametrize(
        "offer",
        [
            "permessage-deflate",
            "Permessage-Deflate",
            " permessage-deflate ",
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate; client_max_window_bits=8",
            "permessage-deflate; client_max_window_bits=15",
            'permessage-deflate; client_max_window_bits="10"',
            "permessage-deflate; server_no_context_takeover",
            "permessage-deflate; client_no_context_takeover",
            "permessage-deflate;server_no_context_takeover;client_no_context_takeover;client_max_window_bits",
            "permessage-deflate ; client_max_window_bits = 12",
            "x-webkit-deflate-frame, permessage-deflate",
            "x-other; a=b; c, permessage-deflate",
            ", ,permessage-deflate",
            # declined offers with a fall-back
            "permessage-deflate; server_max_window_bits=16, permessage-deflate",
            "permessage-deflate; unknown, permessage-deflate; client_max_window_bits",
            "permessage-bzip2, permessage-deflate; server_max_window_bits=x, permessage-deflate",
        ],
    )
    def test_agreed_without_a_window(self, offer):
        deflate = negotiate(offer)
        assert deflate is not None
        assert deflate.answer.decode() == AGREED
        assert deflate.form == 15

    @pytest.mark.parametrize("bits", range(9, 16))
    @pytest.mark.parametrize("quote", ["", '"'])
    def test_agreed_with_a_window(self, bits, quote):
        deflate = negotiate(
            f"permessage-deflate; server_max_window_bits={quote}{bits}{quote}; client_max_window_bits"
        )
        assert deflate is not None
        assert deflate.answer.decode() == f"{AGREED}; server_max_window_bits={bits}"
        assert deflate.form == bits

    def test_a_window_of_8_bits_is_kept_by_never_compressing(self):
        deflate = negotiate("permessage-deflate; server_max_window_bits=8")
        assert deflate is not None
        assert deflate.answer.decode() == f"{AGREED}; server_max_window_bits=8"
        assert deflate.form == PLAIN

    def test_the_first_offer_that_can_be_agreed_to_is(self):
        deflate = negotiate(
            "permessage-deflate; server_max_window_bits=9, permessage-deflate; server_max_window_bits=10"
        )
        assert deflate is not None
        assert deflate.form == 9

    def test_all_connections_of_a_window_share_one_object(self):
        assert negotiate("permessage-deflate") is negotiate("permessage-deflate; client_max_window_bits")

    @pytest.mark.parametrize(
        "offer",
        [
            "",
            "permessage-deflates",
            "deflate",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=7",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=010",
            "permessage-deflate; server_max_window_bits=-9",
            "permessage-deflate; server_max_window_bits=",
            'permessage-deflate; server_max_window_bits=""',
            'permessage-deflate; server_max_window_bits="10',
            "permessage-deflate; client_max_window_bits=16",
            "permessage-deflate; client_max_window_bits=x",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; client_no_context_takeover=true",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; client_max_window_bits; client_max_window_bits=10",
            "permessage-deflate; max_window_bits=10",
            "permessage-deflate client_max_window_bits",
            "permessage-deflate;",
            "permessage-deflate; ;",
            "=, permessage-deflate",
            "\xff, permessage-deflate",
        ],
    )
    def test_declined(self, offer):
        assert negotiate(offer) is None

    @given(
        st.lists(st.sampled_from(["permessage-deflate", "client_max_window_bits", *' =;,"\\8\t\xe9'])).map(
            "".join
        )
    )
    def test_never_raises(self, offers):
        negotiate(offers)

    def test_a_long_header_takes_no_long_time(self):
        for bad in (
            "permessage-deflate" + ";a" * 15_000 + "!",
            " " * 30_000 + "!",
            "," * 30_000,
            '"' * 30_000,
        ):
            assert negotiate(bad) is None


def inflate_in_pieces(data: bytes, max_bytes: int, piece_bytes: int) -> bytes:
    inflater = Inflater(max_bytes)
    made = b"".join(inflater.receive(data[at : at + piece_bytes]) for at in range(0, len(data), piece_bytes))
    return made + inflater.finish()


def inflate_in_octets(data: bytes, max_bytes: int) -> bytes:
    return inflate_in_pieces(data, max_bytes, 1)


def inflate_in_two(data: bytes, max_bytes: int) -> bytes:
    return inflate_in_pieces(data, max_bytes, len(data) // 2 + 1)


every_way = pytest.mark.parametrize("way", [inflate, inflate_in_octets, inflate_in_two])


def press(payload: bytes, flush: int = zlib.Z_FINISH) -> bytes:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    return compressor.compress(payload) + compressor.flush(flush)


@every_way
class TestInflate:
    # The examples of section 7.2.3.
    @pytest.mark.parametrize(
        "data",
        [
            "f2 48 cd c9 c9 07 00",
            "00 05 00 fa ff 48 65 6c 6c 6f 00",
            "f3 48 cd c9 c9 07 00 00",
            "f2 48 05 00 00 00 ff ff ca c9 c9 07 00",
        ],
    )
    def test_examples_of_the_standard(self, way, data):
        assert way(bytes.fromhex(data), 5) == b"Hello"

    def test_an_empty_message(self, way):
        assert way(b"\x00", 0) == b""
        assert way(b"", 0) == b""

    def test_a_message_of_several_streams(self, way):
        assert way(press(b"Hello ") + press(b"") + press(b"world") + b"\x00", 11) == b"Hello world"

    def test_too_many_streams(self, way):
        with pytest.raises(Broken) as caught:
            way(press(b"") * 100_000 + b"\x00", 10)
        assert caught.value.code == 1007

    def test_as_much_as_the_limit_and_one_more(self, way):
        assert way(compress(b"x" * 3000, 15), 3000) == b"x" * 3000
        with pytest.raises(Broken) as caught:
            way(compress(b"x" * 3001, 15), 3000)
        assert caught.value.code == 1009

    @pytest.mark.parametrize(
        "data",
        [
            pytest.param(b"\x07\x00", id="block type 3"),
            pytest.param(press(b"hello hello hello", zlib.Z_SYNC_FLUSH), id="the tail was not taken off"),
            pytest.param(compress(b"hello hello hello", 15)[:-3], id="cut"),
            pytest.param(press(b"hello"), id="a final block and nothing behind it"),
            pytest.param(b"\x00\x05\x00\xfa\xffHel", id="cut inside a stored block"),
        ],
    )
    def test_damaged(self, way, data):
        with pytest.raises(Broken) as caught:
            way(data, 1000)
        assert caught.value.code == 1007


@given(st.binary(max_size=3000), st.integers(1, 200))
def test_pieces_and_whole_inflate_to_the_same(payload, piece_bytes):
    data = compress(payload, 15)
    assert inflate(data, len(payload)) == payload
    assert inflate_in_pieces(data, len(payload), piece_bytes) == payload
