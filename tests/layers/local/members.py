"""A broker with members, for tests: what they say goes in as bytes, and what they are told comes out of bytes."""

from __future__ import annotations

import socket
from itertools import count
from pathlib import Path

from raceway.layers.local.broker import Broker, Drop, Effect, Lost
from raceway.layers.local.wire import (
    FrameReader,
    FromBroker,
    FromMember,
    Hello,
    Welcome,
    decode_from_broker,
    encode,
)

LEASE_S = 15.0

A, B, C = "a" * 16, "b" * 16, "c" * 16
"""Processes."""


class House:
    """A broker, and the time. ``said`` is what each member was told and has not heard yet."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        self.broker = Broker("broker", LEASE_S, now)
        self.said: dict[int, list[FromBroker]] = {}
        self.dropped: dict[int, str] = {}
        self.lost: list[Lost] = []
        self._numbers = count(1)

    def member(self, process: str = A, *, resumed: bool = False) -> int:
        """A member that has been welcomed."""
        number = self.connect()
        self.say(number, Hello(process, resumed=resumed))
        assert self.hear(number) == [Welcome("broker", LEASE_S)]
        return number

    def connect(self) -> int:
        number = next(self._numbers)
        self.said[number] = []
        self.broker.connect(number, self.now)
        return number

    def say(self, number: int, *frames: FromMember) -> None:
        for body in FrameReader().feed(b"".join(map(encode, frames))):
            self.say_bytes(number, body)

    def say_bytes(self, number: int, body: bytes) -> None:
        self._do(self.broker.receive(number, body, self.now))

    def hear(self, number: int) -> list[FromBroker]:
        """What the member was told since it last heard."""
        said, self.said[number] = self.said[number], []
        return said

    def leave(self, number: int) -> None:
        self._do(self.broker.disconnect(number, self.now))

    def advance(self, seconds: float, *beating: int) -> None:
        """Let time pass, and the broker wake when it wants to; ``beating`` members speak, others are silent."""
        end = self.now + seconds
        while (deadline := self.broker.deadline) is not None and deadline <= end:
            assert deadline >= self.now, "a deadline in the past"
            self.now = deadline
            for number in beating:
                self.say_bytes(number, b"\x91\x02")  # Beat
            self._do(self.broker.wake(self.now))
            after = self.broker.deadline
            assert after is None or after > self.now, "a broker that wakes for ever"
        self.now = end

    def stall(self, seconds: float) -> None:
        """Let time pass in which the broker does not run."""
        self.now += seconds
        self._do(self.broker.wake(self.now))

    def _do(self, effects: list[Effect]) -> None:
        for number, effect in effects:
            if isinstance(effect, Drop):
                self.dropped[number] = effect.why
            elif isinstance(effect, Lost):
                self.lost.append(effect)
            elif number not in self.dropped:
                (body,) = FrameReader().feed(effect)
                self.said[number].append(decode_from_broker(body))


class Peer:
    """A member over a real socket, which speaks and hears at once."""

    def __init__(self, path: Path, process: str = A) -> None:
        self.process = process
        self._reader = FrameReader()
        self._heard: list[FromBroker] = []
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(30)
        try:
            self.socket.connect(str(path))
        except BaseException:
            self.socket.close()
            raise

    def __enter__(self) -> Peer:
        self.say(Hello(self.process))
        assert isinstance(self.hear(), Welcome)
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def say(self, *frames: FromMember) -> None:
        self.socket.sendall(b"".join(map(encode, frames)))

    def hear(self) -> FromBroker | None:
        """The next frame; ``None`` if the broker has ended the connection."""
        while not self._heard:
            try:
                data = self.socket.recv(2**16)
            except ConnectionResetError:  # what was said last was not read
                return None
            if not data:
                return None
            self._heard += map(decode_from_broker, self._reader.feed(data))
        return self._heard.pop(0)
