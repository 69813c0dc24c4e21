"""What a member of the ``local`` layer and its broker say to each other, and how it stands in bytes.

A frame is its length in four bytes, big-endian, and a MessagePack array: the number of its kind and its fields. A
member begins with ``Hello`` and the broker answers ``Welcome``; after that both speak as they like. A frame whose
first field is ``n`` asks for an answer, ``Answer`` or ``Refused`` with the same ``n``, unless ``n`` is 0. Times are
seconds of the machine's monotonic clock, which all its processes share. ``message`` is what ``pack`` makes
of one (``raceway.layers.spec``).
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import msgspec
from msgspec import Struct

from raceway.errors import RacewayError

VERSION: Final = 2
"""A member and a broker of different versions of Raceway do not talk."""

FRAME_BYTES: Final = 64 * 1024 * 1024
"""No frame is larger."""

LENGTH_BYTES: Final = 4

# What a member says


class Hello(Struct, array_like=True, tag=1):
    """Who I am. A process may have several members, which share ``process``: one for each event loop and one for
    its threads. ``resumed``: I have had another broker, and what I say next I have said to it before."""

    process: str
    version: int = VERSION
    resumed: bool = False


class Beat(Struct, array_like=True, tag=2):
    """I am alive; said whenever a third of the lease has passed. Of a member that only asks and sends, as the one that
    threads share, nothing has to be taken back: it need not beat."""


class Subscribe(Struct, array_like=True, tag=3):
    """Send me what is published to these groups; answered with ``None``."""

    n: int
    groups: list[str]


class Unsubscribe(Struct, array_like=True, tag=4):
    groups: list[str]


class Publish(Struct, array_like=True, tag=5):
    """To a group. The broker sends the same frame on to every subscriber of other processes, which hands it to the
    channels of its own loop, and puts the message into the channels that are members by name; ``expiry_s`` is for
    those."""

    n: int
    group: str
    message: bytes
    exclude: str | None
    policy: str
    expiry_s: float


class Send(Struct, array_like=True, tag=6):
    """To a channel: its owner (``Own``) if a process is in its name, else whoever listens, else it waits.

    Refused as ``full`` if ``capacity`` messages wait. ``n`` is 0 for a channel with an owner: its mailbox is not the
    broker's."""

    n: int
    channel: str
    message: bytes
    capacity: int
    expiry_s: float


class Take(Struct, array_like=True, tag=7):
    """Give me the next message of a channel, or of all that begin with ``prefix!``; answered with ``Taken``.

    ``hold``: it is in my hands until I say ``Done`` with this ``n``, and lost if I end before."""

    n: int
    channel: str
    hold: bool = False


class Cancel(Struct, array_like=True, tag=8):
    """I do not want what I asked for as ``take`` any more. If ``Taken`` is under way, ``GiveBack`` follows."""

    take: int


class GiveBack(Struct, array_like=True, tag=9):
    """A message that I took as ``take`` and did not use: it goes to the front again."""

    channel: str
    message: bytes
    expires_at: float
    take: int = 0


class Listen(Struct, array_like=True, tag=10):
    """``Deliver`` to me what comes for this channel, and what waits in it; answered with ``None``. Several who listen
    to one channel get its messages in turn."""

    n: int
    channel: str


class Unlisten(Struct, array_like=True, tag=11):
    channel: str


class Join(Struct, array_like=True, tag=12):
    """Make a channel that another process owns a member of a group, or end that (``leaves``); answered with ``None``
    when the owner has done it, or there is none."""

    n: int
    group: str
    channel: str
    leaves: bool


class AddNamed(Struct, array_like=True, tag=13):
    """Make a named channel a member of a group until ``until``; ``capacity`` is for what is published to it."""

    n: int
    group: str
    channel: str
    until: float
    capacity: int


class DiscardNamed(Struct, array_like=True, tag=14):
    n: int
    group: str
    channel: str


class Count(Struct, array_like=True, tag=15):
    """How many channels are in a group, in all processes, and by name? Answered with an int."""

    n: int
    group: str


class Members(Struct, array_like=True, tag=16):
    """Which channels are in a group, in all processes, and by name? Answered with a list of names."""

    n: int
    group: str


class Flush(Struct, array_like=True, tag=17):
    """Forget what waits, and all groups, everywhere; answered with ``None`` when every process has."""

    n: int


class Figures(Struct, array_like=True, tag=18):
    """What has waited, and waits, in a channel, or in all of them (``None``); answered with a ``Statistics``."""

    n: int
    channel: str | None


class Reply(Struct, array_like=True, tag=19):
    """My answer to ``Asked``."""

    n: int
    value: Any


class Enter(Struct, array_like=True, tag=20):
    """A connection of mine is there for a person; answered with ``None``. See ``raceway.layers.roster``."""

    n: int
    presence: str
    key: str
    channel: str
    meta: dict[str, Any]
    grace_s: float


class Exit(Struct, array_like=True, tag=21):
    """A connection of mine is there no more: in one presence, or in all (``None``)."""

    n: int
    presence: str | None
    channel: str


