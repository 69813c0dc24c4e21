from __future__ import annotations

import datetime
import decimal
import enum
from typing import Any

import pytest
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy

from raceway.errors import InvalidMessage
from raceway.layers.memory import MemoryLayer
from raceway.layers.spec import (
    as_event,
    decode_event,
    encode_event,
    pack,
    prepare,
    process_of,
    require_channel_name,
    require_group_name,
    unpack,
)
from raceway.prepared import PreparedMessage
from raceway.registry import Closing


class Phase(enum.StrEnum):
    READ = "read"


@pytest.mark.parametrize("name", ["a", "chat.room-1_x", "specific.0a!1f", "x" * 99])
def test_channel_names(name: str) -> None:
    require_channel_name(name)


@pytest.mark.parametrize("name", ["", "a b", "ü", "a!b!c", "a!", "!a", "x" * 100, "a\n", None, 3, b"a"])
def test_names_that_are_no_channels(name: Any) -> None:
    with pytest.raises(TypeError, match="length < 100"):
        require_channel_name(name)


def test_a_bare_prefix_can_be_received_from() -> None:
    require_channel_name("process!", receive=True)


@pytest.mark.parametrize("name", ["", "a!b", "a b", "x" * 100, "a\n", None])
def test_names_that_are_no_groups(name: Any) -> None:
    with pytest.raises(TypeError, match="Group name must be a valid unicode string with length < 100"):
        require_group_name(name)


@pytest.mark.parametrize(
    ("sent", "received"),
    [
        ({"type": "a.b"}, {"type": "a.b"}),
        ({"value": [1, 2.5, None, True, "ü", b"\x00"]}, {"value": [1, 2.5, None, True, "ü", b"\x00"]}),
        ({"value": (1, (2,))}, {"value": [1, [2]]}),
        ({"users": {1: "leela", "fry": 2}}, {"users": {1: "leela", "fry": 2}}),
        ({"value": [-(2**63), 2**63 - 1]}, {"value": [-(2**63), 2**63 - 1]}),
        ({"value": mark_safe("<b>")}, {"value": "<b>"}),
        ({mark_safe("key"): 1}, {"key": 1}),
        ({"value": Phase.READ}, {"value": "read"}),
        ({"text": "no type, so it is an event"}, {"text": "no type, so it is an event"}),
    ],
)
def test_what_a_layer_carries(sent: dict[str, Any], received: dict[str, Any]) -> None:
    assert decode_event(encode_event(sent)) == received


def test_each_decoding_is_a_copy() -> None:
    encoded = encode_event({"list": []})
    decode_event(encoded)["list"].append("spoilt")
    assert decode_event(encoded) == {"list": []}


@pytest.mark.parametrize(
    ("message", "path"),
    [
        ({"when": datetime.datetime(2020, 1, 1)}, "message['when'] is of type datetime"),
        ({"a": [1, {"b": {2}}]}, "message['a'][1]['b'] is of type set"),
        ({"price": decimal.Decimal(1)}, "message['price'] is of type Decimal"),
        ({"lazy": gettext_lazy("x")}, "message['lazy'] is of type"),
        ({"view": memoryview(b"x")}, "message['view'] is of type memoryview"),
        ({"big": (0, 2**63)}, "message['big'][1] is an int of more than 64 bits"),
        ({"big": -(2**63) - 1}, "message['big'] is an int of more than 64 bits"),
        ({"a": {1.5: 0}}, "message['a'] has the key 1.5"),
        ({"a": {None: 0}}, "message['a'] has the key None"),
        ({2**63: 0}, "message has the key 9223372036854775808"),
        ({"a": {True: 0}}, "message['a'] has the key True"),
        ({"a": object()}, "message['a'] is of type object"),
    ],
)
def test_what_no_layer_carries_is_named_with_its_path(message: dict[Any, Any], path: str) -> None:
    with pytest.raises(TypeError) as caught:
        prepare(message)
    assert path in str(caught.value)


def test_a_message_is_a_dict() -> None:
    with pytest.raises(TypeError, match="A message is a dict, not list"):
        prepare([])


