"""What a supervisor and a worker say to each other: lines of JSON through a pair of sockets.

The end of the pipe says the most: the other side is no more.
"""

from __future__ import annotations

from typing import Final, Generic, TypeAlias, TypeVar

import msgspec
from msgspec import Struct

LINE_BYTES: Final = 1024 * 1024
"""No line is longer."""

READ_BYTES: Final = 64 * 1024

# What a worker says


class Broker(Struct):
    """A broker that the supervisor is to host: see ``raceway.layers.local``."""

    path: str
    lease_s: float


class Layers(Struct, tag="layers"):
    """The brokers that the application's layers need, and the aliases of those that end at a process; said before
    ``Loaded``."""

    brokers: list[Broker]
    of_one_process: list[str]


class Loaded(Struct, tag="loaded"):
    """The application is ready; the worker waits for ``Listen``."""


class Failed(Struct, tag="failed"):
    """Why the worker does not start: a sentence, or a traceback."""

    text: str


class Connections(Struct, tag="connections"):
    """How many are open; the answer to ``Weigh``."""

    count: int


# What the supervisor says


class Listen(Struct, tag="listen"):
    """Accept connections."""


class Stop(Struct, tag="stop"):
    """Stop within ``drain_s`` seconds; said again: hurry."""

    drain_s: float


class Weigh(Struct, tag="weigh"):
    """How many connections a worker has on average, where all accept from one socket."""

    mean: float


FromWorker: TypeAlias = Layers | Loaded | Failed | Connections
FromSupervisor: TypeAlias = Listen | Stop | Weigh

Word = TypeVar("Word")

_encoder: Final = msgspec.json.Encoder()


def line(word: FromWorker | FromSupervisor) -> bytes:
    """``word`` as it goes through the pipe."""
    return _encoder.encode(word) + b"\n"


class Lines(Generic[Word]):
    """Cut what comes out of a pipe into words."""

    def __init__(self, kind: object) -> None:
        self._decoder: msgspec.json.Decoder[Word] = msgspec.json.Decoder(kind)
        self._rest = b""

    def receive(self, data: bytes) -> list[Word]:
        """Raises ``ValueError`` (also as ``msgspec.ValidationError``) if the peer does not speak this language."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LINE_BYTES:
            raise ValueError(f"A line through the pipe is longer than {LINE_BYTES} bytes.")
        return [self._decoder.decode(one) for one in lines]


def from_worker() -> Lines[FromWorker]:
    return Lines(FromWorker)


def from_supervisor() -> Lines[FromSupervisor]:
    return Lines(FromSupervisor)
