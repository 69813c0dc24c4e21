"""What the application is told of a request: the scope (ASGI HTTP 2.5), the target and the headers."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.server.rawhttp import chunked, request
from tests.server.running import Seen, answer, answering, body_of


def telling(seen: Seen) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.put((scope, await body_of(receive)))
        await answer(send)

    return app


@pytest.fixture
def ask(site: Any, port: int, raw: Any) -> Any:
    """Send a request; return its scope and body as the application got them."""

    def ask(data: bytes) -> tuple[dict[str, Any], bytes]:
        seen = Seen()
        site.app = telling(seen)
        client = raw(port)
        client.send(data)
        assert client.response(data.split(b" ", 1)[0].decode("latin-1")).status == 200
        return seen.next()

    return ask


# The scope


def test_scope_is_complete(ask: Any, port: int) -> None:
    scope, body = ask(request("GET", "/a%20b?x=1&y=%20", "X-One: 1"))
    assert scope["type"] == "http"
    assert scope["asgi"]["version"] == "3.0"
    assert scope["asgi"]["spec_version"] == "2.5"
    assert scope["http_version"] == "1.1"
    assert scope["method"] == "GET"
    assert scope["scheme"] == "http"
    assert scope["path"] == "/a b"
    assert scope["raw_path"] == b"/a%20b"
    assert scope["query_string"] == b"x=1&y=%20"
    assert scope["root_path"] == ""
    assert list(scope["headers"]) == [(b"host", b"localhost"), (b"x-one", b"1")]
    assert scope["client"][0] == "127.0.0.1"
    assert isinstance(scope["client"][1], int)
    assert tuple(scope["server"]) == ("127.0.0.1", port)
    assert scope["state"] == {}
    assert isinstance(scope["extensions"], dict)
    assert body == b""


def test_scope_client_is_the_socket(site: Any, port: int, raw: Any) -> None:
    seen = Seen()
    site.app = telling(seen)
    client = raw(port)
    client.send(request())
    client.response()
    assert tuple(seen.next()[0]["client"]) == client.socket.getsockname()


def test_scope_is_new_for_each_request(site: Any, port: int, raw: Any) -> None:
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.put(
            (id(scope), "spoilt" in scope, "spoilt" in scope["state"], "spoilt" in scope["extensions"], scope)
        )
        scope["spoilt"] = scope["state"]["spoilt"] = scope["extensions"]["spoilt"] = True
        scope["headers"].append((b"spoilt", b"1"))
        await answer(send)

    site.app = app
    client = raw(port)
    for _ in range(2):
        client.send(request())
        client.response()
        _, in_scope, in_state, in_extensions, scope = seen.next()
        assert (in_scope, in_state, in_extensions) == (False, False, False)
        assert len(scope["headers"]) == 2


def test_http_1_0_scope(ask: Any) -> None:
    scope, _ = ask(request(version="1.0", host=None))
    assert scope["http_version"] == "1.0"
    assert list(scope["headers"]) == []


def test_root_path(serve: Any, raw: Any) -> None:
    seen = Seen()
    client = raw(serve(telling(seen), root_path="/sub").port)
    client.send(request("GET", "/sub/x"))
    client.response()
    scope = seen.next()[0]
    assert scope["root_path"] == "/sub"
    assert scope["path"] == "/sub/x"


def test_unix_socket_scope_has_its_path(serve: Any, raw: Any, tmp_path: Any) -> None:
    seen = Seen()
    path = str(tmp_path / "s")
    client = raw(str(serve(telling(seen), uds=path).addresses[0]))
    client.send(request())
    assert client.response().status == 200
    scope = seen.next()[0]
    assert list(scope["server"]) == [path, None]
    assert scope["client"] is None


def test_stock_asyncio_serves(serve: Any, raw: Any) -> None:
    client = raw(serve(answering(b"stock"), loop_factory=asyncio.SelectorEventLoop).port)
    for _ in range(2):
        client.send(request("POST", "/", body=b"x"))
        assert client.response().body == b"stock"


def test_the_request_runs_in_a_task(ask: Any, site: Any, port: int, raw: Any) -> None:
    """asyncio.timeout and asgiref need a current task."""
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.put(asyncio.current_task() is not None)
        async with asyncio.timeout(5):
            await asyncio.sleep(0)
        await answer(send)

    site.app = app
    client = raw(port)
    client.send(request())
    assert client.response().status == 200
    assert seen.next()


def test_context_variables_do_not_leak_between_requests(site: Any, port: int, raw: Any) -> None:
    import contextvars

    mark = contextvars.ContextVar("mark", default="clean")
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.put(mark.get())
        mark.set("dirty")
        await answer(send)

    site.app = app
    client = raw(port)
    for _ in range(3):
        client.send(request())
        client.response()
        assert seen.next() == "clean"


# Methods


@pytest.mark.parametrize(
    "method",
    [
        "GET",
        "HEAD",
        "POST",
        "PUT",
        "PATCH",
        "DELETE",
        "OPTIONS",
        "TRACE",
        "PROPFIND",
        "REPORT",
        "M-SEARCH",
        "QUERY",
    ],
)
def test_methods_reach_the_application(ask: Any, method: str) -> None:
    assert ask(request(method))[0]["method"] == method


@pytest.mark.parametrize("method", ["G@T", "GE T", "", "get", "G\u00c9T", "GET,", "(GET)"])
def test_bad_methods(site: Any, port: int, raw: Any, method: str) -> None:
    seen = Seen()
    site.app = telling(seen)
    client = raw(port)
    client.send(method.encode("latin-1") + b" / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    response = client.response()
    assert response.status in (400, 405, 501)
    client.closed()
    seen.nothing()


# Request target (RFC 9112 section 3.2)


@pytest.mark.parametrize(
    ("target", "path", "raw_path", "query"),
    [
        (b"/", "/", b"/", b""),
        (b"/?", "/", b"/", b""),
        (b"/a/b", "/a/b", b"/a/b", b""),
        (b"/a%2Fb", "/a/b", b"/a%2Fb", b""),
        (b"/a%2fb%20c", "/a/b c", b"/a%2fb%20c", b""),
        (b"/%E2%82%AC", "/\u20ac", b"/%E2%82%AC", b""),
        (b"/a+b", "/a+b", b"/a+b", b""),
        (b"//two", "//two", b"//two", b""),
        (b"//evil.example/x", "//evil.example/x", b"//evil.example/x", b""),
        (b"/a//b/../c/./d", "/a//b/../c/./d", b"/a//b/../c/./d", b""),
        (b"/a;p=1,2", "/a;p=1,2", b"/a;p=1,2", b""),
        (b"/a:b@c", "/a:b@c", b"/a:b@c", b""),
        (b"/x?a=1&a=2", "/x", b"/x", b"a=1&a=2"),
        (b"/x?a=%2F%20", "/x", b"/x", b"a=%2F%20"),
        (b"/x?a?b", "/x", b"/x", b"a?b"),
        (b"/x?/y", "/x", b"/x", b"/y"),
        (b"/x?http://y/z", "/x", b"/x", b"http://y/z"),
        (b"/%3F?a", "/?", b"/%3F", b"a"),
        (b"/%23", "/#", b"/%23", b""),
        (b"/%25", "/%", b"/%25", b""),
        (b"/%2525", "/%25", b"/%2525", b""),
        (b"/~user/[x]", "/~user/[x]", b"/~user/[x]", b""),
        (b"/" + b"a" * 4000, "/" + "a" * 4000, b"/" + b"a" * 4000, b""),
    ],
    ids=lambda value: value.decode()[:24] if isinstance(value, bytes) else "",
)
def test_targets(ask: Any, target: bytes, path: str, raw_path: bytes, query: bytes) -> None:
    scope, _ = ask(request("GET", target))
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == (path, raw_path, query)


@pytest.mark.parametrize(
    ("target", "path", "query", "host"),
    [
        (b"http://example.com/a/b?x=1", "/a/b", b"x=1", b"example.com"),
        (b"http://example.com", "/", b"", b"example.com"),
        (b"http://example.com/", "/", b"", b"example.com"),
        (b"http://example.com?x=1", "/", b"x=1", b"example.com"),
        (b"HTTP://example.com/a", "/a", b"", b"example.com"),
        (b"http://example.com:8080/a%20b", "/a b", b"", b"example.com:8080"),
        (b"http://[::1]:80/v6", "/v6", b"", b"[::1]:80"),
    ],
    ids=lambda value: value.decode()[:30] if isinstance(value, bytes) else "",
)
def test_absolute_form_wins_over_host(ask: Any, target: bytes, path: str, query: bytes, host: bytes) -> None:
    scope, _ = ask(request("GET", target, host="other.example"))
    assert scope["path"] == path
    assert scope["query_string"] == query
    assert [value for name, value in scope["headers"] if name == b"host"] == [host]


def test_absolute_form_raw_path_has_no_authority(ask: Any) -> None:
    assert ask(request("GET", "http://example.com/a%2Fb?q"))[0]["raw_path"] == b"/a%2Fb"


def test_options_asterisk(ask: Any) -> None:
    scope, _ = ask(request("OPTIONS", "*"))
    assert (scope["path"], scope["raw_path"]) == ("*", b"*")


@pytest.mark.parametrize(
    "target",
    [
        b"*",
        b"foo",
        b"foo/bar",
        b"example.com:80",
        b"",
        b"/a b",
        b"/\x00",
        b"/\x7f",
        b"/\xe2\x82\xac",
        b"/?\xff",
        b"http://",
        b"http:///path",
        b"http://exa mple/",
        b"://x/",
        b"?x=1",
        b"\\a",
    ],
    ids=repr,
)
def test_bad_targets(site: Any, port: int, raw: Any, target: bytes) -> None:
    seen = Seen()
    site.app = telling(seen)
    client = raw(port)
    client.send(b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert client.response().status == 400
    client.closed()
    seen.nothing()


@pytest.mark.parametrize("target", ["localhost:80", "/", "http://localhost/"])
def test_connect_is_refused(site: Any, port: int, raw: Any, target: str) -> None:
    """A tunnel is not served; what follows must not be read as a request."""
    seen = Seen()
    site.app = telling(seen)
    client = raw(port)
    client.send(request("CONNECT", target) + request("GET", "/smuggled"))
    assert client.response().status in (400, 405, 501)
    client.closed()
    seen.nothing()


@pytest.mark.parametrize("target", ["/%zz", "/%", "/%4", "/%ff", "/%c3%28", "/%00", "/a#b"])
def test_odd_targets_do_not_break_the_server(site: Any, port: int, raw: Any, target: str) -> None:
    seen = Seen()
    site.app = telling(seen)
    client = raw(port)
    client.send(request("GET", target))
    status = client.response().status
    assert status in (200, 400)
    if status == 200:
        scope = seen.next()[0]
        assert isinstance(scope["path"], str)
        assert scope["raw_path"] == target.split("#")[0].encode()


# Versions and request lines


@pytest.mark.parametrize(
    "version", ["2.0", "3.0", "0.9", "1", "1.", "1.1.1", "11", "x.y", "1.10", "-1.1", ""]
)
def test_unsupported_versions(site: Any, port: int, raw: Any, version: str) -> None:
    seen = Seen()
    site.app = telling(seen)
    client = raw(port)
    client.send(request(version=version))
    assert client.response().status in (400, 505)
    client.closed()
    seen.nothing()


@pytest.mark.parametrize(
    "line",
    [
        b"GET /",
        b"GET / http/1.1",
        b"GET / HTTP/1.1 ",
        b"GET / HTTP/1.1 x",
        b"GET  / HTTP/1.1",
        b"GET /  HTTP/1.1",
        b" GET / HTTP/1.1",
        b"GET\t/\tHTTP/1.1",
        b"GET / HTTPS/1.1",
        b"GET / XTTP/1.1",
        b"GET / HTTP 1.1",
        b"GET",
        b"GET /\x00 HTTP/1.1",
        b"/ GET HTTP/1.1",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\xff\xfe",
        b"HTTP/1.1 200 OK",
    ],
    ids=repr,
)
def test_bad_request_lines(site: Any, port: int, raw: Any, line: bytes) -> None:
    seen = Seen()
    site.app = telling(seen)
    client = raw(port)
    client.send(line + b"\r\nHost: localhost\r\n\r\n")
    response = client.response()
    assert response.status in (400, 405, 501, 505)
    assert response.closes
    client.closed()
    seen.nothing()


@pytest.mark.parametrize("blank", [b"\r\n", b"\r\n\r\n"])
def test_blank_lines_before_a_request_are_skipped(ask: Any, blank: bytes) -> None:
    """RFC 9112 section 2.2."""
    assert ask(blank + request("GET", "/x"))[0]["path"] == "/x"


def test_blank_line_behind_a_body_is_skipped(site: Any, port: int, raw: Any) -> None:
    site.app = answering()
    client = raw(port)
    client.send(request("POST", "/", body=b"abc") + b"\r\n" + request())
    assert client.response().status == 200
    assert client.response().status == 200


# Host (RFC 9112 section 3.2, RFC 9110 section 7.2)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8000",
        "example.com:",
        "EXAMPLE.com",
        "127.0.0.1:80",
        "[::1]",
        "[::1]:8000",
        "[2001:db8::1]",
        "xn--bcher-kva.example",
        "my_service",
        "a.b.c.d.e",
        "example.com.",
    ],
)
def test_good_hosts(ask: Any, host: str) -> None:
    assert (b"host", host.encode()) in ask(request(host=host))[0]["headers"]


@pytest.mark.parametrize(
    "host",
    [
        "a b",
        "a,b",
        "user@host",
        "host/path",
        "host?x",
        "host#x",
        "host:80:80",
        "host:x",
        "host:-1",
        "[::1",
        "::1",
        "[::1]x",
        "[zz]",
        "http://host",
        "h\u00f6st",
        "a\\b",
        "a<b>",
        'a"b',
        "a%zz",
        "[]",
    ],
)
def test_bad_hosts(site: Any, port: int, raw: Any, host: str) -> None:
    seen = Seen()
    site.app = telling(seen)
    client = raw(port)
    client.send(b"GET / HTTP/1.1\r\nHost: " + host.encode("latin-1") + b"\r\n\r\n")
    assert client.response().status == 400
    client.closed()
    seen.nothing()


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: 1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\nhost: a\r\n\r\n",
        b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.0\r\nHost: a b\r\n\r\n",
        b"GET http://a/ HTTP/1.1\r\n\r\n",
        b"GET http://a/ HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx",
    ],
    ids=[
        "missing",
        "missing-among-others",
        "two",
        "two-alike",
        "two-1.0",
        "bad-1.0",
        "absolute",
        "absolute-two",
        "*",
        "post",
    ],
)
def test_not_exactly_one_host(site: Any, port: int, raw: Any, data: bytes) -> None:
    """A missing Host was accepted by servers before this one."""
    seen = Seen()
    site.app = telling(seen)
    client = raw(port)
    client.send(data)
    response = client.response()
    assert response.status == 400
    assert b"host" in response.body.lower()
    client.closed()
    seen.nothing()


# Header fields


def test_header_order_and_duplicates_are_kept(ask: Any) -> None:
    scope, _ = ask(request("GET", "/", "B: 1", "A: 2", "b: 3", "Cookie: x=1", "Cookie: y=2", "A: 4"))
    assert list(scope["headers"]) == [
        (b"host", b"localhost"),
        (b"b", b"1"),
        (b"a", b"2"),
        (b"b", b"3"),
        (b"cookie", b"x=1"),
        (b"cookie", b"y=2"),
        (b"a", b"4"),
    ]


@pytest.mark.parametrize(
    ("line", "value"),
    [
        (b"X: a", b"a"),
        (b"X:a", b"a"),
        (b"X:   a", b"a"),
        (b"X:\ta\t", b"a"),
        (b"X: a  ", b"a"),
        (b"X: a \t ", b"a"),
        (b"X: a b  c", b"a b  c"),
        (b"X:", b""),
        (b"X:   ", b""),
        (b"X: a:b", b"a:b"),
        (b'X: "a, b"', b'"a, b"'),
        (b"X: \xe9\xff", b"\xe9\xff"),
        (b"X: \xe2\x82\xac", b"\xe2\x82\xac"),
        (b"X: a\tb", b"a\tb"),
        (b"X: " + b"v" * 8000, b"v" * 8000),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_header_values(ask: Any, line: bytes, value: bytes) -> None:
    headers = ask(request("GET", "/", line))[0]["headers"]
    assert (b"x", value) in list(headers)


def test_header_pairs_are_bytes(ask: Any) -> None:
    for name, value in ask(request("GET", "/", "X-A: 1"))[0]["headers"]:
        assert type(name) is bytes
        assert type(value) is bytes


def test_header_names_are_lower_case(ask: Any) -> None:
    names = [
        name
        for name, _ in ask(request("GET", "/", "X-MiXeD: A", "ACCEPT: B", "a!#$%&'*+.^`|~9: C"))[0]["headers"]
    ]
    assert names == [b"host", b"x-mixed", b"accept", b"a!#$%&'*+.^`|~9"]


@pytest.mark.parametrize("name", ["X_Forwarded_For", "remote_user", "_", "a_b"])
def test_names_with_underscore_are_dropped(ask: Any, name: str) -> None:
    """They collide with dashes in a CGI-like environment (CVE-2015-0219)."""
    headers = ask(request("GET", "/", f"{name}: evil", "X-Good: 1"))[0]["headers"]
    assert list(headers) == [(b"host", b"localhost"), (b"x-good", b"1")]


@pytest.mark.parametrize(
    "line",
    [
        b"X : a",
        b" X: a",
        b"\tX: a",
        b": a",
        b"X",
        b"X a",
        b"X\x00: a",
        b"X: a\x00b",
        b"X: a\rb",
        b"X: a\r",
        b"X: a\x0bb",
        b"X: a\x0cb",
        b"X: a\x01b",
        b"X: a\x7fb",
        b"X(: a",
        b"X@Y: a",
        b"X[]: a",
        b'"X": a',
        b"X/Y: a",
        b"X\xe9: a",
        b"X: a\r\n folded",
        b"X: a\r\n\tfolded",
        b"X: a\nY: b",
        b"X: a\n\r\nY: b",
        b"X\r\n: a",
        b"Host : b",
        b"Content-Length : 3",
        b"Transfer-Encoding : chunked",
        b"{}: a",
        b"X\t: a",
    ],
    ids=repr,
)
def test_bad_header_lines(site: Any, port: int, raw: Any, line: bytes) -> None:
    seen = Seen()
    site.app = telling(seen)
    client = raw(port)
    client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n" + line + b"\r\n\r\n")
    response = client.response()
    assert response.status == 400
    assert response.closes
    client.closed()
    seen.nothing()


def test_white_space_before_the_first_header(site: Any, port: int, raw: Any) -> None:
    """RFC 9112 section 2.2: reject, or else it hides a header."""
    seen = Seen()
    site.app = telling(seen)
    client = raw(port)
    client.send(b"GET / HTTP/1.1\r\n X: 1\r\nHost: localhost\r\n\r\n")
    assert client.response().status == 400
    client.closed()
    seen.nothing()


@pytest.mark.parametrize("ending", [b"\n", b"\r", b"\n\r", b"\r\r\n"])
def test_bare_line_endings(site: Any, port: int, raw: Any, ending: bytes) -> None:
    seen = Seen()
    site.app = telling(seen)
    client = raw(port)
    client.send(b"GET / HTTP/1.1" + ending + b"Host: localhost" + ending + ending)
    client.finish()
    assert client.response().status == 400
    client.closed()
    seen.nothing()


def test_headers_cut_at_every_byte(site: Any, port: int, raw: Any) -> None:
    seen = Seen()
    site.app = telling(seen)
    data = request("POST", "/p%20q?r", "X-A: 1", "Transfer-Encoding: chunked", body=chunked(b"ab", b"c"))
    for cut in range(1, len(data)):
        client = raw(port)
        client.send(data[:cut])
        client.send(data[cut:])
        assert client.response().status == 200
        scope, body = seen.next()
        assert (scope["path"], scope["query_string"], body) == ("/p q", b"r", b"abc")
        client.close()


def test_a_request_byte_by_byte(site: Any, port: int, raw: Any) -> None:
    seen = Seen()
    site.app = telling(seen)
    client = raw(port)
    for byte in request("POST", "/x", "X-A: 1", body=b"hello"):
        client.send(bytes([byte]))
    assert client.response().status == 200
    assert seen.next()[1] == b"hello"


# Behind a proxy


def peer(
    serve: Any,
    raw: Any,
    *headers: str,
    trusted: str = "127.0.0.1",
    on: bool = True,
    host: str = "localhost",
) -> Any:
    seen = Seen()
    client = raw(serve(telling(seen), proxy_headers=on, forwarded_allow_ips=trusted).port)
    client.send(request("GET", "/", *headers, host=host))
    assert client.response().status == 200
    scope = seen.next()[0]
    return (scope["client"][0] if scope["client"] else None), scope["scheme"], scope


@pytest.mark.parametrize(
    ("headers", "client", "scheme"),
    [
        ([], "127.0.0.1", "http"),
        (["X-Forwarded-For: 1.2.3.4"], "1.2.3.4", "http"),
        (["X-Forwarded-For: 6.6.6.6, 1.2.3.4"], "1.2.3.4", "http"),
        (["X-Forwarded-For: 6.6.6.6", "X-Forwarded-For: 1.2.3.4"], "1.2.3.4", "http"),
        (["X-Forwarded-For: 1.2.3.4, 127.0.0.1"], "1.2.3.4", "http"),
        (["X-Forwarded-For: 9.9.9.9, 1.2.3.4 , 127.0.0.1"], "1.2.3.4", "http"),
        (["X-Forwarded-For: 2001:db8::7"], "2001:db8::7", "http"),
        (["X-Forwarded-For: 1.2.3.4:5678"], "1.2.3.4", "http"),
        (["X-Forwarded-For: [2001:db8::7]:5678"], "2001:db8::7", "http"),
        (["X-Forwarded-Proto: https"], "127.0.0.1", "https"),
        (["X-Forwarded-For: 1.2.3.4", "X-Forwarded-Proto: https"], "1.2.3.4", "https"),
        (["X-Forwarded-Proto: gopher"], "127.0.0.1", "http"),
        (["X-Forwarded-For: "], "127.0.0.1", "http"),
        (["Forwarded: for=1.2.3.4"], "1.2.3.4", "http"),
        (["Forwarded: for=1.2.3.4;proto=https"], "1.2.3.4", "https"),
        (["Forwarded: For=6.6.6.6, FOR=1.2.3.4;PROTO=https;by=10.0.0.1"], "1.2.3.4", "https"),
        (['Forwarded: for="[2001:db8::7]:4711"'], "2001:db8::7", "http"),
        (['Forwarded: for="1.2.3.4:80";host="a;b,c"'], "1.2.3.4", "http"),
        (["Forwarded: for=6.6.6.6", "Forwarded: for=1.2.3.4"], "1.2.3.4", "http"),
        (["Forwarded: for=1.2.3.4, for=127.0.0.1"], "1.2.3.4", "http"),
    ],
    ids=lambda value: "; ".join(value) if isinstance(value, list) else "",
)
def test_proxy_headers_of_a_trusted_peer(
    serve: Any, raw: Any, headers: list[str], client: str, scheme: str
) -> None:
    """The right-most address that is not itself a trusted proxy; the left-most can be forged by anyone."""
    got = peer(serve, raw, *headers)
    assert got[:2] == (client, scheme)


@pytest.mark.parametrize(
    "header", ["X-Forwarded-For: 1.2.3.4", "Forwarded: for=1.2.3.4;proto=https", "X-Forwarded-Proto: https"]
)
def test_proxy_headers_of_a_stranger_are_ignored(serve: Any, raw: Any, header: str) -> None:
    assert peer(serve, raw, header, trusted="10.0.0.0/8")[:2] == ("127.0.0.1", "http")


@pytest.mark.parametrize(
    "header", ["X-Forwarded-For: 1.2.3.4", "Forwarded: for=1.2.3.4;proto=https", "X-Forwarded-Proto: https"]
)
def test_proxy_headers_are_off_by_default(site: Any, port: int, raw: Any, header: str) -> None:
    seen = Seen()
    site.app = telling(seen)
    client = raw(port)
    client.send(request("GET", "/", header))
    client.response()
    scope = seen.next()[0]
    assert (scope["client"][0], scope["scheme"]) == ("127.0.0.1", "http")


def test_proxy_headers_with_a_network(serve: Any, raw: Any) -> None:
    got = peer(serve, raw, "X-Forwarded-For: 1.2.3.4, 10.1.2.3", trusted="127.0.0.0/8, 10.0.0.0/8")
    assert got[0] == "1.2.3.4"


@pytest.mark.parametrize(
    "headers",
    [
        ["X-Forwarded-For: not-an-address"],
        ["X-Forwarded-For: 1.2.3.4, unknown"],
        ["Forwarded: for=unknown"],
        ["Forwarded: for=_hidden"],
        ["Forwarded: ;;;,=,"],
        ['Forwarded: for="unterminated'],
        ["X-Forwarded-For: " + ",".join(["1.1.1.1"] * 400)],
    ],
)
def test_odd_proxy_headers_do_not_break_the_server(serve: Any, raw: Any, headers: list[str]) -> None:
    client, scheme, _ = peer(serve, raw, *headers)
    assert client in ("127.0.0.1", "1.1.1.1", None)
    assert scheme == "http"


def test_scope_is_json_like(ask: Any) -> None:
    """Plain values only: what a middleware may copy, log or send to a worker."""
    scope, _ = ask(request("POST", "/x?y", body=b"1"))
    plain = {key: value for key, value in scope.items() if key not in ("extensions", "headers", "state")}
    json.dumps({key: value.decode() if isinstance(value, bytes) else value for key, value in plain.items()})
