"""What the channel layer specification allows: names, types, and the two kinds of message.

Everything is checked and encoded where it is sent, so that what works on one layer works on all
(https://channels.readthedocs.io/en/latest/channel_layer_spec.html).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final

import msgspec

from raceway.close_codes import NORMAL, require_close_code
from raceway.errors import InvalidMessage
from raceway.prepared import PreparedMessage
from raceway.registry import Closing, Message
from raceway.types import Event

NAME_CHARACTERS: Final = 100
"""Names are shorter than this."""

_CHANNEL = re.compile(r"[A-Za-z0-9\-_.]+(![A-Za-z0-9\-_.]+)?")
_LISTENED_CHANNEL = re.compile(r"[A-Za-z0-9\-_.]+(![A-Za-z0-9\-_.]*)?")
_GROUP = re.compile(r"[A-Za-z0-9\-_.]+")
_MADE_NAME = re.compile(r"\.([0-9a-f]{16})!")

_LEAVES: Final = frozenset({str, float, bool, bytes, type(None)})
_TEXT_KEYS: Final = frozenset({"type", "text", "bytes"})
_CLOSE_KEYS: Final = frozenset({"type", "code", "reason"})
_REPLY_KEYS: Final = frozenset({"accept", "text", "bytes", "close"})


# Names


def require_channel_name(name: object, receive: bool = False) -> None:
    """Raise ``TypeError`` unless ``name`` can be a channel; ``receive`` allows a bare prefix, ``process!``."""
    pattern = _LISTENED_CHANNEL if receive else _CHANNEL
    if not isinstance(name, str) or len(name) >= NAME_CHARACTERS or not pattern.fullmatch(name):
        raise TypeError(
            f"Channel name must be a valid unicode string with length < {NAME_CHARACTERS} containing only ASCII "
            f"alphanumerics, hyphens, underscores, or periods, and at most one '!', not {name!r}"
        )


def require_group_name(name: object, what: str = "Group") -> None:
    """Raise ``TypeError`` unless ``name`` can be a group, or ``what`` is named as groups are."""
    if not isinstance(name, str) or len(name) >= NAME_CHARACTERS or not _GROUP.fullmatch(name):
        raise TypeError(
            f"{what} name must be a valid unicode string with length < {NAME_CHARACTERS} containing only ASCII "
            f"alphanumerics, hyphens, underscores, or periods, not {name!r}"
        )


def non_local_name(name: str) -> str:
    """The part of a process-specific name that says which process, with its ``!``; any other name as it is."""
    prefix, mark, _ = name.partition("!")
    return prefix + mark


def process_of(channel: str) -> str | None:
    """The process that owns a channel, as its name says that it made (``ChannelLayer.new_channel_name``)."""
    made = _MADE_NAME.search(channel) if "!" in channel else None
    return None if made is None else made[1]


# Messages


def prepare(message: object) -> Message:
    """Encode what a sender gave, once: a client message for the sockets, or an event for the handlers.

    Raises ``TypeError`` with the key path of a value that no layer carries, ``InvalidMessage`` (a ``ValueError``)
    for a client message that no socket can send.
    """
    if not isinstance(message, dict):
        raise TypeError(f"A message is a dict, not {type(message).__qualname__}")
    kind = message.get("type")
    if kind == "websocket.send" and message.keys() <= _TEXT_KEYS:
        return client_message(message.get("text"), message.get("bytes"))
    if kind == "websocket.close" and message.keys() <= _CLOSE_KEYS:
        return _closing(message.get("code"), message.get("reason"))
    return encode_event(message)


def as_client_message(message: dict[str, Any]) -> dict[str, Any]:
    """``message``, with the type that the forms without one stand for: ``{"text": ...}``, ``{"bytes": ...}``,
    ``{"close": True | code}``, and ``{"accept": ...}`` or several of them, which is the event ``raceway.reply``.

    They are what the first generation of Channels sends to a client. Anything else comes back as it is.
    """
    if not isinstance(message, dict) or not message or not message.keys() <= _REPLY_KEYS:
        return message
    said = {
        key: value for key, value in message.items() if value is not None and (key, value) != ("close", False)
    }
    if said.keys() in ({"text"}, {"bytes"}):
        return {"type": "websocket.send", **said}
    if said.keys() == {"close"}:
        return {"type": "websocket.close", "code": NORMAL if said["close"] is True else said["close"]}
    return {"type": "raceway.reply", **said}


def client_message(text: object, data: object) -> PreparedMessage:
    """The one of ``text`` and ``data`` that is not ``None``, ready for every socket.

    Raises ``InvalidMessage`` for anything but one ``str`` that UTF-8 can carry, or one bytes-like object.
    """
    try:
        if isinstance(text, str) and data is None:
            return PreparedMessage(text)
    except UnicodeEncodeError as error:
        raise InvalidMessage(f"'text' cannot be sent as UTF-8: {error}.") from None
    if isinstance(data, bytes | bytearray | memoryview) and text is None:
        return PreparedMessage(bytes(data))
    raise InvalidMessage(
        "A websocket.send message has either 'text', a str, or 'bytes', bytes; the other is None"
    )


def _closing(code: Any, reason: object) -> Closing:
    if code is None:
        code = NORMAL
    require_close_code(code)
    if reason is not None and not isinstance(reason, str):
        raise InvalidMessage(f"The 'reason' of a close is a str, not {reason!r}.")
    return Closing(int(code), reason or "")


def client_event(message: PreparedMessage | Closing) -> Event:
    """A client message as the ASGI event that it stands for."""
    if isinstance(message, Closing):
        return {"type": "websocket.close", **message._asdict()}
    if message.is_text:
        return {"type": "websocket.send", "text": message.payload.decode()}
    return {"type": "websocket.send", "bytes": message.payload}


def as_event(message: Message) -> bytes:
    """The encoded event form of any message, for a listener that handles or receives client messages itself."""
    return message if isinstance(message, bytes) else _encoder.encode(client_event(message))


def pack(message: Message) -> bytes:
    """Any message as it travels between processes: one byte for its kind, and its payload."""
    if isinstance(message, PreparedMessage):
        return (b"t" if message.is_text else b"b") + message.payload
    if isinstance(message, Closing):
        return b"c" + _encoder.encode(tuple(message))
    return b"e" + message


def unpack(packed: bytes) -> Message:
    """The message that ``pack`` was given. Raises ``ValueError`` for what it never makes."""
    kind, payload = packed[:1], packed[1:]
    if kind == b"e":
        return payload
    if kind == b"t":
        return PreparedMessage.from_utf8(payload)
    if kind == b"b":
        return PreparedMessage(payload)
    if kind == b"c":
        with suppress(msgspec.DecodeError):
            return Closing(*_decode_closing(payload))
    raise ValueError(f"{packed[:40]!r} is no packed message.")


def encode_event(message: dict[Any, Any]) -> bytes:
    """MessagePack of an event. Raises ``TypeError`` with the key path of what no layer carries."""
    _require_portable(message, ())
    return _encoder.encode(message)


def _exact(value: object) -> object:
    """The plain form of a ``str`` (``SafeString``), ``bytes``, ``int`` or ``float`` of a subclass."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bytes):
        return bytes(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    raise NotImplementedError


MAX_EVENT_DEPTH: Final = 240
"""What a handler is given it may write as JSON, which ``orjson`` does to 254 levels."""

_encoder = msgspec.msgpack.Encoder(enc_hook=_exact)

decode_event: Callable[[bytes], dict[str, Any]] = msgspec.msgpack.Decoder().decode
"""A fresh copy of an event each time; tuples come back as lists."""
_decode_closing: Callable[[bytes], tuple[int, str]] = msgspec.msgpack.Decoder(tuple[int, str]).decode


def _require_portable(value: Any, path: tuple[object, ...]) -> None:
    if len(path) > MAX_EVENT_DEPTH:
        raise TypeError(f"The message cannot be sent: it is nested deeper than {MAX_EVENT_DEPTH} levels")
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str) and not (type(key) is int and _is_int64(key)):
                raise TypeError(
                    f"The message cannot be sent: {_at(path)} has the key {key!r}; keys are str, or int of 64 bits"
                )
        items: Iterable[tuple[object, Any]] = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    else:
        return _require_leaf(value, path)
    for key, item in items:
        if type(item) not in _LEAVES:
            _require_portable(item, (*path, key))


def _require_leaf(value: object, path: tuple[object, ...]) -> None:
    if isinstance(value, int):
        if _is_int64(value):
            return
        raise TypeError(f"The message cannot be sent: {_at(path)} is an int of more than 64 bits")
    if not isinstance(value, str | float | bytes):
        raise TypeError(
            f"The message cannot be sent: {_at(path)} is of type {type(value).__qualname__}; a channel layer "
            "carries None, bool, int, float, str, bytes, list, tuple and dict"
        )


def _is_int64(value: int) -> bool:
    return -(2**63) <= value < 2**63


def _at(path: tuple[object, ...]) -> str:
    return "message" + "".join(f"[{key!r}]" for key in path)
