"""A layer that keeps the published specification and nothing more, written as simply as can be; and broken ones."""

from __future__ import annotations

import asyncio
import copy
import fnmatch
import re
from collections import defaultdict, deque
from contextlib import suppress
from itertools import count
from typing import Any
from zlib import crc32

from raceway import clock
from raceway.layers.spec import require_channel_name, require_group_name


class Full(Exception):
    pass


class TooLarge(Exception):
    pass


class Network:
    """What the layers of several machines share."""

    def __init__(self) -> None:
        self.queues: dict[str, deque[tuple[float, Any]]] = defaultdict(deque)
        self.groups: dict[str, dict[str, float]] = defaultdict(dict)
        self.waiting: list[asyncio.Future[None]] = []
        self.numbers = count()


class PlainLayer:
    extensions = ["groups", "flush"]
    ChannelFull = Full
    MessageTooLarge = TooLarge

    def __init__(
        self,
        expiry: float = 60,
        group_expiry: float = 86400,
        capacity: int = 100,
        channel_capacity: Any = None,
        network: Network | None = None,
    ) -> None:
        self.network = network or Network()
        self.expiry = expiry
        self.group_expiry = group_expiry
        self.capacity = capacity
        self.channel_capacity = channel_capacity or {}
        self.queues = self.network.queues
        self.groups = self.network.groups

    # Each of these does one thing, so that a broken layer breaks one thing.

    def copy(self, message: Any) -> Any:
        return copy.deepcopy(message)

    def capacity_of(self, channel: str) -> int:
        for pattern, limit in self.channel_capacity.items():
            if re.match(fnmatch.translate(pattern) if isinstance(pattern, str) else pattern, channel):
                return limit
        return self.capacity

    def require_names(self, group: Any = "group", channel: Any = "channel", receive: bool = False) -> None:
        require_group_name(group)
        require_channel_name(channel, receive)

    def expire(self, channel: str) -> None:
        queue = self.queues[channel]
        while queue and queue[0][0] <= clock.monotonic():
            queue.popleft()

    def put(self, channel: str, message: Any) -> None:
        self.expire(channel)
        if len(self.queues[channel]) >= self.capacity_of(channel):
            raise Full
        self.queues[channel].append((clock.monotonic() + self.expiry, self.copy(message)))

    def take(self, channel: str) -> Any:
        return self.queues[channel].popleft()[1]

    def wake(self) -> None:
        waiting, self.network.waiting = self.network.waiting, []
        for news in waiting:
            if not news.done():
                news.set_result(None)

    def members(self, group: str) -> list[str]:
        return [name for name, until in self.groups[group].items() if until > clock.monotonic()]

    # The specification

    async def new_channel(self, prefix: str = "specific") -> str:
        return f"{prefix}.plain!{next(self.network.numbers)}"

    async def send(self, channel: str, message: Any) -> None:
        self.require_names(channel=channel)
        self.put(channel, message)
        self.wake()

    async def receive(self, channel: str) -> Any:
        self.require_names(channel=channel, receive=True)
        while True:
            self.expire(channel)
            if self.queues[channel]:
                return self.take(channel)
            news = asyncio.get_running_loop().create_future()
            self.network.waiting.append(news)
            await news

    async def group_add(self, group: str, channel: str) -> None:
        self.require_names(group, channel)
        self.groups[group][channel] = clock.monotonic() + self.group_expiry

    async def group_discard(self, group: str, channel: str) -> None:
        self.require_names(group, channel)
        self.groups[group].pop(channel, None)

    async def group_send(self, group: str, message: Any) -> None:
        self.require_names(group)
        for name in self.members(group):
            with suppress(Full):
                await self.send(name, message)

    async def flush(self) -> None:
        self.queues.clear()
        self.groups.clear()


# Broken layers


class LastInFirstOut(PlainLayer):
    def take(self, channel: str) -> Any:
        return self.queues[channel].pop()[1]


class DeliversTwice(PlainLayer):
    def put(self, channel: str, message: Any) -> None:
        super().put(channel, message)
        super().put(channel, message)


class SharesMessages(PlainLayer):
    def copy(self, message: Any) -> Any:
        return message


class SharesInside(PlainLayer):
    def copy(self, message: Any) -> Any:
        return dict(message)


class IgnoresCapacity(PlainLayer):
    def capacity_of(self, channel: str) -> int:
        return 10_000


class IgnoresPatterns(PlainLayer):
    def capacity_of(self, channel: str) -> int:
        return self.capacity


class NeverExpires(PlainLayer):
    def expire(self, channel: str) -> None:
        pass


class KeepsMembersForEver(PlainLayer):
    def members(self, group: str) -> list[str]:
        return list(self.groups[group])


class ForgetsTheRenewal(PlainLayer):
    async def group_add(self, group: str, channel: str) -> None:
        if channel not in self.groups[group]:
            await super().group_add(group, channel)


