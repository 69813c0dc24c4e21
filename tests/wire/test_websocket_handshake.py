"""The handshake, from the server's side (RFC 6455 section 4.2)."""

from __future__ import annotations

import pytest

from raceway.errors import InvalidMessage
from raceway.types import Headers
from raceway.wire.events import Request
from raceway.wire.websocket import Refusal, Upgrade, read_upgrade

# The example of RFC 6455 section 1.3.
KEY = (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ==")
VERSION = (b"sec-websocket-version", b"13")


def request(
    *headers: tuple[bytes, bytes], method: str = "GET", version: str = "1.1", ends_here: bool = True
) -> Request:
    given: Headers = [(b"host", b"a"), (b"connection", b"Upgrade"), (b"upgrade", b"websocket"), *headers]
    return Request(method, "/chat", b"/chat", b"", given, version, True, ends_here, False, "websocket")


def accepted(*headers: tuple[bytes, bytes], compression: bool = True) -> Upgrade:
    upgrade = read_upgrade(request(KEY, VERSION, *headers), compression=compression)
    assert isinstance(upgrade, Upgrade)
    return upgrade


def refused(wrong: Request) -> Refusal:
    refusal = read_upgrade(wrong)
    assert isinstance(refusal, Refusal)
    assert refusal.reason
    return refusal


def test_the_example_of_the_standard():
    assert accepted().response() == (
        b"HTTP/1.1 101 Switching Protocols\r\n"
        b"Upgrade: websocket\r\n"
        b"Connection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
        b"\r\n"
    )


class TestRefusals:
    @pytest.mark.parametrize("method", ["POST", "HEAD", "PUT", "get"])
    def test_method(self, method):
        refusal = refused(request(KEY, VERSION, method=method))
        assert refusal.status == 405
        assert refusal.headers == [(b"allow", b"GET")]

    def test_http_1_0(self):
        assert refused(request(KEY, VERSION, version="1.0")).status == 400

    def test_body(self):
        assert refused(request(KEY, VERSION, ends_here=False)).status == 400

    @pytest.mark.parametrize(
        "versions", [[], [b"8"], [b"0"], [b""], [b"013"], [b"13, 8"], [b"13", b"13"], [b"13", b"8"]]
    )
    def test_version(self, versions):
        refusal = refused(request(KEY, *((b"sec-websocket-version", version) for version in versions)))
        assert refusal.status == 426
        assert refusal.headers == [(b"upgrade", b"websocket"), (b"sec-websocket-version", b"13")]

    @pytest.mark.parametrize(
        "keys",
        [
            [],
            [b""],
            [b"short"],
            [b"dGhlIHNhbXBsZSBub25jZQ"],
            [b"dGhlIHNhbXBsZSBub25jZQ="],
            [b"dGhlIHNhbXBsZSBub25jZQ==="],
            [b"dGhlIHNhbXBsZSBub25jZTEyMw=="],
            [b"dGhlIHNhbXBsZSBub25jZTE="],
            [b"dGhl!HNhbXBsZSBub25jZQ=="],
            [b"dGhl\nHNhbXBsZSBub25jZ=="],
            [b"dGhlIHNhbXBsZSBub25j\xff\xff=="],
            [KEY[1], KEY[1]],
            [KEY[1] + b", " + KEY[1]],
        ],
    )
    def test_key(self, keys):
        assert refused(request(VERSION, *((b"sec-websocket-key", key) for key in keys))).status == 400

    @pytest.mark.parametrize("value", [b"a b", b"a/b", b"chat, (x)", b"caf\xe9", b'"quoted"', b"a;b"])
    def test_subprotocols_that_are_not_tokens(self, value):
        assert refused(request(KEY, VERSION, (b"sec-websocket-protocol", value))).status == 400


class TestSubprotocols:
    def test_none(self):
        assert accepted().subprotocols == []

    def test_several_headers_are_one_list(self):
        upgrade = accepted(
            (b"sec-websocket-protocol", b"graphql-ws , chat"),
            (b"x-other", b"1"),
            (b"sec-websocket-protocol", b",chat,\tv1.example.com,"),
        )
        assert upgrade.subprotocols == ["graphql-ws", "chat", "v1.example.com"]

    def test_the_choice_is_answered(self):
        upgrade = accepted((b"sec-websocket-protocol", b"a, b"))
        assert b"\r\nSec-WebSocket-Protocol: b\r\n" in upgrade.response("b")
        assert b"Protocol:" not in upgrade.response(None)

    @pytest.mark.parametrize("choice", ["c", "A", "a, b", "", "a\r\nx: y"])
    def test_a_choice_that_was_not_offered(self, choice):
        with pytest.raises(InvalidMessage, match="was not offered by the client; offered: a, b"):
            accepted((b"sec-websocket-protocol", b"a, b")).response(choice)

    def test_a_choice_where_none_was_offered(self):
        with pytest.raises(InvalidMessage, match="offered: none"):
            accepted().response("chat")


class TestExtensions:
    def test_agreed(self):
        upgrade = accepted(
            (b"sec-websocket-extensions", b"x-other"),
            (b"sec-websocket-extensions", b"permessage-deflate; server_max_window_bits=10"),
        )
        assert upgrade.deflate is not None
        assert upgrade.response().count(b"\r\nSec-WebSocket-Extensions: permessage-deflate; ") == 1

    def test_not_offered(self):
        assert accepted().deflate is None
        assert b"Extensions" not in accepted().response()

    def test_switched_off(self):
        upgrade = accepted((b"sec-websocket-extensions", b"permessage-deflate"), compression=False)
        assert upgrade.deflate is None
        assert b"Extensions" not in upgrade.response()

    @pytest.mark.parametrize(
        "value", [b"permessage-deflate; nonsense", b"=;=", b"\xff\xfe", b'permessage-deflate; "']
    )
    def test_a_bad_offer_does_not_refuse_the_handshake(self, value):
        assert accepted((b"sec-websocket-extensions", value)).deflate is None


class TestHeadersOfTheApplication:
    def test_kept_in_order(self):
        head = accepted().response(
            None, [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"), (b"x-empty", b"")]
        )
        assert head.endswith(b"\r\nset-cookie: a=1\r\nset-cookie: b=2\r\nx-empty: \r\n\r\n")

    @pytest.mark.parametrize(
        "header",
        [
            (b"x", b"a\r\nset-cookie: b"),
            (b"x", b"a\nb"),
            (b"x", b"a\0b"),
            (b"x: y", b"a"),
            (b"x\r\ny", b"a"),
            (b"", b"a"),
            (b"caf\xe9", b"a"),
        ],
    )
    def test_malformed(self, header):
        with pytest.raises(InvalidMessage, match="would break the response"):
            accepted().response(None, [header])

    @pytest.mark.parametrize("header", [("x", b"a"), (b"x", "a"), (b"x", None), (b"x", 1)])
    def test_not_bytes(self, header):
        with pytest.raises(InvalidMessage, match="pair of bytes"):
            accepted().response(None, [header])

    @pytest.mark.parametrize("name", [b"sec-websocket-protocol", b"Sec-WebSocket-Protocol"])
    def test_the_subprotocol_has_its_own_place(self, name):
        with pytest.raises(InvalidMessage, match='use "subprotocol"'):
            accepted().response(None, [(name, b"chat")])

    @pytest.mark.parametrize(
        "name",
        [
            b"sec-websocket-accept",
            b"Sec-WebSocket-Extensions",
            b"connection",
            b"Upgrade",
            b"content-length",
            b"transfer-encoding",
        ],
    )
    def test_the_servers_own(self, name):
        with pytest.raises(InvalidMessage, match="server's own"):
            accepted().response(None, [(name, b"1")])