def test_client_messages_are_final_from_the_start() -> None:
    text = prepare({"type": "websocket.send", "text": "grüß"})
    data = prepare({"type": "websocket.send", "bytes": b"", "text": None})
    assert isinstance(text, PreparedMessage)
    assert (text.payload, text.is_text) == ("grüß".encode(), True)
    assert isinstance(data, PreparedMessage)
    assert (data.payload, data.is_text) == (b"", False)
    assert prepare({"type": "websocket.close", "code": 4000}) == Closing(4000, "")


@pytest.mark.parametrize("extra", [{}, {"text": 1}, {"text": "a", "bytes": b"a"}, {"bytes": "a"}])
def test_a_client_message_has_text_or_bytes(extra: dict[str, Any]) -> None:
    with pytest.raises(InvalidMessage, match="either 'text'"):
        prepare({"type": "websocket.send", **extra})


@pytest.mark.parametrize("data", [bytearray(b"ab"), memoryview(b"ab")])
def test_a_client_message_takes_anything_like_bytes(data: Any) -> None:
    prepared = prepare({"type": "websocket.send", "bytes": data})
    assert isinstance(prepared, PreparedMessage)
    assert (prepared.payload, prepared.is_text) == (b"ab", False)


def test_text_that_is_no_utf8_is_an_invalid_message() -> None:
    with pytest.raises(InvalidMessage, match="cannot be sent as UTF-8"):
        prepare({"type": "websocket.send", "text": "\ud800"})


@pytest.mark.parametrize("code", [0, 5, 999, 1005, 1006, 1015, 5000, "1000", 1000.5])
def test_a_close_code_that_no_socket_can_send_is_refused(code: object) -> None:
    with pytest.raises(InvalidMessage, match="not a close code"):
        prepare({"type": "websocket.close", "code": code})


def test_the_reason_of_a_close_is_text() -> None:
    with pytest.raises(InvalidMessage, match="'reason'"):
        prepare({"type": "websocket.close", "reason": 3})
    assert prepare({"type": "websocket.close", "code": None, "reason": None}) == Closing(1000, "")


def test_a_client_message_with_more_keys_stays_an_event_so_that_none_is_lost() -> None:
    message = {"type": "websocket.send", "text": "a", "sender": "leela"}
    prepared = prepare(message)
    assert isinstance(prepared, bytes)
    assert decode_event(prepared) == message


@pytest.mark.parametrize(
    "message",
    [
        {"type": "websocket.send", "text": "ü"},
        {"type": "websocket.send", "bytes": b"\xff"},
        {"type": "websocket.close", "code": 4000, "reason": "bye"},
        {"type": "chat.message", "body": "x"},
    ],
)
def test_any_message_has_an_event_form(message: dict[str, Any]) -> None:
    assert decode_event(as_event(prepare(message))) == message


def test_what_is_nested_too_deep_is_a_type_error_at_the_sender() -> None:
    deep: Any = 0
    for _ in range(2000):
        deep = [deep]
    with pytest.raises(TypeError, match="nested deeper than 240"):
        encode_event({"type": "chat.message", "data": deep})


@pytest.mark.parametrize(
    "message",
    [
        {"type": "websocket.send", "text": "ü"},
        {"type": "websocket.send", "bytes": b"\xff"},
        {"type": "websocket.close", "code": 4000, "reason": "enough"},
        {"type": "n", "a": [1, {"b": None}]},
    ],
)
def test_every_kind_of_message_comes_out_as_it_was_packed(message: dict[str, Any]) -> None:
    assert decode_event(as_event(unpack(pack(prepare(message))))) == message


@pytest.mark.parametrize("packed", [b"", b"x", b"c", b"c\x00", b"cnonsense"])
def test_what_is_not_packed_is_told(packed: bytes) -> None:
    with pytest.raises(ValueError, match="is no packed message"):
        unpack(packed)


def test_a_name_says_who_made_it() -> None:
    layer = MemoryLayer()
    made = layer.new_channel_name("p.q")
    assert process_of(made) == process_of(f"p.{layer._process}!") == layer._process
    for name in ("work", "p!1", f"p.{layer._process}", "p.0123456789ABCDEF!1", "p.0123456789abcdef0!1"):
        assert process_of(name) is None