class ChecksNoNames(PlainLayer):
    def require_names(self, *args: Any, **options: Any) -> None:
        pass


class CancelledReceiversTakeTheirMessage(PlainLayer):
    async def receive(self, channel: str) -> Any:
        message = await super().receive(channel)
        for _ in range(5):  # as if the answer of a broker took some time
            await asyncio.sleep(0)
        return message


class WakesOneReceiver(PlainLayer):
    def wake(self) -> None:
        if self.network.waiting:
            self.network.waiting.pop(0).set_result(None)  # who may have been cancelled


class GroupsRaiseFull(PlainLayer):
    async def group_send(self, group: str, message: Any) -> None:
        self.require_names(group)
        for name in self.members(group):
            await self.send(name, message)


class DiscardsNobody(PlainLayer):
    async def group_discard(self, group: str, channel: str) -> None:
        self.require_names(group, channel)


class FlushKeepsGroups(PlainLayer):
    async def flush(self) -> None:
        self.queues.clear()


class NewChannelsAreOne(PlainLayer):
    async def new_channel(self, prefix: str = "specific") -> str:
        return f"{prefix}.plain!same"


class LargeMessagesAreCut(PlainLayer):
    def copy(self, message: Any) -> Any:
        return {
            key: value[:100_000] if isinstance(value, str | bytes) else copy.deepcopy(value)
            for key, value in message.items()
        }


class WrongTypes(PlainLayer):
    def copy(self, message: Any) -> Any:
        return {
            key: value.decode("latin-1") if isinstance(value, bytes) else copy.deepcopy(value)
            for key, value in message.items()
        }


class ReceiversShareMessages(PlainLayer):
    def take(self, channel: str) -> Any:
        return self.queues[channel][0][1]


class OneQueueForAll(PlainLayer):
    def put(self, channel: str, message: Any) -> None:
        super().put("conformance", message)

    def take(self, channel: str) -> Any:
        return super().take("conformance")

    def expire(self, channel: str) -> None:
        super().expire("conformance")
        self.queues[channel] = self.queues["conformance"]


class LastPatternWins(PlainLayer):
    def __init__(self, channel_capacity: Any = None, **options: Any) -> None:
        super().__init__(channel_capacity=dict(reversed((channel_capacity or {}).items())), **options)


class TwoShards(PlainLayer):
    """Sends by the whole name, and receives by the part before the mark (V30)."""

    def put(self, channel: str, message: Any) -> None:
        if "!" in channel and crc32(channel.encode()) % 2 != crc32(channel.partition("!")[0].encode()) % 2:
            return
        super().put(channel, message)


class ExpiredMessagesEndMemberships(PlainLayer):
    def expire(self, channel: str) -> None:
        count_before = len(self.queues[channel])
        super().expire(channel)
        if len(self.queues[channel]) < count_before:
            for members in self.groups.values():
                members.pop(channel, None)


class CancelledReceiversAreNoMembers(PlainLayer):
    async def receive(self, channel: str) -> Any:
        try:
            return await super().receive(channel)
        except asyncio.CancelledError:
            for members in self.groups.values():
                members.pop(channel, None)
            raise


class MeetsNobody(PlainLayer):
    def __init__(self, network: Network | None = None, **options: Any) -> None:
        super().__init__(**options)


class MeetsEverybody(PlainLayer):
    def __init__(self, network: Network | None = None, **options: Any) -> None:
        loop = asyncio.get_running_loop()  # one for each test
        super().__init__(network=loop.__dict__.setdefault("network", Network()), **options)


class EachMachineGetsItsOwn(PlainLayer):
    """What is sent waits once for each machine."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        machines = vars(self.network).setdefault("machines", [])
        self.queues = defaultdict(deque)
        machines.append(self)

    def put(self, channel: str, message: Any) -> None:
        for machine in vars(self.network)["machines"]:
            PlainLayer.put(machine, channel, message)


class CountsForItself(PlainLayer):
    """Other machines fill its channels."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.sent_count: dict[str, int] = defaultdict(int)

    def put(self, channel: str, message: Any) -> None:
        if self.sent_count[channel] >= self.capacity_of(channel):
            raise Full
        self.sent_count[channel] += 1
        self.queues[channel].append((clock.monotonic() + self.expiry, self.copy(message)))


class OneForEachLoop:
    """A layer that is another one in each event loop."""

    extensions: list[str] = []

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.layers: dict[asyncio.AbstractEventLoop, PlainLayer] = {}

    @property
    def here(self) -> PlainLayer:
        return self.layers.setdefault(asyncio.get_running_loop(), PlainLayer(**self.options))

    async def send(self, channel: str, message: Any) -> None:
        await self.here.send(channel, message)

    async def receive(self, channel: str) -> Any:
        return await self.here.receive(channel)
