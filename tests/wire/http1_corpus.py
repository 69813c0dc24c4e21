"""Requests as bytes, with what a server must make of them: the corpus of every HTTP/1.1 test.

An expected event is written as ``told`` writes it: ``"POST /path?query HTTP/1.0 close body"`` for a request, bytes
for a piece of its body, ``"end"``, and the status as an int for a violation.
"""

from __future__ import annotations

from raceway.wire.events import Body, End, HttpEvent, Request, Violation
from raceway.wire.http1 import Http1Reader
from raceway.wire.limits import Limits

Told = str | bytes | int

LIMITS = Limits(
    request_line_bytes=200, header_bytes=400, header_count=8, chunk_line_bytes=60, pipelined_requests=8
)


def told(events: list[HttpEvent]) -> list[Told]:
    """Write events shortly; pieces of one body are joined, as their borders depend on the reads."""
    items: list[Told] = []
    for event in events:
        if isinstance(event, Request):
            flags = [event.method, event.path]
            if event.query_string:
                flags[1] += "?" + event.query_string.decode()
            flags += ["HTTP/1.0"] * (event.http_version == "1.0")
            flags += ["close"] * (not event.keep_alive)
            flags += ["body"] * (not event.ends_here)
            flags += ["continue"] * event.expects_continue
            flags += ["upgrade"] * (event.upgrade == "websocket")
            items.append(" ".join(flags))
        elif isinstance(event, Body):
            assert event.data
            if items and isinstance(items[-1], bytes):
                items[-1] += event.data
            else:
                items.append(event.data)
        elif isinstance(event, End):
            items.append("end")
        else:
            assert isinstance(event, Violation)
            assert event.reason
            items.append(event.status)
    return items


def read(*pieces: bytes, limits: Limits = LIMITS) -> list[HttpEvent]:
    reader = Http1Reader(limits)
    return [event for piece in pieces for event in reader.receive_data(piece)]


def head(*lines: bytes, start: bytes = b"GET / HTTP/1.1", host: bytes = b"Host: a") -> bytes:
    return b"\r\n".join((start, *([host] if host else []), *lines, b"", b""))


def chunked(body: bytes, start: bytes = b"POST / HTTP/1.1") -> bytes:
    return head(b"Transfer-Encoding: chunked", start=start) + body


POST = b"POST / HTTP/1.1"

