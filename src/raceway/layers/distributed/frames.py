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
    """Cast to everybody: say ``Reply`` with the ``count`` or the ``channels`` of the group ``name`` in your loop; with
    the ``roll`` or the ``roll_count`` of the presence, if you have the desk, else with whether you have entries;
    ``flush``; say all ``Enter`` (``whole``), also whether an earlier desk was lost (``again``); ``elect`` a desk; or
    be told that it was ``lost``."""

    reply_to: str
    n: int
    what: str
    name: str


class Reply(Struct, array_like=True, tag=6):
    """The answer to what ``n`` was."""

    n: int
    value: Any


class Enter(Struct, array_like=True, tag=7):
    """Cast to the desk, as the next four: a connection of ``owner`` is there for a person; say ``Reply``. ``again``: it
    was there before. See ``raceway.layers.roster``."""

    owner: str
    n: int
    presence: str
    key: str
    channel: str
    meta: dict[str, Any]
    grace_s: float
    again: bool = False


class Exit(Struct, array_like=True, tag=8):
    """A connection is there no more: in one presence, or in all (``None``)."""

    owner: str
    presence: str | None
    channel: str


class Beat(Struct, array_like=True, tag=9):
    """``owner`` lives, and has so many entries."""

    owner: str
    entries: int


class Whole(Struct, array_like=True, tag=12):
    """``owner`` has no other entries than these, by presence and channel."""

    owner: str
    places: list[tuple[str, str]]


class Gone(Struct, array_like=True, tag=10):
    """``owner`` ends in good order."""

    owner: str


class Changed(Struct, array_like=True, tag=11):
    """Cast to an owner: signal that a person has joined or left (``kind`` as in ``raceway.layers.roster.Change``)."""

    presence: str
    kind: str
    key: str
    metas: list[dict[str, Any]]


Frame: TypeAlias = (
    Publish | Deliver | Join | Cancel | Ask | Reply | Enter | Exit | Beat | Whole | Gone | Changed
)

encode: Final = msgspec.msgpack.Encoder().encode
_decoder: Final[msgspec.msgpack.Decoder[Frame]] = msgspec.msgpack.Decoder(Frame)


def decode(data: bytes) -> Frame:
    """Raises ``ValueError`` for what no process of this version says."""
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{data[:40]!r} is no frame: {error}") from None
