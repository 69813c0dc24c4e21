"""What messages on a reply channel do: the handshake table of the first generation's WebSocket specification."""

from __future__ import annotations

from typing import Any

import pytest

from raceway.consumers.replies import websocket_events
from raceway.errors import InvalidMessage
from raceway.messaging.responses import response_events

ACCEPT = {"type": "websocket.accept"}
REFUSE = {"type": "websocket.close"}


def text(said: str) -> dict[str, Any]:
    return {"type": "websocket.send", "text": said}


def data(said: bytes) -> dict[str, Any]:
    return {"type": "websocket.send", "bytes": said}


def close(code: int = 1000) -> dict[str, Any]:
    return {"type": "websocket.close", "code": code}


BEFORE: list[tuple[dict[str, Any], list[dict[str, Any]]]] = [
    ({"accept": True}, [ACCEPT]),
    ({"accept": True, "text": "a"}, [ACCEPT, text("a")]),
    ({"accept": True, "bytes": b"a"}, [ACCEPT, data(b"a")]),
    ({"accept": True, "text": ""}, [ACCEPT, text("")]),
    ({"accept": True, "text": "a", "close": 3000}, [ACCEPT, text("a"), close(3000)]),
    ({"accept": True, "close": True}, [ACCEPT, close()]),
    ({"accept": False}, [REFUSE]),
    ({"accept": False, "text": "a"}, [REFUSE]),
    ({"accept": False, "text": "a", "close": 3000}, [REFUSE]),
    ({"text": "a"}, [ACCEPT, text("a")]),
    ({"bytes": b"a"}, [ACCEPT, data(b"a")]),
    ({"close": True}, [REFUSE]),
    ({"close": 4000}, [REFUSE]),
    ({"text": "a", "close": True}, [ACCEPT, text("a"), close()]),
    ({"text": "a", "close": 4000}, [ACCEPT, text("a"), close(4000)]),
    ({"bytes": b"a", "close": 4000}, [ACCEPT, data(b"a"), close(4000)]),
    ({}, []),
    ({"accept": None, "text": None, "bytes": None, "close": False}, []),
]

AFTER: list[tuple[dict[str, Any], list[dict[str, Any]]]] = [
    ({"accept": True}, []),
    ({"accept": False}, []),
    ({"text": "a"}, [text("a")]),
    ({"text": ""}, [text("")]),
    ({"bytes": b""}, [data(b"")]),
    ({"accept": True, "text": "a"}, [text("a")]),
    ({"close": True}, [close()]),
    ({"close": 4000}, [close(4000)]),
    ({"text": "a", "close": 4000}, [text("a"), close(4000)]),
    ({"text": "a", "close": False}, [text("a")]),
    ({}, []),
]


@pytest.mark.parametrize(("reply", "events"), BEFORE)
def test_while_the_handshake_waits(reply: dict[str, Any], events: list[dict[str, Any]]) -> None:
    assert websocket_events(reply, is_accepted=False) == events


@pytest.mark.parametrize(("reply", "events"), AFTER)
def test_once_accepted(reply: dict[str, Any], events: list[dict[str, Any]]) -> None:
    assert websocket_events(reply, is_accepted=True) == events


@pytest.mark.parametrize("is_accepted", [False, True])
@pytest.mark.parametrize("more", [{}, {"accept": True}, {"close": True}])
def test_text_and_bytes_together_are_ignored(is_accepted: bool, more: dict[str, Any]) -> None:
    with pytest.raises(InvalidMessage, match="not both: it was ignored"):
        websocket_events({"text": "a", "bytes": b"a", **more}, is_accepted)


def start(status: int, *headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def body(content: bytes, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": content, "more_body": more}


def test_a_whole_response() -> None:
    assert response_events({"status": 200, "content": "Grüße"}, False) == [
        start(200, (b"content-length", b"7")),
        body("Grüße".encode()),
    ]


def test_headers_in_each_of_their_forms() -> None:
    fields = [(b"x-one", b"1"), (b"content-length", b"0")]
    for headers in ([("X-One", "1"), [b"Content-Length", b"0"]], {"X-One": "1", "Content-Length": "0"}):
        assert response_events({"status": 204, "headers": headers}, False) == [start(204, *fields), body(b"")]


def test_a_response_in_pieces() -> None:
    assert response_events({"status": 200, "content": b"a", "more_content": True}, False) == [
        start(200),
        body(b"a", more=True),
    ]
    assert response_events({"content": b"b", "more_content": True}, True) == [body(b"b", more=True)]
    assert response_events({"content": b"c"}, True) == [body(b"c")]


@pytest.mark.parametrize(
    ("reply", "is_started", "complaint"),
    [
        ({"content": b"a"}, False, "begins with a 'status'"),
        ({"status": "200"}, False, "a number"),
        ({"status": 200}, True, "has begun already"),
        ({"status": 200, "content": 5}, False, "bytes or str, not int"),
    ],
)
def test_what_is_no_response(reply: dict[str, Any], is_started: bool, complaint: str) -> None:
    with pytest.raises(InvalidMessage, match=complaint):
        response_events(reply, is_started)