VALID: dict[str, tuple[bytes, list[Told]]] = {
    # Request line
    "get": (head(), ["GET /"]),
    "head": (head(start=b"HEAD / HTTP/1.1"), ["HEAD /"]),
    "query": (head(start=b"GET /a/b?c=d?e&f HTTP/1.1"), ["GET /a/b?c=d?e&f"]),
    "empty query": (head(start=b"GET /a? HTTP/1.1"), ["GET /a"]),
    "percent-encoded path": (head(start=b"GET /%C3%A9%2Fb%20c?%41 HTTP/1.1"), ["GET /é/b c?%41"]),
    "path that is not UTF-8": (head(start=b"GET /%FF%e9 HTTP/1.1"), ["GET /%FF%E9"]),
    "malformed percent": (head(start=b"GET /%zz% HTTP/1.1"), ["GET /%zz%"]),
    "two slashes": (head(start=b"GET //evil.example/x HTTP/1.1"), ["GET //evil.example/x"]),
    "uncommon characters in the path": (head(start=b'GET /a"b|{}<>\\^`;= HTTP/1.1'), ['GET /a"b|{}<>\\^`;=']),
    "longest request line": (head(start=b"GET /" + b"a" * 186 + b" HTTP/1.1"), ["GET /" + "a" * 186]),
    "known extension method": (head(start=b"PROPFIND / HTTP/1.1"), ["PROPFIND /"]),
    "query method": (head(start=b"QUERY / HTTP/1.1"), ["QUERY /"]),
    "http/1.2 is read as 1.1": (head(start=b"GET / HTTP/1.2"), ["GET /"]),
    "http/1.9 with a body": (
        head(b"Content-Length: 1", start=b"PUT / HTTP/1.9") + b"x",
        ["PUT / body", b"x", "end"],
    ),
    "one empty line before": (b"\r\n" + head(), ["GET /"]),
    "four empty lines before": (b"\r\n" * 4 + head(), ["GET /"]),
    "four empty lines before each": ((b"\r\n" * 4 + head()) * 2, ["GET /", "GET /"]),
    "empty line between": (head() + b"\r\n" + head(start=b"GET /2 HTTP/1.1"), ["GET /", "GET /2"]),
    # Target forms
    "absolute-form": (head(start=b"GET http://example.com:8000/x?q HTTP/1.1"), ["GET /x?q"]),
    "absolute-form without path": (head(start=b"GET http://example.com HTTP/1.1"), ["GET /"]),
    "absolute-form with query alone": (head(start=b"GET http://example.com?q HTTP/1.1"), ["GET /?q"]),
    "absolute-form in capitals": (head(start=b"GET HTTPS://EXAMPLE.com/ HTTP/1.1"), ["GET /"]),
    "absolute-form with IPv6": (head(start=b"GET http://[::1]:80/ HTTP/1.1"), ["GET /"]),
    "asterisk": (head(start=b"OPTIONS * HTTP/1.1"), ["OPTIONS *"]),
    "asterisk as absolute-form": (head(start=b"OPTIONS http://example.com HTTP/1.1"), ["OPTIONS *"]),
    "options of a path": (head(start=b"OPTIONS /a HTTP/1.1"), ["OPTIONS /a"]),
    # HTTP/1.0
    "http/1.0": (head(start=b"GET / HTTP/1.0"), ["GET / HTTP/1.0 close"]),
    "http/1.0 without host": (head(start=b"GET / HTTP/1.0", host=b""), ["GET / HTTP/1.0 close"]),
    "http/1.0 keep-alive": (
        head(b"Connection: Keep-Alive", start=b"GET / HTTP/1.0") * 2,
        ["GET / HTTP/1.0", "GET / HTTP/1.0"],
    ),
    "http/1.0 close wins": (
        head(b"Connection: keep-alive, close", start=b"GET / HTTP/1.0"),
        ["GET / HTTP/1.0 close"],
    ),
    "http/1.0 body": (
        head(b"Content-Length: 2", start=b"POST / HTTP/1.0") + b"ab",
        ["POST / HTTP/1.0 close body", b"ab", "end"],
    ),
    "http/1.0 cannot expect": (
        head(b"Content-Length: 2", b"Expect: 100-continue", start=b"POST / HTTP/1.0") + b"ab",
        ["POST / HTTP/1.0 close body", b"ab", "end"],
    ),
    "http/1.0 ignores other expectations": (
        head(b"Expect: tea", start=b"GET / HTTP/1.0"),
        ["GET / HTTP/1.0 close"],
    ),
    "http/1.0 cannot upgrade": (
        head(b"Connection: upgrade, keep-alive", b"Upgrade: websocket", start=b"GET / HTTP/1.0") + head(),
        ["GET / HTTP/1.0", "GET /"],
    ),
    # Connection
    "close": (head(b"Connection: close") + b"anything\x00", ["GET / close"]),
    "close among options": (head(b"Connection: foo , CLOSE,bar") + head(), ["GET / close"]),
    "close in a second field": (head(b"Connection: keep-alive", b"connection: close"), ["GET / close"]),
    "close in a first field": (head(b"connection: close", b"Connection: keep-alive"), ["GET / close"]),
    "not quite close": (head(b"Connection: closed") + head(), ["GET /", "GET /"]),
    "proxy-connection is nothing": (head(b"Proxy-Connection: close") + head(), ["GET /", "GET /"]),
    "close after a body": (
        head(b"Connection: close", b"Content-Length: 1", start=POST) + b"xGET garbage",
        ["POST / close body", b"x", "end"],
    ),
    "close after chunks": (
        head(b"Connection: close", b"Transfer-Encoding: chunked", start=POST)
        + b"1\r\nx\r\n0\r\n\r\n\x00\x00",
        ["POST / close body", b"x", "end"],
    ),
    # Fields
    "many hosts in the world": (head(host=b"Host: sub.example-1.com:8443"), ["GET /"]),
    "host with an underscore": (head(host=b"Host: a_b.example"), ["GET /"]),
    "host with an empty port": (head(host=b"Host: a:"), ["GET /"]),
    "host is IPv4": (head(host=b"Host: 127.0.0.1:80"), ["GET /"]),
    "host is IPv6": (head(host=b"Host: [2001:db8::1]:80"), ["GET /"]),
    "host with space around": (head(host=b"Host: \t a \t "), ["GET /"]),
    "no space after the colon": (head(host=b"hOST:a"), ["GET /"]),
    "empty value": (head(b"X:", b"Y: \t ", b"Z: z"), ["GET /"]),
    "obs-text": (head(b"X: caf\xe9 \xc3\xa9\xff\x80"), ["GET /"]),
    "all token characters": (head(b"!#$%&'*+-.^_`|~09azAZ: x"), ["GET /"]),
    "most fields": (head(*[b"X: y"] * 7), ["GET /"]),
    "largest section": (head(b"X: " + b"y" * (400 - 9 - 5)), ["GET /"]),
    # Expect
    "expect": (
        head(b"Content-Length: 1", b"Expect: 100-Continue", start=POST) + b"x",
        ["POST / body continue", b"x", "end"],
    ),
    "expect for chunks": (
        head(b"Transfer-Encoding: chunked", b"Expect: 100-continue", start=POST) + b"0\r\n\r\n",
        ["POST / body continue", "end"],
    ),
    "expect without a body": (head(b"Expect: 100-continue"), ["GET /"]),
    # Content-Length
    "content-length 0": (head(b"Content-Length: 0", start=POST) + head(), ["POST /", "GET /"]),
    "content-length": (
        head(b"Content-Length: 5", start=POST) + b"he\r\no",
        ["POST / body", b"he\r\no", "end"],
    ),
    "content-length with leading zeros": (
        head(b"Content-Length: 0003", start=POST) + b"abc",
        ["POST / body", b"abc", "end"],
    ),
    "content-length with space after": (
        head(b"Content-Length: 3 \t", start=POST) + b"abc",
        ["POST / body", b"abc", "end"],
    ),
    "get with a body": (head(b"Content-Length: 3") + b"abc" + head(), ["GET / body", b"abc", "end", "GET /"]),
    "body that looks like a request": (
        head(b"Content-Length: %d" % len(head()), start=POST) + head() + head(start=b"GET /2 HTTP/1.1"),
        ["POST / body", head(), "end", "GET /2"],
    ),
    "post without a length": (head(start=POST) + head(), ["POST /", "GET /"]),
    # Chunks
    "chunks": (
        chunked(b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"),
        ["POST / body", b"hello world", "end"],
    ),
    "no chunk": (chunked(b"0\r\n\r\n"), ["POST / body", "end"]),
    "chunk of many digits": (chunked(b"00000000000001\r\nx\r\n000\r\n\r\n"), ["POST / body", b"x", "end"]),
    "hexadecimal sizes": (
        chunked(b"a\r\n0123456789\r\nB\r\n0123456789x\r\n0\r\n\r\n"),
        ["POST / body", b"01234567890123456789x", "end"],
    ),
    "chunk that holds line ends": (
        chunked(b"8\r\n\r\n0\r\n\r\n\r\r\n0\r\n\r\n"),
        ["POST / body", b"\r\n0\r\n\r\n\r", "end"],
    ),
    "chunk extensions": (
        chunked(b'1;a\r\nx\r\n1;a=b;c="d e;\\"\xe9"\r\ny\r\n1 ; a = b\r\nz\r\n0;last\r\n\r\n'),
        ["POST / body", b"xyz", "end"],
    ),
    "longest chunk line": (chunked(b"1;" + b"a" * 58 + b"\r\nx\r\n0\r\n\r\n"), ["POST / body", b"x", "end"]),
    "capital coding": (
        head(b"TRANSFER-ENCODING: Chunked", start=POST) + b"1\r\nx\r\n0\r\n\r\n",
        ["POST / body", b"x", "end"],
    ),
    "trailers": (
        chunked(b"1\r\nx\r\n0\r\nX-Sum: 1\r\nHost: b\r\nContent-Length: 5\r\nTransfer-Encoding: gzip\r\n\r\n")
        + head(),
        ["POST / body", b"x", "end", "GET /"],
    ),
    "most trailers": (chunked(b"0\r\n" + b"a:b\r\n" * 8 + b"\r\n") + head(), ["POST / body", "end", "GET /"]),
    "largest trailer section": (
        chunked(b"0\r\na: " + b"b" * 395 + b"\r\n\r\n") + head(),
        ["POST / body", "end", "GET /"],
    ),
    # Pipelining
    "three": (
        head() + head(b"Content-Length: 1", start=POST) + b"x" + chunked(b"1\r\ny\r\n0\r\n\r\n") + head(),
        ["GET /", "POST / body", b"x", "end", "POST / body", b"y", "end", "GET /"],
    ),
    # Upgrades
    "other upgrade": (head(b"Connection: Upgrade", b"Upgrade: h2c") + head(), ["GET /", "GET /"]),
    "other upgrade with a body": (
        head(b"Connection: Upgrade", b"Upgrade: h2c", b"Content-Length: 2", start=POST) + b"ab" + head(),
        ["POST / body", b"ab", "end", "GET /"],
    ),
    "other upgrade with chunks": (
        head(b"Connection: Upgrade", b"Upgrade: foo", b"Transfer-Encoding: chunked", start=POST)
        + b"2\r\nab\r\n0\r\n\r\n"
        + head(),
        ["POST / body", b"ab", "end", "GET /"],
    ),
    "upgrade without the option": (head(b"Upgrade: websocket") + head(), ["GET /", "GET /"]),
    "option without the upgrade": (head(b"Connection: upgrade") + head(), ["GET /", "GET /"]),
    "upgrade of a request with a body": (
        head(b"Connection: upgrade", b"Upgrade: websocket", b"Content-Length: 2") + b"ab" + head(),
        ["GET / body", b"ab", "end", "GET /"],
    ),
    "upgrade": (head(b"Connection: Upgrade", b"Upgrade: websocket") + b"\x81\x80", ["GET / upgrade"]),
    "upgrade as Firefox asks": (
        head(b"Connection: keep-alive, Upgrade", b"Upgrade: WebSocket"),
        ["GET / upgrade"],
    ),
    "upgrade from a list": (
        head(
            b"Connection: keep-alive", b"Connection: upgrade", b"Upgrade: foo/2", b"Upgrade: h2c, websocket"
        ),
        ["GET / upgrade"],
    ),
    "upgrade by post": (
        head(b"Connection: upgrade", b"Upgrade: websocket", b"Content-Length: 0", start=POST),
        ["POST / upgrade"],
    ),
}

INVALID: dict[str, tuple[bytes, int]] = {
    # Request line
    "garbage": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", 400),
    "http/0.9": (b"GET /\r\n", 400),
    "http/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "http/2.0": (head(start=b"GET / HTTP/2.0"), 505),
    "http/0.9 by name": (head(start=b"GET / HTTP/0.9"), 505),
    "http/3.1": (head(start=b"GET / HTTP/3.1"), 505),
    "version of two digits": (head(start=b"GET / HTTP/1.10"), 400),
    "version without minor": (head(start=b"GET / HTTP/1"), 400),
    "version in small letters": (head(start=b"GET / http/1.1"), 400),
    "other protocol": (head(start=b"GET / RTSP/1.0"), 400),
    "no version": (head(start=b"GET / "), 400),
    "no target": (head(start=b"GET HTTP/1.1"), 400),
    "empty target": (head(start=b"GET  HTTP/1.1"), 400),
    "doubled first space": (head(start=b"GET  / HTTP/1.1"), 400),
    "doubled second space": (head(start=b"GET /  HTTP/1.1"), 400),
    "space before": (head(start=b" GET / HTTP/1.1"), 400),
    "space after": (head(start=b"GET / HTTP/1.1 "), 400),
    "tab as separator": (head(start=b"GET\t/ HTTP/1.1"), 400),
    "space in the target": (head(start=b"GET /a b HTTP/1.1"), 400),
    "unknown method": (head(start=b"BREW / HTTP/1.1"), 501),
    "small letters": (head(start=b"get / HTTP/1.1"), 501),
    "method that is no token": (head(start=b"G@T / HTTP/1.1"), 400),
    "method with a quote": (head(start=b'"GET" / HTTP/1.1'), 400),
    "connect": (head(start=b"CONNECT a:443 HTTP/1.1"), 501),
    "long request line": (head(start=b"GET /" + b"a" * 187 + b" HTTP/1.1"), 414),
    "endless request line": (b"GET /" + b"a" * 300, 414),
    "endless method": (b"A" * 300, 414),
    "five empty lines": (b"\r\n" * 5 + head(), 400),
    "endless empty lines": (b"\r\n" * 100, 400),
    # Target forms
    "authority-form": (head(start=b"GET a:80 HTTP/1.1"), 400),
    "asterisk for get": (head(start=b"GET * HTTP/1.1"), 400),
    "relative path": (head(start=b"GET a/b HTTP/1.1"), 400),
    "query alone": (head(start=b"GET ?a HTTP/1.1"), 400),
    "fragment": (head(start=b"GET /a#b HTTP/1.1"), 400),
    "fragment in the query": (head(start=b"GET /a?b#c HTTP/1.1"), 400),
    "fragment in absolute-form": (head(start=b"GET http://a/#b HTTP/1.1"), 400),
    "user in absolute-form": (head(start=b"GET http://user@a/ HTTP/1.1"), 400),
    "password in absolute-form": (head(start=b"GET http://u:p@a/ HTTP/1.1"), 400),
    "other scheme": (head(start=b"GET ftp://a/ HTTP/1.1"), 400),
    "absolute-form without host": (head(start=b"GET http:///x HTTP/1.1"), 400),
    "absolute-form with a bad host": (head(start=b"GET http://a<b/ HTTP/1.1"), 400),
    "absolute-form without Host": (head(start=b"GET http://a/ HTTP/1.1", host=b""), 400),
    "raw non-ASCII": (head(start=b"GET /\xc3\xa9 HTTP/1.1"), 400),
    "raw non-ASCII in the query": (head(start=b"GET /?\xe9 HTTP/1.1"), 400),
    "NUL in the target": (head(start=b"GET /\0 HTTP/1.1"), 400),
    "DEL in the target": (head(start=b"GET /\x7f HTTP/1.1"), 400),
    "tab in the target": (head(start=b"GET /a\tb HTTP/1.1"), 400),
    "CR in the target": (head(start=b"GET /a\rb HTTP/1.1"), 400),
    # Line ends
    "bare LF after the request line": (b"GET / HTTP/1.1\nHost: a\r\n\r\n", 400),
    "bare LF after a field": (b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", 400),
    "bare LF throughout": (b"GET / HTTP/1.1\nHost: a\n\n", 400),
    "bare LF as the empty line": (b"GET / HTTP/1.1\r\nHost: a\r\n\n", 400),
    "bare LF before": (b"\n" + head(), 400),
    "bare CR before": (b"\r" + head(), 400),
    "bare CR after a field": (b"GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n", 400),
    "two CR": (b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", 400),
    "obs-fold": (head(b"X: a", b" b"), 400),
    "obs-fold with a tab": (head(b"X: a", b"\tb"), 400),
    "fold of the first field": (head(b"X: a", host=b" Host: a"), 400),
    # Fields
    "space before the colon": (head(b"X : y"), 400),
    "tab before the colon": (head(b"X\t: y"), 400),
    "space before Host's colon": (head(host=b"Host : a"), 400),
    "no colon": (head(b"X"), 400),
    "no name": (head(b": x"), 400),
    "space in the name": (head(b"X Y: z"), 400),
    "parenthesis in the name": (head(b"X(: y"), 400),
    "non-ASCII name": (head(b"\xc3\xa9: y"), 400),
    "NUL in the name": (head(b"X\0: y"), 400),
    **{
        f"{byte:#04x} in a value": (head(b"X: a" + bytes([byte]) + b"b"), 400)
        for byte in (*range(9), 0x0B, 0x0C, *range(0x0E, 0x20), 0x7F, 0x85)
    },
    "vertical tab at the end of a value": (head(b"X: a\x0b"), 400),
    "NEL alone as a value": (head(b"X: \x85"), 400),
    "no host": (head(host=b""), 400),
    "no host but other fields": (head(b"X: y", host=b""), 400),
    "two hosts": (head(b"Host: a"), 400),
    "two different hosts": (head(b"hOsT: b"), 400),
    "two hosts in HTTP/1.0": (head(b"Host: a", start=b"GET / HTTP/1.0"), 400),
    **{
        f"host {host!r}": (head(host=b"Host: " + host), 400)
        for host in (
            b"",
            b"a b",
            b"a,b",
            b"a/b",
            b"user@a",
            b"a:b",
            b"a:80:80",
            b"a:-1",
            b"a:65536",
            b"a:123456",
            b":80",
            b"[::1",
            b"[::1]a",
            b"[1:2]",
            b"[]",
            b"[fe80::1%25eth0]",
            b"::1",
            b"a?b",
            b"a#b",
            b"a\\b",
            b"<a>",
            b"a'",
            b'a"',
            b"a%00",
            b"b\xc3\xbccher.example",
            b"http://a",
        )
    },
    "bad host in HTTP/1.0": (head(start=b"GET / HTTP/1.0", host=b"Host: a b"), 400),
    "too many fields": (head(*[b"X: y"] * 8), 431),
    "too many fields, unended": (head(*[b"X: y"] * 8)[:-2], 431),
    "large section": (head(b"X: " + b"y" * (400 - 9 - 5 + 1)), 431),
    "large section, unended": (head(b"X: " + b"y" * 500)[:-4], 431),
    "other expectation": (head(b"Expect: tea"), 417),
    "other expectation beside": (head(b"Expect: 100-continue, tea", b"Content-Length: 1"), 417),
    # Content-Length
    **{
        f"content-length {value!r}": (head(b"Content-Length: " + value, start=POST), 400)
        for value in (
            b"",
            b"-1",
            b"+1",
            b"1 1",
            b"1,1",
            b"1, 2",
            b"0x1",
            b"1.0",
            b"1_0",
            b"\xb2",
            b"five",
            b"1;",
            b'"1"',
            b"9" * 19,
            b"9" * 200,
        )
    },
    "two content-lengths": (head(b"Content-Length: 1", b"Content-Length: 2", start=POST), 400),
    "equal content-lengths": (head(b"Content-Length: 1", b"content-length: 1", start=POST), 400),
    "equal zero content-lengths": (head(b"Content-Length: 0", b"content-length: 0", start=POST), 400),
    "content-length with a space before the colon": (head(b"Content-Length : 1", start=POST), 400),
    # Transfer-Encoding
    "both": (head(b"Content-Length: 5", b"Transfer-Encoding: chunked", start=POST) + b"0\r\n\r\n", 400),
    "both, the other way": (head(b"Transfer-Encoding: chunked", b"Content-Length: 5", start=POST), 400),
    "both with zero": (head(b"Content-Length: 0", b"Transfer-Encoding: chunked", start=POST), 400),
    "chunks in HTTP/1.0": (head(b"Transfer-Encoding: chunked", start=b"POST / HTTP/1.0"), 400),
    "chunks in HTTP/1.0 keep-alive": (
        head(b"Transfer-Encoding: chunked", b"Connection: keep-alive", start=b"POST / HTTP/1.0"),
        400,
    ),
    "both in HTTP/1.0": (
        head(b"Content-Length: 1", b"Transfer-Encoding: chunked", start=b"POST / HTTP/1.0"),
        400,
    ),
    **{
        f"transfer-encoding {value!r}": (head(b"Transfer-Encoding: " + value, start=POST), status)
        for value, status in {
            b"gzip": 501,
            b"identity": 501,
            b"xchunked": 501,
            b"chunked1": 501,
            b"gzip, chunked": 501,
            b"identity, chunked": 501,
            b"chunked, gzip": 400,
            b"chunked, identity": 400,
            b"chunked, chunked": 400,
            b"chunked;q=1": 400,
            b"chun ked": 400,
            b'"chunked"': 400,
            b",chunked": 400,
            b"chunked,": 400,
            b"": 400,
            b"chunked\x0b": 400,
            b"\x0bchunked": 400,
            b"chunked\0": 400,
            b"\xefchunked": 400,
            b"chunked\x85": 400,
        }.items()
    },
    "two transfer-encodings": (
        head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", start=POST),
        400,
    ),
    "identity after chunked": (
        head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", start=POST),
        400,
    ),
    "identity before chunked": (
        head(b"Transfer-Encoding: identity", b"Transfer-Encoding: chunked", start=POST),
        501,
    ),
    "unknown coding before other fields": (head(b"Transfer-Encoding: gzip", b"X: y", start=POST), 501),
    "transfer-encoding with a space before the colon": (
        head(b"Transfer-Encoding : chunked", start=POST),
        400,
    ),
    "folded transfer-encoding": (head(b"Transfer-Encoding:", b" chunked", start=POST), 400),
    "upgrade with both lengths": (
        head(b"Connection: upgrade", b"Upgrade: foo", b"Content-Length: 1", b"Transfer-Encoding: chunked"),
        400,
    ),
}

INVALID_BODIES: dict[str, tuple[bytes, list[Told]]] = {
    # What stood before the fault is delivered.
    **{
        f"chunk line {line!r}": (
            chunked(b"1\r\nx\r\n" + line + b"\r\nabcdef\r\n0\r\n\r\n"),
            ["POST / body", b"x", 400],
        )
        for line in (
            b"",
            b"g",
            b"-1",
            b"+1",
            b" 1",
            b"0x1",
            b"1_0",
            b"1 ",
            b"1\t",
            b"1 1",
            b"1,1",
            b"1;",
            b"1;=b",
            b"1;a=",
            b"1;a b",
            b'1;a="b',
            b"1;a=b ",
            b"1;a\0",
            b"1;\x85",
            b"1\n",
            b"1;a\nb",
            b"1;a\rb",
            b"1\r",
            b"\xb2",
            b"f" * 16,
            b"0" * 15 + b"1",
            b"1;" + b"a" * 59,
        )
    },
    "chunk that is too long": (chunked(b"1\r\nxy\r\n0\r\n\r\n"), ["POST / body", b"x", 400]),
    "chunk that is too short": (chunked(b"3\r\nx\r\n0\r\n\r\n"), ["POST / body", b"x\r\n", 400]),
    "chunk ended by LF": (chunked(b"1\r\nx\n0\r\n\r\n"), ["POST / body", b"x", 400]),
    "chunk ended by CR": (chunked(b"1\r\nx\r0\r\n\r\n"), ["POST / body", b"x", 400]),
    "chunk line ended by LF": (chunked(b"1\nx\r\n0\r\n\r\n"), ["POST / body", 400]),
    "last chunk ended by LF": (chunked(b"0\n\r\n"), ["POST / body", 400]),
    "end ended by LF": (chunked(b"0\r\n\n"), ["POST / body", 400]),
    "endless extension": (chunked(b"1;" + b"a" * 100), ["POST / body", 400]),
    "endless size": (chunked(b"0" * 100), ["POST / body", 400]),
    "trailer without a colon": (chunked(b"0\r\nX\r\n\r\n"), ["POST / body", 400]),
    "trailer with a space before the colon": (chunked(b"0\r\nX : y\r\n\r\n"), ["POST / body", 400]),
    "trailer fold": (chunked(b"0\r\nX: y\r\n z\r\n\r\n"), ["POST / body", 400]),
    "trailer with a space before": (chunked(b"0\r\n X: y\r\n\r\n"), ["POST / body", 400]),
    "trailer with NUL": (chunked(b"0\r\nX: \0\r\n\r\n"), ["POST / body", 400]),
    "trailer with NEL": (chunked(b"0\r\nX: \x85\r\n\r\n"), ["POST / body", 400]),
    "trailer with bare LF": (chunked(b"0\r\nX: y\nZ: z\r\n\r\n"), ["POST / body", 400]),
    "trailer with bare CR": (chunked(b"0\r\nX: y\rZ: z\r\n\r\n"), ["POST / body", 400]),
    "request as trailers": (chunked(b"0\r\n" + head()), ["POST / body", 400]),
    "too many trailers": (chunked(b"0\r\n" + b"a:b\r\n" * 9 + b"\r\n"), ["POST / body", 431]),
    "too many trailers, unended": (chunked(b"0\r\n" + b"a:b\r\n" * 9), ["POST / body", 431]),
    "large trailers": (chunked(b"0\r\na: " + b"b" * 396 + b"\r\n\r\n"), ["POST / body", 431]),
    "endless trailers": (chunked(b"0\r\na: " + b"b" * 500), ["POST / body", 431]),
    "bad second request": (head() + b"GARBAGE\r\n\r\n", ["GET /", 400]),
    "second request without host": (head() + head(host=b""), ["GET /", 400]),
    "bad request after a body": (
        head(b"Content-Length: 1", start=POST) + b"xyGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        ["POST / body", b"x", "end", 501],
    ),
    "bytes left of a short content-length": (
        head(b"Content-Length: 3", start=POST) + b"abc\x01",
        ["POST / body", b"abc", "end", 400],
    ),
    "junk after the last chunk": (chunked(b"0\r\n\r\njunk\r\n\r\n"), ["POST / body", "end", 400]),
}
