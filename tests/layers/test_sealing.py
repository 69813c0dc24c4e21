"""What leaves a process comes back as it was, or not at all."""

from __future__ import annotations

import json
import logging
import math
import sys
import types
from typing import Any

import pytest

from raceway.errors import ConfigurationError
from raceway.layers import sealing
from raceway.layers.sealing import Seal
from raceway.layers.spec import decode_event, pack, prepare
from raceway.prepared import PreparedMessage

EVENT = {"type": "n", "text": "žluť \U0001f600", "list": [1, -(2**63), 0.5, None, True], "nested": {"a": {}}}
MESSAGES = [
    EVENT,
    {"type": "websocket.send", "text": "ü"},
    {"type": "websocket.send", "text": ""},
    {"type": "websocket.close", "code": 4000, "reason": "enough"},
    {"type": "raceway.reply", "accept": True, "text": "hello"},
    {"no": "type"},
]
BINARY = [{"type": "n", "data": b"\x00\xff", "keys": {1: "a"}}, {"type": "websocket.send", "bytes": b"\xff"}]


class Lines:
    """A format of somebody's own."""

    def dumps(self, event: dict[str, Any]) -> bytes:
        return repr(event).encode()

    def loads(self, data: bytes) -> Any:
        if not data.startswith(b"{"):
            raise RuntimeError("no dict")
        return eval(data)


LINES = Lines()

SEALS: dict[str, Any] = {
    "msgpack": {},
    "msgpack encrypted": {"symmetric_encryption_keys": ["secret"]},
    "object": {"serializer_format": LINES},
    "dotted path of an object": {"serializer_format": f"{__name__}.LINES"},
    "dotted path of a class": {"serializer_format": f"{__name__}.Lines", "symmetric_encryption_keys": [b"x"]},
    "json": {"serializer_format": "json"},
    "json encrypted": {"serializer_format": "json", "symmetric_encryption_keys": ["secret"]},
}


def same(one: Any, other: Any) -> bool:
    """Whether two messages are of one kind, and say the same."""
    return pack(one) == pack(other)


@pytest.mark.parametrize("name", SEALS)
def test_a_message_comes_back_as_it_was(name: str) -> None:
    sender, receiver = Seal(**SEALS[name]), Seal(**SEALS[name])
    for event in MESSAGES + ([] if "json" in name else BINARY):
        message = prepare(event)
        assert same(receiver.unseal(sender.seal(message)), message), event


def test_client_messages_travel_as_they_are() -> None:
    text = PreparedMessage("a text that nobody decodes again")
    assert text.payload in Seal().seal(text)


def test_json_is_json() -> None:
    seal = Seal(serializer_format="json")
    assert json.loads(seal.seal(prepare(EVENT))) == EVENT
    assert json.loads(seal.seal(PreparedMessage("a"))) == {"type": "websocket.send", "text": "a"}


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (b"x", r"message\['a'\]\[0\] is b'x'"),
        (math.nan, r"message\['a'\]\[0\] is nan"),
        (-math.inf, r"message\['a'\]\[0\] is -inf"),
        ({1: "a"}, r"message\['a'\]\[0\] has the key 1"),  # V35: rather than coming back as "1"
    ],
    ids=repr,
)
def test_json_refuses_what_would_come_back_as_something_else(value: Any, named: str) -> None:
    with pytest.raises(TypeError, match=named):
        Seal(serializer_format="json").seal(prepare({"type": "n", "a": [value]}))


def test_json_refuses_a_binary_client_message() -> None:
    with pytest.raises(TypeError, match=r"message\['bytes'\]"):
        Seal(serializer_format="json").seal(PreparedMessage(b"x"))


def test_a_format_that_writes_no_bytes_is_told_so() -> None:
    text = types.SimpleNamespace(dumps=json.dumps, loads=json.loads)
    with pytest.raises(TypeError, match="returns bytes, not str"):
        Seal(serializer_format=text).seal(prepare(EVENT))


# Encryption


def test_what_is_encrypted_tells_nothing_and_never_looks_the_same() -> None:
    seal = Seal(["secret"])
    message = PreparedMessage("the same text")
    first, second = seal.seal(message), seal.seal(message)
    assert first != second
    assert b"same" not in first
    assert len(first) <= len(message.payload) + 64  # Fernet would need a third more, and 57 bytes


