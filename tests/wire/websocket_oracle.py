"""The ``websockets`` library, asked what our engine was asked, and the ways in which the two may differ.

Used by the differential test and by the long fuzz target. The library judges whole frames and leaves UTF-8 to
its callers; ours judges each octet when it arrives. So they are compared after the library has been given
enough octets more to end the frame at hand.
"""

from __future__ import annotations

import reprlib
import zlib
from codecs import getincrementaldecoder
from itertools import pairwise

from websockets.exceptions import ProtocolError
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode
from websockets.protocol import SERVER, Protocol

from tests.wire.websocket_client import DEFLATE, read

Item = object
DAMAGED = ("Damaged",)


class CarefulDeflate(PerMessageDeflate):
    """Ours and the library's inflaters make different rubbish of a message that does not end where deflate does.

    So such a message, and one with a final block, which the library does not read on behind, is where the
    comparison ends.
    """

    def __init__(self) -> None:
        super().__init__(True, True, 15, 15)
        self.raw = b""
        self.damaged = False

    def decode(self, frame: Frame, *, max_size: int | None = None) -> Frame:
        continues = frame.opcode is Opcode.CONT and self.decode_cont_data
        begins = frame.opcode in (Opcode.TEXT, Opcode.BINARY) and frame.rsv1
        made = super().decode(frame, max_size=max_size)
        if begins or continues:
            self.raw = bytes(frame.data) if begins else self.raw + bytes(frame.data)
            final_block = not frame.fin and self.decoder.eof
            if final_block or (frame.fin and self.raw and not ends_on_a_block(self.raw)):
                self.damaged = True
                raise ProtocolError("damaged")
        return made


def ends_on_a_block(raw: bytes) -> bool:
    stream = zlib.decompressobj(-15)
    try:
        stream.decompress(raw + b"\x00\x00\xff\xff")
        if stream.eof:
            return False
        return stream.decompress(b"\x03\x00") == b"" and stream.eof  # an empty final block
    except zlib.error:
        return False


def oracle(data: bytes, max_bytes: int, deflate: bool) -> list[Item]:
    """What the library says to ``data``, in the form of ``websocket_client.plain``."""
    protocol = Protocol(SERVER, max_size=max_bytes)
    extension = CarefulDeflate()
    if deflate:
        protocol.extensions = [extension]
    protocol.receive_data(data)
    items: list[Item] = []
    message: list[bytes] = []
    is_text = False
    for frame in protocol.events_received():
        assert isinstance(frame, Frame)
        payload = bytes(frame.data)
        match frame.opcode:
            case Opcode.PING:
                items.append(("Ping", payload))
            case Opcode.PONG:
                items.append(("Pong", payload))
            case Opcode.CLOSE:
                assert protocol.close_rcvd is not None
                items.append(("Close", int(protocol.close_rcvd.code), protocol.close_rcvd.reason))
            case _:
                if frame.opcode is not Opcode.CONT:
                    message, is_text = [], frame.opcode is Opcode.TEXT
                message.append(payload)
                try:
                    if is_text:
                        text = decode_so_far(b"".join(message), frame.fin)
                except UnicodeDecodeError:
                    return [*items, ("Violation", 1007)]
                if frame.fin:
                    items.append(text if is_text else b"".join(message))
    if extension.damaged:
        items.append(DAMAGED)
    elif protocol.parser_exc is not None:
        assert protocol.close_sent is not None
        items.append(("Violation", int(protocol.close_sent.code)))
    return items


def decode_so_far(data: bytes, whole: bool) -> str:
    decoder = getincrementaldecoder("utf-8")()
    text = decoder.decode(data, whole)
    waiting, _ = decoder.getstate()
    if waiting[:1] == b"\xed" and waiting[1:] >= b"\xa0":  # a surrogate: it only looks unfinished
        return waiting.decode()
    return text


# Words of our violations that the library does not know, and what it makes of the same octets.
STRICTER = {
    "length is not in its shortest form": "takes it, though RFC 6455 section 5.2 says MUST",
    "control frame is too long": "reads on first, and takes one whose length is only written too long",
    "length is not in its shortest form, or negative": "takes it, or calls it too big",
}

# Two faults in one frame or message, ours and the library's code: each looks for another one first.
TWO_FAULTS = {(1002, 1009), (1002, 1007)}
TWO_FAULTS_COMPRESSED = {*TWO_FAULTS, (1007, 1002), (1007, 1009)}


def disagreement(data: bytes, cuts: list[int], max_bytes: int, deflate: bool) -> str | None:
    """Why our engine, given ``data`` cut at ``cuts``, and the library do not agree; ``None`` if they do."""
    edges = [0, *sorted(cuts), len(data)]
    chunks = [data[begin:end] for begin, end in pairwise(edges)]
    ours = read(chunks, max_bytes=max_bytes, deflate=DEFLATE if deflate else None)
    theirs = oracle(data, max_bytes, deflate)
    if agree(ours, theirs, max_bytes, deflate):
        return None
    # The library may still be waiting for the end of a frame of which we have seen enough.
    theirs_later = oracle(data + bytes(max_bytes + 200), max_bytes, deflate)
    if kind(ours) == "Violation" and agree(ours, theirs_later, max_bytes, deflate):
        return None
    return f"ours {short(ours)}, library {short(theirs)}, later {short(theirs_later)}"


def short(items: list[Item]) -> str:
    return ", ".join(map(reprlib.repr, items))


def kind(items: list[Item]) -> object:
    return items[-1][0] if items and isinstance(items[-1], tuple) else None


def agree(ours: list[Item], theirs: list[Item], max_bytes: int, deflate: bool) -> bool:
    if any(len(item) > max_bytes for item in ours if isinstance(item, str | bytes)):
        return False
    ours_before = ours[:-1] if kind(ours) == "Violation" else ours
    if kind(theirs) == "Damaged":
        return all(mine == other for mine, other in zip(ours_before, theirs[:-1], strict=False))
    if any(len(item) > max_bytes for item in theirs if isinstance(item, str | bytes)):
        # The library forgets what zlib held back at the limit, if the last fragment is empty.
        return kind(ours) == "Violation" and ours[-1][1] == 1009 and theirs[: len(ours_before)] == ours_before
    refused = theirs[-1:] == [("Violation", 1009)] and theirs[:-1] == ours[: len(theirs) - 1]
    if refused and (deflate or kind(ours[: len(theirs)]) in ("Ping", "Pong", "Close")):
        # We bound a compressed message by what it inflates to, the library also by its frames as they are;
        # and it allows a control frame only as much as is left to the message around it.
        return True
    match ours:
        case [*before, ("Violation", int(code), words)]:
            if words in STRICTER:
                return theirs[: len(before)] == before
            match theirs:
                case [*same, ("Violation", int(their_code))] if same == before:
                    two_faults = TWO_FAULTS_COMPRESSED if deflate else TWO_FAULTS
                    return code == their_code or (code, their_code) in two_faults
            return False
        case [*before, ("Close", _, _)] if theirs == [*before, ("Violation", 1002)]:
            return True  # The library does not allow a close inside a fragmented message.
    return ours == theirs
