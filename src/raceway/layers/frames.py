"""What the processes of a ``DistributedLayer`` say to each other, whatever carries it."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import msgspec
from msgspec import Struct


class Publish(Struct, array_like=True, tag=1):
    """Cast to a group: ``message`` is sealed; ``process`` has handed it to its own members already, or is empty."""

    process: str
    message: bytes
    exclude: str | None
    policy: str


class Deliver(Struct, array_like=True, tag=2):
    """Cast to a process: hand ``message``, which is sealed, to a channel of yours, in ``delay_s`` seconds."""

    channel: str
    message: bytes
    delay_s: float = 0
    token: str = ""


class Join(Struct, array_like=True, tag=3):
    """Cast to a process: make a channel of yours a member of a group, or end that (``leaves``); say ``Reply``."""

    reply_to: str
    n: int
    group: str
    channel: str
    leaves: bool


class Cancel(Struct, array_like=True, tag=4):
    """Cast to a process: take back a ``Deliver`` with a delay; say ``Reply`` with whether you could."""

    reply_to: str
    n: int
    channel: str
    token: str


class Ask(Struct, array_like=True, tag=5):
    """Cast to everybody: say ``Reply`` with the ``count`` or the ``channels`` of a group in your loop, or ``flush``."""

    reply_to: str
    n: int
    what: str
    group: str


class Reply(Struct, array_like=True, tag=6):
    """The answer to what ``n`` was."""

    n: int
    value: Any


Frame: TypeAlias = Publish | Deliver | Join | Cancel | Ask | Reply

encode: Final = msgspec.msgpack.Encoder().encode
_decoder: Final[msgspec.msgpack.Decoder[Frame]] = msgspec.msgpack.Decoder(Frame)


def decode(data: bytes) -> Frame:
    """Raises ``ValueError`` for what no process of this version says."""
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{data[:40]!r} is no frame: {error}") from None
