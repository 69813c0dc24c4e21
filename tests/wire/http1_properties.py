"""What holds for any bytes at all, however they are cut: the fuzzers' judge."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from raceway.wire.events import Body, End, HttpEvent, Request, Violation
from raceway.wire.http1 import Http1Reader
from tests.wire.http1_corpus import LIMITS, Told, told

HELD_MAX_BYTES = LIMITS.request_line_bytes + LIMITS.header_bytes + 16


def check(data: bytes, cuts: list[int]) -> None:
    """Read ``data`` whole, cut at ``cuts``, and byte by byte; raise ``AssertionError`` where a promise is broken."""
    whole = read_to_end([data])
    check_order(whole)
    expected = without_status(told(whole))
    borders = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    check_same(expected, [data[begin:end] for begin, end in pairwise(borders)])
    check_same(expected, [data[index : index + 1] for index in range(len(data))])
    check_against_llhttp(data, whole)


def without_status(items: list[Told]) -> list[Told]:
    """Of two faults in one head, which is answered may depend on the reads; that it is refused may not."""
    return ["violation" if isinstance(item, int) else item for item in items]


def check_same(expected: list[Told], pieces: list[bytes]) -> None:
    seen = without_status(told(read_to_end(pieces)))
    assert seen == expected, f"{pieces} gave {seen}, in one piece {expected}"


def read_to_end(pieces: list[bytes]) -> list[HttpEvent]:
    """Read with a connection's manners: resume after a portion, hand over at an upgrade, then end."""
    reader = Http1Reader(LIMITS)
    events: list[HttpEvent] = []
    for piece in pieces:
        new = reader.receive_data(piece)
        while reader.stopped and not is_upgrade(new):
            events += new
            new = reader.resume()
        events += new
        bodies = sum(isinstance(event, Body) for event in new)
        requests = sum(isinstance(event, Request) for event in new)
        assert bodies <= requests + 1, "a body came in more than one piece of one read"
        if is_upgrade(new):
            break
        assert len(reader._held) <= HELD_MAX_BYTES
    return events + reader.receive_eof()


def is_upgrade(events: list[HttpEvent]) -> bool:
    return bool(events) and isinstance(events[-1], Request) and events[-1].upgrade is not None


def check_order(events: list[HttpEvent]) -> None:
    """One request is Request, Body ..., End; a violation is the last event."""
    in_body = False
    for index, event in enumerate(events):
        if isinstance(event, Violation):
            assert index == len(events) - 1
            assert event.status in (400, 414, 417, 431, 501, 505)
        elif isinstance(event, Request):
            assert not in_body
            in_body = not event.ends_here
            event.path.encode()
            assert all(name == name.lower() and value == value.strip() for name, value in event.headers)
            assert not any(byte in value for byte in b"\r\n\0\x85" for _, value in event.headers)
            assert sum(name == b"host" for name, _ in event.headers) == 1 or event.http_version == "1.0"
            assert event.keep_alive or index == len(events) - 1 or in_body
        else:
            assert in_body
            in_body = isinstance(event, Body)


class LlhttpReading:
    """The same bytes as llhttp alone understands them, up to the first thing that it refuses."""

    def __init__(self, data: bytes) -> None:
        self.messages: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.url = b""
        with suppress(HttpParserError, HttpParserUpgrade):
            HttpRequestParser(self).feed_data(data)

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.messages.append((self.url, self.body))
        self.url = self.body = b""


def check_against_llhttp(data: bytes, events: list[HttpEvent]) -> None:
    """Each message that we take as complete is complete for llhttp too, with the same body.

    As far as the two mean to agree: llhttp knows no HTTP/1.2, leaves HTTP at any upgrade, obeys Proxy-Connection, and
    takes no space in a chunk extension.
    """
    lower = data.lower()
    if any(
        word in lower
        for word in (b"upgrade", b"proxy-connection", b" ;", b"\t;", b"; ", b";\t", b" =", b"= ")
    ):
        return
    if b"http/1." in lower.replace(b"http/1.0", b"").replace(b"http/1.1", b""):
        return
    ours: list[bytes] = []
    body = b""
    for event in events:
        if isinstance(event, Body):
            body += event.data
        if isinstance(event, End) or (isinstance(event, Request) and event.ends_here):
            ours.append(body)
            body = b""
    theirs = [body for _, body in LlhttpReading(data).messages]
    coded = lower.count(b"transfer-encoding")
    if coded > 1 or (coded and (b"content-length" in lower or b"connection" in lower)):
        # llhttp obeys or refuses framing fields in trailers, which we drop with the others.
        ours = ours[: len(theirs)]
    assert theirs[: len(ours)] == ours, f"llhttp read {theirs}, we read {ours}"
