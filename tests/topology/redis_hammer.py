"""Numbered messages through Redis while its servers are hurt, and what must hold of those that arrive.

Each ``Member`` is a process of its own as far as Redis can tell: a layer with a name and connections of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from raceway.errors import ChannelFull, LayerUnavailable
from raceway.layers.redis import RedisLayer
from raceway.layers.spec import decode_event

GROUP = "hammered"
PAUSE_S = 0.002
"""Between two messages of one sender."""


class Member:
    """A connection in a group, and what it was told, in order: ``(sender, number)``, or the reason of a gap."""

    def __init__(self, group: str = GROUP, **options: Any) -> None:
        self.layer = RedisLayer(**options)
        self.group = group
        self.channel = self.layer.new_channel_name()
        self.told: list[tuple[str, int] | str] = []
        self.gap_at = 0.0
        """When the last gap was told."""

    async def join(self) -> Member:
        self.layer.open(self.channel, self._deliver, gap=self._miss)
        await self.layer.group_add(self.group, self.channel)
        return self

    def _deliver(self, encoded: bytes) -> bool:
        message = decode_event(encoded)
        self.told.append((message["sender"], message["n"]))
        return True

    def _miss(self, reason: str) -> None:
        self.told.append(reason)
        self.gap_at = time.monotonic()

    @property
    def heard(self) -> list[tuple[str, int]]:
        return [one for one in self.told if not isinstance(one, str)]

    @property
    def gaps(self) -> list[str]:
        return [one for one in self.told if isinstance(one, str)]

    def numbers(self, sender: str) -> list[int]:
        return [n for who, n in self.heard if who == sender]

    async def close(self) -> None:
        await self.layer.aclose()


class Sender:
    """Sends ever higher numbers; ``failed`` are those for which an error was raised."""

    def __init__(self, name: str, send: Callable[[dict[str, Any]], Any]) -> None:
        self.name = name
        self.failed: set[int] = set()
        self.sent_at: list[float] = []
        self._send = send
        self._task: asyncio.Task[None] | None = None

    @property
    def sent(self) -> int:
        return len(self.sent_at)

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            number = self.sent
            self.sent_at.append(time.monotonic())
            try:
                await self._send({"type": "number", "sender": self.name, "n": number})
            except (LayerUnavailable, ChannelFull):
                self.failed.add(number)
            except asyncio.CancelledError:
                self.failed.add(number)
                raise
            await asyncio.sleep(PAUSE_S)

    async def stop(self) -> None:
        assert self._task is not None
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task


class Hammer:
    """Members of one group, each of which sends to all, with several more senders in a pipeline."""

    def __init__(
        self,
        hosts: Any,
        prefix: str,
        members: int = 3,
        group: str = GROUP,
        *,
        pause_between_s: float = 0.0,
    ) -> None:
        self.pause_between_s = pause_between_s
        self.members = [Member(group, hosts=hosts, prefix=prefix) for _ in range(members)]
        self.group = group
        self.senders: list[Sender] = []

    async def __aenter__(self) -> Hammer:
        for member in self.members:
            await member.join()
            await asyncio.sleep(self.pause_between_s)
        for number, member in enumerate(self.members):
            self.senders.append(Sender(f"{number}", self.publish_by(member)))
        for sender in self.senders:
            sender.start()
        return self

    def publish_by(self, member: Member) -> Callable[[dict[str, Any]], Any]:
        return lambda message: member.layer.group_send(self.group, message)

    async def __aexit__(self, *exc_info: object) -> None:
        for sender in self.senders:
            await sender.stop()
        for member in self.members:
            await member.close()

    async def flows(self, within_s: float = 20.0, more: int = 20) -> None:
        """Wait until everybody hears everybody again."""
        marks = {sender.name: sender.sent for sender in self.senders}

        def flow() -> bool:
            return all(
                sum(n >= marks[sender.name] for n in member.numbers(sender.name)) >= more
                for member in self.members
                for sender in self.senders
            )

        await until(flow, within_s)

    async def finish(self) -> None:
        """Send no more, and let what is under way arrive."""
        for sender in self.senders:
            await sender.stop()
        for member in self.members:
            await asyncio.wait_for(member.layer.group_send(self.group, last_word()), 10)
        await until(lambda: all(member.numbers("last") for member in self.members), 10)
        await asyncio.sleep(0.3)

    def check(self) -> None:
        """No message twice, none before an earlier one of its sender, and no loss without a word."""
        for member in self.members:
            for sender in self.senders:
                numbers = member.numbers(sender.name)
                assert numbers == sorted(set(numbers)), f"twice or out of order: {numbers}"
                for number in set(range(sender.sent)).difference(numbers, sender.failed):
                    late_s = sender.sent_at[number] - member.gap_at
                    assert late_s <= 0, (
                        f"{number} of {sender.name} was lost {late_s:.2f} s after the last gap: {member.gaps}"
                    )


def last_word() -> dict[str, Any]:
    return {"type": "number", "sender": "last", "n": int(time.monotonic() * 1e6)}


async def until(holds: Callable[[], object], within_s: float = 10.0) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, "it does not happen"
        await asyncio.sleep(0.01)
