"""The frames that we send, read back by the ``websockets`` library as a client."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode
from websockets.protocol import CLIENT, Protocol

from raceway.errors import InvalidMessage
from raceway.prepared import PLAIN, PreparedMessage
from raceway.wire.websocket import (
    MIN_COMPRESSED_BYTES,
    binary_frame,
    close_frame,
    encode,
    encode_data,
    frame,
    ping_frame,
    pong_frame,
    text_frame,
)

SIZES = [0, 1, 125, 126, 65535, 65536, 70_000]
DOCUMENT = b'{"type": "document", "title": "gr\xc3\xb6\xc3\x9fer"}' * 20


def read_as_client(data: bytes, window_bits: int | None = None) -> tuple[Opcode, bytes]:
    protocol = Protocol(CLIENT, max_size=None)
    if window_bits is not None:
        protocol.extensions = [PerMessageDeflate(True, True, window_bits, 15)]
    protocol.receive_data(data)
    (event,) = protocol.events_received()
    assert isinstance(event, Frame)
    assert event.fin
    return event.opcode, bytes(event.data)


@pytest.mark.parametrize("size", SIZES)
def test_data_frames_of_every_form_of_length(size):
    payload = b"x" * size
    assert read_as_client(text_frame(payload)) == (Opcode.TEXT, payload)
    assert read_as_client(text_frame(payload.decode())) == (Opcode.TEXT, payload)
    assert read_as_client(binary_frame(payload)) == (Opcode.BINARY, payload)
    assert read_as_client(frame(0x82, payload)) == (Opcode.BINARY, payload)
    assert frame(0x81, payload) == text_frame(payload) == Frame(Opcode.TEXT, payload).serialize(mask=False)


def test_text_is_sent_as_utf8():
    assert text_frame("größe") == text_frame("größe".encode())


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_bytes_make_bytes(kind):
    assert binary_frame(kind(b"abc")) == b"\x82\x03abc"


def test_ping_and_pong():
    assert read_as_client(ping_frame(b"1234")) == (Opcode.PING, b"1234")
    assert read_as_client(pong_frame(b"p" * 125)) == (Opcode.PONG, b"p" * 125)
    assert ping_frame() == b"\x89\x00"
    for build in (ping_frame, pong_frame):
        with pytest.raises(ValueError, match="at most 125 bytes, not 126"):
            build(b"p" * 126)


class TestClose:
    def test_code_and_reason(self):
        assert close_frame(1001, "going") == b"\x88\x07\x03\xe9going"

    @pytest.mark.parametrize("reason", ["r" * 124, "r" * 122 + "é", "€" * 50, "\U0001f3c1" * 40])
    def test_a_long_reason_is_cut_between_characters(self, reason):
        opcode, payload = read_as_client(close_frame(4000, reason))
        assert opcode is Opcode.CLOSE
        assert 120 <= len(payload) - 2 <= 123
        assert reason.startswith(payload[2:].decode())

    def test_a_reason_that_cannot_be_encoded_is_no_error(self):
        assert close_frame(1011, "\ud800") == b"\x88\x03\x03\xf3?"

    @pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 70_000, -1])
    def test_codes_that_stay_off_the_wire(self, code):
        with pytest.raises(InvalidMessage, match=f"{code} is not a close code"):
            close_frame(code)


class TestEncode:
    @pytest.mark.parametrize("bits", range(9, 16))
    @pytest.mark.parametrize("size", [MIN_COMPRESSED_BYTES, 511, 512, 5000, 100_000])
    def test_every_window_is_read_by_a_client_of_that_window(self, bits, size):
        payload = (DOCUMENT * (size // len(DOCUMENT) + 1))[:size]
        made = encode(PreparedMessage(payload), bits)
        assert made[0] == 0xC2
        assert len(made) < size
        assert read_as_client(made, bits) == (Opcode.BINARY, payload)
        assert made == encode_data(payload, False, bits)

    def test_text_keeps_its_kind(self):
        message = PreparedMessage(DOCUMENT.decode())
        assert encode(message, PLAIN) == text_frame(DOCUMENT) == encode_data(DOCUMENT, True, PLAIN)
        assert encode(message, 15)[0] == encode_data(DOCUMENT, True, 15)[0] == 0xC1

    @pytest.mark.parametrize(
        "payload", [b"", b"x" * (MIN_COMPRESSED_BYTES - 1), zlib.compress(DOCUMENT * 9, 9) * 2]
    )
    def test_where_compressing_does_not_pay_the_plain_frame_serves_all(self, payload):
        if len(payload) > MIN_COMPRESSED_BYTES:
            payload = bytes((n * n * 37 + n) % 251 for n in range(400))
        message = PreparedMessage(payload)
        plain = message.form(PLAIN, encode)
        assert plain == binary_frame(payload)
        assert message.form(15, encode) is plain
        assert message.form(9, encode) is plain
        assert encode_data(payload, False, 15) == plain

    def test_no_context_is_shared_by_two_messages(self):
        """Section 7.2.3.2 of RFC 7692: a client with one lasting inflater reads them in any order."""
        first, second = encode(PreparedMessage(DOCUMENT), 12), encode(PreparedMessage(DOCUMENT[::-1]), 12)
        inflater = zlib.decompressobj(-12)
        for made, payload in ((second, DOCUMENT[::-1]), (first, DOCUMENT), (first, DOCUMENT)):
            assert made[1] == 126 or made[1] < 126
            body = made[4:] if made[1] == 126 else made[2:]
            assert inflater.decompress(body + b"\x00\x00\xff\xff") == payload


@given(st.binary(max_size=2000), st.integers(9, 15), st.booleans())
def test_what_is_encoded_is_what_is_read(payload, bits, compressible):
    payload = payload * 3 if compressible else payload
    assert read_as_client(encode_data(payload, False, bits), bits) == (Opcode.BINARY, payload)