class Roll(Struct, array_like=True, tag=22):
    """Who is there? Answered with a dict of each person's list of metadata."""

    n: int
    presence: str


class RollCount(Struct, array_like=True, tag=23):
    """How many people are there? Answered with an int."""

    n: int
    presence: str


class Own(Struct, array_like=True, tag=24):
    """``Deliver`` to me what comes for the channels that my process owns (``prefix.<process>!x``); said once. Of
    several members of a process that say so the first gets all of it, so that nothing is handed over twice, and
    members that only send, or whose loop has ended, are not asked."""


class Done(Struct, array_like=True, tag=25):
    """What I took as ``take`` is not in my hands any more."""

    take: int


class SendLater(Struct, array_like=True, tag=26):
    """``Send`` in ``delay_s`` seconds, whatever waits in the channel then; it expires ``expiry_s`` after that. Answered
    with ``None``."""

    n: int
    channel: str
    message: bytes
    expiry_s: float
    delay_s: float
    token: str


class CancelLater(Struct, array_like=True, tag=27):
    """Do not send what was to be sent later as ``token``; answered with whether it was still waiting."""

    n: int
    channel: str
    token: str


# What a broker says


class Welcome(Struct, array_like=True, tag=40):
    """Who I am, and after how many seconds without a word I count you as dead."""

    broker: str
    lease_s: float


class Answer(Struct, array_like=True, tag=41):
    """``missing`` processes did not answer in time, and are not in ``value``."""

    n: int
    value: Any
    missing: int = 0


class Refused(Struct, array_like=True, tag=42):
    """``why`` is ``full``."""

    n: int
    why: str


class Taken(Struct, array_like=True, tag=43):
    n: int
    channel: str
    message: bytes
    expires_at: float


class Deliver(Struct, array_like=True, tag=44):
    """For a channel that you own (``Own``) or listen to."""

    channel: str
    message: bytes


class Asked(Struct, array_like=True, tag=45):
    """Say ``Reply``: ``count`` or ``members`` of ``group`` in your own loop (each member that subscribes is asked);
    ``join`` or ``leave`` of ``channel``, which your process owns (asked of the one that ``Deliver`` goes to); or
    ``flush`` (asked of every member that owns or subscribes)."""

    n: int
    what: str
    group: str
    channel: str


class Changed(Struct, array_like=True, tag=46):
    """A person has joined or left a presence: said to one member, which tells its Django (``kind`` as in
    ``raceway.layers.roster.Change``)."""

    presence: str
    kind: str
    key: str
    metas: list[dict[str, Any]]


FromMember: TypeAlias = (
    Hello
    | Beat
    | Subscribe
    | Unsubscribe
    | Publish
    | Send
    | Take
    | Cancel
    | GiveBack
    | Listen
    | Unlisten
    | Join
    | AddNamed
    | DiscardNamed
    | Count
    | Members
    | Flush
    | Figures
    | Reply
    | Enter
    | Exit
    | Roll
    | RollCount
    | Own
    | Done
    | SendLater
    | CancelLater
)
FromBroker: TypeAlias = Welcome | Answer | Refused | Publish | Taken | Deliver | Asked | Changed
Frame: TypeAlias = FromMember | FromBroker


class BrokenFrame(RacewayError, ValueError):
    """Bytes that no peer of this version sends: the connection has to end."""


_encoder: Final = msgspec.msgpack.Encoder()
_from_member: Final[msgspec.msgpack.Decoder[FromMember]] = msgspec.msgpack.Decoder(FromMember)
_from_broker: Final[msgspec.msgpack.Decoder[FromBroker]] = msgspec.msgpack.Decoder(FromBroker)


def encode(frame: Frame) -> bytes:
    """The frame as it travels. Raises ``BrokenFrame`` if it is too large to."""
    body = _encoder.encode(frame)
    if len(body) > FRAME_BYTES:
        raise BrokenFrame(f"A frame of {len(body)} bytes is more than {FRAME_BYTES}.")
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


def decode_from_member(body: bytes) -> FromMember:
    """Raises ``BrokenFrame``."""
    try:
        return _from_member.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BrokenFrame(f"A member sent what is no frame: {error}") from None


def decode_from_broker(body: bytes) -> FromBroker:
    """Raises ``BrokenFrame``."""
    try:
        return _from_broker.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BrokenFrame(f"The broker sent what is no frame: {error}") from None


class FrameReader:
    """Cut what a socket gives into bodies of frames, whatever the pieces in which it comes."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The bodies that are complete now. Raises ``BrokenFrame`` for a length that no frame has."""
        buffer = self._buffer
        buffer += data
        bodies: list[bytes] = []
        at, end = 0, len(buffer)
        while end - at >= LENGTH_BYTES:
            length = int.from_bytes(buffer[at : at + LENGTH_BYTES], "big")
            if length > FRAME_BYTES:
                raise BrokenFrame(f"A frame of {length} bytes is more than {FRAME_BYTES}.")
            if end - at - LENGTH_BYTES < length:
                break
            at += LENGTH_BYTES
            bodies.append(bytes(buffer[at : at + length]))
            at += length
        del buffer[:at]
        return bodies
