"""Server-sent events, read back by the rules of WHATWG HTML section 9.2.6."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raceway.wire.sse import comment, encode_event


def parse(stream: bytes) -> list[dict[str, str]]:
    """What a browser makes of a stream: "Interpreting an event stream"."""
    events = []
    last_id, data, kind, retry = "", "", "", ""
    for line in re.split("\r\n|\r|\n", stream.decode())[:-1]:
        if not line:
            if data:
                events.append({"data": data[:-1], "event": kind or "message", "id": last_id, "retry": retry})
            data, kind, retry = "", "", ""
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "data":
                data += value + "\n"
            case "event":
                kind = value
            case "id":
                last_id = value
            case "retry":
                retry = value
    return events


def data_of(stream: bytes) -> list[str]:
    return [event["data"] for event in parse(stream)]


def test_the_bytes():
    assert encode_event("hello") == b"data: hello\n\n"
    assert encode_event(b"hello", event="chat", event_id="7", retry_ms=1500) == (
        b"event: chat\nid: 7\nretry: 1500\ndata: hello\n\n"
    )


@pytest.mark.parametrize(
    "data", ["", " ", " leading", "a: b", ":x", "größer", "\ufeffbom", "\x0b\x0c\x85\u2028", "\0"]
)
def test_one_line_arrives_as_it_is(data):
    assert data_of(encode_event(data)) == [data]
    assert encode_event(data.encode()) == encode_event(data)


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_every_end_of_a_line(end):
    assert data_of(encode_event(end.join(["a", "", "b", ""]))) == ["a\n\nb\n"]


def test_mixed_ends_of_lines():
    assert data_of(encode_event("a\r\n\rb\n\rc")) == ["a\n\nb\n\nc"]


def test_data_cannot_forge_a_field_or_an_event():
    assert parse(encode_event("x\n\nevent: evil\rid: 9\r\n\r\ndata: y")) == [
        {"data": "x\n\nevent: evil\nid: 9\n\ndata: y", "event": "message", "id": "", "retry": ""}
    ]


@given(st.lists(st.text()))
def test_what_is_written_is_what_is_read(messages):
    stream = b"".join(encode_event(message) + comment(message) for message in messages)
    assert data_of(stream) == [re.sub("\r\n|\r", "\n", message) for message in messages]


def test_type_and_id():
    assert parse(encode_event("a", event="größe", event_id="é 1"))[0] == {
        "data": "a", "event": "größe", "id": "é 1", "retry": "",
    }  # fmt: skip


def test_an_empty_id_resets_the_last_one():
    assert [
        event["id"] for event in parse(encode_event("a", event_id="5") + encode_event("b", event_id=""))
    ] == ["5", ""]


@pytest.mark.parametrize("value", ["a\nb", "a\rb", "a\0b", "\n"])
@pytest.mark.parametrize("name", ["event", "event_id"])
def test_values_that_do_not_fit_on_a_line(name, value):
    with pytest.raises(ValueError, match=f"{name} must be one line without NUL"):
        encode_event("a", **{name: value})


def test_retry_is_a_time():
    assert parse(encode_event("a", retry_ms=0))[0]["retry"] == "0"
    with pytest.raises(ValueError, match="retry_ms is a time in milliseconds, not -1"):
        encode_event("a", retry_ms=-1)


def test_comments():
    assert comment() == b": \n\n"
    assert comment("ping") == b": ping\n\n"
    assert comment("a\nb\r\nc") == b": a\n: b\n: c\n\n"
    assert parse(comment("data: a\ndata: b\n\ndata: c")) == []