def test_keys_are_replaced_without_losing_a_message() -> None:
    old, both, new = Seal(["old"]), Seal(["new", "old"]), Seal([b"new"])
    message = prepare(EVENT)
    assert same(both.unseal(old.seal(message)), message)
    assert same(both.unseal(both.seal(message)), message)
    assert same(new.unseal(both.seal(message)), message)  # the first one encrypts
    for stranger in (new, Seal(["other"])):
        with pytest.raises(ValueError, match="none of symmetric_encryption_keys"):
            stranger.unseal(old.seal(message))


def test_one_changed_bit_is_found() -> None:
    seal = Seal(["secret"])
    sealed = seal.seal(prepare(EVENT))
    for place in (0, sealing.SALT_BYTES, sealing.SALT_BYTES + sealing.NONCE_BYTES, len(sealed) - 1):
        changed = bytearray(sealed)
        changed[place] ^= 1
        with pytest.raises(ValueError, match="none of symmetric_encryption_keys"):
            seal.unseal(bytes(changed))
    assert seal.unreadable_count == 4


def test_strangers_fill_no_memory() -> None:
    seal = Seal(["secret"])
    for number in range(10):
        with pytest.raises(ValueError, match="none of"):
            seal.unseal(number.to_bytes(sealing.SALT_BYTES, "big") + bytes(40))
    assert seal._box is not None
    assert seal._box._ciphers == {}


def test_salts_are_renewed_and_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "MESSAGES_PER_SALT", 2)
    monkeypatch.setattr(sealing, "KEPT_CIPHERS", 3)
    seal = Seal(["secret"])
    sealed = [seal.seal(prepare(EVENT)) for _ in range(20)]
    assert len({one[: sealing.SALT_BYTES] for one in sealed}) == 10
    for one in sealed:
        assert same(seal.unseal(one), prepare(EVENT))
    assert seal._box is not None
    assert len(seal._box._ciphers) <= 3


# What cannot be read


@pytest.mark.parametrize("name", SEALS)
@pytest.mark.parametrize("data", [b"", b"?", b"\x00" * 10, b"c\xff", b"[1]", b'{"a": ', b"x" * 100], ids=repr)
def test_garbage_is_a_value_error_that_is_counted_and_told_once(
    name: str, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    seal = Seal(**SEALS[name])
    with caplog.at_level(logging.ERROR, "raceway.layers"):
        for _ in range(3):
            with pytest.raises(ValueError, match=r"."):
                seal.unseal(data)
    assert seal.unreadable_count == 3
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "symmetric_encryption_keys and serializer_format" in caplog.text


def test_encrypted_and_plain_do_not_read_each_other() -> None:
    plain, encrypted = Seal(), Seal(["secret"])
    with pytest.raises(ValueError, match="none of"):
        encrypted.unseal(plain.seal(prepare(EVENT)))


# Options


@pytest.mark.parametrize("keys", ["secret", b"secret", 7], ids=repr)
def test_keys_are_a_list(keys: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"a list of keys; a single one is a list of one, \[key\]"):
        Seal(keys)


@pytest.mark.parametrize("key", ["", b"", None, 7], ids=repr)
def test_a_key_is_text_or_bytes(key: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"symmetric_encryption_keys\[1\] is a str or bytes"):
        Seal(["secret", key])


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("cryptography")]:
        monkeypatch.setitem(sys.modules, name, None)
    Seal()  # needs nothing
    with pytest.raises(ConfigurationError, match=r"pip install raceway\[encryption\]"):
        Seal(["secret"])


@pytest.mark.parametrize(
    ("serializer_format", "named"),
    [
        ("mspack", "did you mean 'msgpack'"),
        ("no.such.module", "cannot be imported"),
        ("json.nothing", "cannot be imported"),
        ("os.path", "has no function dumps"),
        (object(), "has no function dumps"),
        (None, "has no function dumps"),
    ],
)
def test_a_format_that_is_none(serializer_format: Any, named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        Seal(serializer_format=serializer_format)


def test_events_of_a_format_can_be_handled() -> None:
    seal = Seal(serializer_format="json")
    event = seal.unseal(b'{"type": "from.elsewhere", "n": 1}')
    assert isinstance(event, bytes)
    assert decode_event(event) == {"type": "from.elsewhere", "n": 1}
