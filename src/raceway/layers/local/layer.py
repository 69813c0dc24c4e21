"""The layer between the processes of one machine."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import weakref
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

from raceway.done import DONE
from raceway.errors import ChannelFull, ConfigurationError, LayerUnavailable
from raceway.layers.front import LoopPart, Work, positive, running_loop
from raceway.layers.local.link import Link
from raceway.layers.local.member import NoBroker
from raceway.layers.local.names import KeptNames
from raceway.layers.local.place import socket_path
from raceway.layers.local.thread_link import ThreadLink
from raceway.layers.local.wire import (
    FRAME_BYTES,
    AddNamed,
    Asked,
    CancelLater,
    Changed,
    Count,
    Deliver,
    DiscardNamed,
    Figures,
    Flush,
    FromMember,
    Join,
    Members,
    Publish,
    Reply,
    Roll,
    RollCount,
    Send,
    SendLater,
    Taken,
)
from raceway.layers.mailroom import QueueLayer, begin_again_after_fork, forget_receiver, said_for
from raceway.layers.presences import tell_listener
from raceway.layers.queues import Waiting
from raceway.layers.spec import as_event, pack, process_of, require_group_name, unpack
from raceway.layers.statistics import Statistics
from raceway.layers.strand import Outcome
from raceway.registry import Message
from raceway.registry.policy import Policy

logger = logging.getLogger("raceway.layers")

SUPERVISED: Final = "RACEWAY_SUPERVISED"
"""``1`` in the environment of a worker whose supervisor hosts the brokers."""

AROUND_A_MESSAGE_BYTES: Final = 4096
"""What a frame adds to its message, at most."""


class LocalPart(LoopPart):
    """What a local layer keeps for one loop: its connection to the broker too."""

    def __init__(self, loop: asyncio.AbstractEventLoop, layer: LocalLayer) -> None:
        super().__init__(loop)
        self.link = Link(loop, layer.path, layer._process, LoopEars(layer, self), layer._names)

    def forsake(self) -> None:
        self.link.forsake()

    def appeared(self, group: str) -> None:
        self.link.subscribe(group)

    def vanished(self, group: str) -> None:
        self.link.unsubscribe(group)


class LocalLayer(QueueLayer):
    """Carry messages between the processes of one machine, through a broker on a Unix socket; nothing to install.

    ``path`` is the socket's; all processes of a project find the same one without it. A member that the broker has
    not heard of for ``lease_s`` seconds counts as dead. What stays in this process does not touch the broker; without
    a broker groups reach this process only, and a channel that is not here raises ``LayerUnavailable``.
    """

    extensions = [*QueueLayer.extensions, "members", "presence"]

    def __init__(
        self, *, path: str | os.PathLike[str] | None = None, lease_s: float = 15.0, **options: Any
    ) -> None:
        super().__init__(**options)
        self.presence_changed = tell_listener
        self._names = KeptNames()
        self.path: Path = socket_path(path)
        self.lease_s = positive("lease_s", lease_s)
        if self.max_message_bytes > FRAME_BYTES - AROUND_A_MESSAGE_BYTES:
            raise ConfigurationError(
                f"max_message_bytes is at most {FRAME_BYTES - AROUND_A_MESSAGE_BYTES} on the local layer, not "
                f"{self.max_message_bytes}."
            )
        self.may_host = True
        """Not in a process that is not there to stay: what waits in channels ends with the broker."""
        self._host: Any = None
        self._host_lock = threading.Lock()
        self._has_told_alone = False
        self._thread_link = ThreadLink(self.path, self._process, self._names)
        begin_again_after_fork(self)

    # Sending

    def start_send(self, channel: str, message: Message) -> Awaitable[None]:
        self._sent_count += 1
        if self._is_here(channel):
            self._send(channel, message)
            return DONE
        link = self._link_here()
        if self._is_owned_elsewhere(channel) and link.find():
            return link.send(self._sending(channel, message)(0))
        _, answered = link.ask(self._sending(channel, message))
        answered.add_done_callback(self._count_full)
        return Outcome(answered, f"Sending to {channel}")

    def send_from_thread(self, channel: str, message: Message) -> None:
        if running_loop() is not None:
            self.start_send(channel, message)
            return
        self._sent_count += 1
        if self._is_here(channel):
            self._send(channel, message)
        else:
            self._ask_from_thread(self._sending(channel, message))

    def start_send_later(self, channel: str, message: Message, delay_s: float, token: str) -> Awaitable[None]:
        self._sent_count += 1
        answered = self._ask(self._sending_later(channel, message, delay_s, token))
        return Outcome(answered, f"Sending to {channel} in {delay_s:g} s")

    def send_later_from_thread(self, channel: str, message: Message, delay_s: float, token: str) -> None:
        if running_loop() is not None:
            self.start_send_later(channel, message, delay_s, token)
            return
        self._sent_count += 1
        self._ask_from_thread(self._sending_later(channel, message, delay_s, token))

    async def cancel(self, channel: str, token: str) -> bool:
        return bool(await self._ask(lambda n: CancelLater(n, channel, token)))

    def cancel_from_thread(self, channel: str, token: str) -> bool:
        return bool(self._ask_from_thread(lambda n: CancelLater(n, channel, token)))

    def start_publish(
        self, group: str, message: Message, exclude: str | None = None, policy: Policy = "close"
    ) -> Awaitable[None]:
        self._sent_count += 1
        self.publish_here(group, message, exclude, policy)
        link = self._link_here()
        if not link.find():
            self._tell_alone()
            return DONE
        return link.send(Publish(0, group, pack(message), exclude, policy, self.expiry))

    def publish_from_thread(
        self, group: str, message: Message, exclude: str | None = None, policy: Policy = "close"
    ) -> None:
        if running_loop() is not None:
            self.start_publish(group, message, exclude, policy)
            return
        self._sent_count += 1
        self.publish_here(group, message, exclude, policy)
        packed = pack(message)
        try:
            self._thread_link.ask(
                lambda n: Publish(n, group, packed, exclude, policy, self.expiry), patient=False
            )
        except NoBroker:
            self._tell_alone()
        except LayerUnavailable as error:  # whoever may have missed it is told of a gap
            logger.warning("%s", error)

    def _sending(self, channel: str, message: Message) -> Callable[[int], Send]:
        packed, capacity = pack(message), self.capacity_of(channel)
        return lambda n: Send(n, channel, packed, capacity, self.expiry)

    def _sending_later(
        self, channel: str, message: Message, delay_s: float, token: str
    ) -> Callable[[int], SendLater]:
        """The broker keeps it, also for a channel of this process: whoever knows the token can take it back."""
        packed = pack(message)
        return lambda n: SendLater(n, channel, packed, self.expiry, delay_s, token)

    def _tell_alone(self) -> None:
        if not self._has_told_alone:
            self._has_told_alone = True
            logger.info(
                "No broker of this user is running at %s: messages to groups reach this process only.",
                self.path,
            )

    # Where a channel is

    def _is_here(self, channel: str) -> bool:
        """It is open in this process, or its messages wait in it."""
        return self._is_owned(channel) or self._part_of(channel) is not None

    def _is_owned(self, channel: str) -> bool:
        return process_of(channel) == self._process

    def _is_owned_elsewhere(self, channel: str) -> bool:
        """Another process has made the name."""
        return process_of(channel) not in (None, self._process)

    # Receiving

    async def new_channel(self, prefix: str = "specific") -> str:
        name = self.new_channel_name(prefix)
        self._link_here().own()
        return name

    def _listen(self, channel: str) -> None:
        super()._listen(channel)
        if self._is_owned(channel):
            self.host()
            self._link_here().own()
        else:
            self._link_here().listen(channel)

    def close(self, channel: str) -> None:
        part = self._local_part_of(channel)
        super().close(channel)
        if part is not None:
            part.link.unlisten(channel)
            part.link.exit(None, channel)

    def leave_all(self, channel: str) -> None:
        part = self._local_part_of(channel)
        super().leave_all(channel)
        if part is not None:
            part.link.exit(None, channel)

    async def take(self, channel: str) -> bytes:
        part = self._local_part_here()
        if self._is_owned(channel):
            self.host()  # so do Channels' consumers listen
            part.link.own()
            return await super().take(channel)
        n, frame = await self._take(part, channel, hold=False)
        if frame.n != n:  # who was to have it has passed it on, and may have been going to hold it
            part.link.done(frame.n)
        return received(frame, channel)

    async def take_work(self, channel: str) -> Work:
        if self._is_owned(channel):
            return await super().take_work(channel)
        part = self._local_part_here()
        _, frame = await self._take(part, channel, hold=True)
        return Work(
            received(frame, channel), partial(part.link.done, frame.n), partial(part.link.pass_on, frame)
        )

    async def _take(self, part: LocalPart, channel: str, hold: bool) -> tuple[int, Taken]:
        """The number of the take, and what came."""
        n, taken = part.link.take(channel, hold)
        part.receivers.setdefault(channel, deque()).append(taken)
        try:
            frame: Taken = await taken
        except asyncio.CancelledError:
            if taken.done() and not taken.cancelled() and taken.exception() is None:
                part.link.pass_on(taken.result())
            else:
                part.link.cancel(n)
            raise
        finally:
            forget_receiver(part, channel, taken)
        return n, frame

    # Groups

    def start_join(self, group: str, channel: str) -> Awaitable[None]:
        joining = self._joining(group, channel)
        return DONE if joining is None else Outcome(joining, f"{channel} joining {group}")

    def start_leave(self, group: str, channel: str) -> Awaitable[None]:
        leaving = self._leaving(group, channel)
        return DONE if leaving is None else Outcome(leaving, f"{channel} leaving {group}")

    def _joining(self, group: str, channel: str) -> asyncio.Future[Any] | None:
        """Waits until the channel is a member; ``None`` if it is."""
        part = self._local_connection_part(channel)
        if part is None:
            return self._ask(self._adding(group, channel))
        if running_loop() is not part.loop:
            return self._joining_there(part, group, channel)
        part.registry.join(group, channel)
        return part.link.subscribed(group)

    def _joining_there(self, part: LocalPart, group: str, channel: str) -> asyncio.Future[Any]:
        """The same for a channel that is open in another loop of this process."""
        done: Future[None] = Future()
        done.set_running_or_notify_cancel()

        def begin() -> None:
            part.registry.join(group, channel)
            waiting = part.link.subscribed(group)
            if waiting is None:
                done.set_result(None)
            else:
                waiting.add_done_callback(lambda _: done.set_result(None))

        if not part.handover(begin):
            done.set_result(None)  # the channel has gone with its loop
        return asyncio.wrap_future(done)

    def _leaving(self, group: str, channel: str) -> asyncio.Future[Any] | None:
        part = self._local_connection_part(channel)
        if part is None:
            return self._ask(self._discarding(group, channel))
        part.call(part.registry.leave, group, channel)
        return None

    def add_channel(self, group: str, channel: str) -> None:
        if running_loop() is not None:
            self.start_join(group, channel)
        else:
            self._ask_from_thread(self._adding(group, channel))

    def discard_channel(self, group: str, channel: str) -> None:
        if running_loop() is not None:
            self.start_leave(group, channel)
        else:
            self._ask_from_thread(self._discarding(group, channel))

    def _adding(self, group: str, channel: str) -> Callable[[int], FromMember]:
        if self._is_owned_elsewhere(channel):
            return lambda n: Join(n, group, channel, False)
        until, capacity = self._clock() + self.group_expiry, self.capacity_of(channel)
        return lambda n: AddNamed(n, group, channel, until, capacity)

    def _discarding(self, group: str, channel: str) -> Callable[[int], FromMember]:
        if self._is_owned_elsewhere(channel):
            return lambda n: Join(n, group, channel, True)
        self._names.discard(group, channel)  # also if no broker hears of it
        return lambda n: DiscardNamed(n, group, channel)

    def clear(self) -> None:
        super().clear()
        self._names.clear()

    async def flush(self) -> None:
        await super().flush()
        with suppress(LayerUnavailable):
            await self._ask(Flush)

    # Members and statistics

    async def group_channels(self, group: str) -> list[str]:
        require_group_name(group)
        try:
            channels: list[str] = await self._ask(lambda n: Members(n, group))
        except LayerUnavailable:
            return self._channels_here(group)
        return channels

    async def group_count(self, group: str) -> int:
        require_group_name(group)
        try:
            members: int = await self._ask(lambda n: Count(n, group))
        except LayerUnavailable:
            return len(self._channels_here(group))
        return members

    def channels_from_thread(self, group: str) -> list[str]:
        require_group_name(group)
        try:
            return cast("list[str]", self._thread_link.ask(lambda n: Members(n, group)))
        except LayerUnavailable:
            return self._channels_here(group)

    def count_from_thread(self, group: str) -> int:
        require_group_name(group)
        try:
            return cast(int, self._thread_link.ask(lambda n: Count(n, group)))
        except LayerUnavailable:
            return len(self._channels_here(group))

    def _channels_here(self, group: str) -> list[str]:
        return [channel for part in self._live_parts() for channel in part.registry.channels(group)]

    async def global_statistics(self) -> Statistics:
        here = await super().global_statistics()
        with suppress(LayerUnavailable):
            there: Statistics = await self._ask(lambda n: Figures(n, None))
            here["messages_pending"] += there["messages_pending"]
            here["messages_max_age"] = max(here["messages_max_age"], there["messages_max_age"])
            here["messages_lost_count"] += there["messages_lost_count"]
        return here

    async def channel_statistics(self, channel: str) -> Statistics:
        here = await super().channel_statistics(channel)
        if not self._is_here(channel):
            with suppress(LayerUnavailable):
                return cast(Statistics, await self._ask(lambda n: Figures(n, channel)))
        return here

    # Presence

    def start_enter(
        self, presence: str, key: str, channel: str, meta: dict[str, Any], grace_s: float
    ) -> Awaitable[None]:
        part = self._local_part_of(channel)
        return DONE if part is None else part.link.enter(presence, key, channel, meta, grace_s)

    def start_exit(self, presence: str, channel: str) -> Awaitable[None]:
        part = self._local_part_of(channel)
        if part is not None:
            part.link.exit(presence, channel)
        return DONE

    async def roll(self, presence: str) -> dict[str, list[dict[str, Any]]]:
        people: dict[str, list[dict[str, Any]]] = await self._ask(lambda n: Roll(n, presence))
        return people

    async def roll_count(self, presence: str) -> int:
        people: int = await self._ask(lambda n: RollCount(n, presence))
        return people

    def roll_from_thread(self, presence: str) -> dict[str, list[dict[str, Any]]]:
        people = self._thread_link.ask(lambda n: Roll(n, presence))
        return cast("dict[str, list[dict[str, Any]]]", people)

    def roll_count_from_thread(self, presence: str) -> int:
        return cast(int, self._thread_link.ask(lambda n: RollCount(n, presence)))

    # The broker

    def host(self) -> None:
        """Run the broker in this process while no other does; under a supervisor, which runs it, do nothing."""
        if not self.may_host or self._host is not None or os.environ.get(SUPERVISED) == "1":
            return
        from raceway.layers.local.serving import BrokerHost  # most processes only join

        with self._host_lock:
            if self._host is None:
                host = BrokerHost(self.path, lease_s=self.lease_s)
                host.start()
                self._stop_host = weakref.finalize(self, host.stop)
                self._host = host

    def _stop_hosting(self) -> None:
        with self._host_lock:
            if self._host is not None:
                self._host = None
                self._stop_host()

    def _ask(self, make: Callable[[int], FromMember]) -> asyncio.Future[Any]:
        return self._link_here().ask(make)[1]

    def _ask_from_thread(self, make: Callable[[int], FromMember]) -> Any:
        try:
            return self._thread_link.ask(make)
        except ChannelFull:
            self._full_count += 1
            raise

    # Parts

    def _make_part(self, loop: asyncio.AbstractEventLoop) -> LoopPart:
        return LocalPart(loop, self)

    def _local_part_here(self) -> LocalPart:
        return cast(LocalPart, self._part_here())

    def _local_part_of(self, channel: str) -> LocalPart | None:
        return cast("LocalPart | None", self._part_of(channel))

    def _local_connection_part(self, channel: str) -> LocalPart | None:
        return cast("LocalPart | None", self._connection_part(channel))

    def _link_here(self) -> Link:
        return self._local_part_here().link

    def _forget_part(self, loop: asyncio.AbstractEventLoop) -> None:
        part = self._parts.get(loop)
        super()._forget_part(loop)
        if isinstance(part, LocalPart):
            if loop.is_closed():
                part.link.forsake()
            else:
                part.link.close()

    async def aclose(self) -> None:
        part = self._parts.get(asyncio.get_running_loop())
        if isinstance(part, LocalPart):
            await part.link.stop_taking()
        await super().aclose()
        if not any(True for _ in self._live_parts()):
            self._thread_link.close()
            self._stop_hosting()

    def _begin_again(self) -> None:
        self._names = KeptNames()  # before they are cleared: a thread of the parent may hold their lock
        super()._begin_again()
        self._host_lock = threading.Lock()
        self._thread_link.forsake()
        self._thread_link = ThreadLink(self.path, self._process, self._names)
        if self._host is not None:  # which forgets itself
            self._stop_host.detach()
            self._host = None


class LoopEars:
    """Hand what the broker says to one loop's channels."""

    def __init__(self, layer: LocalLayer, part: LocalPart) -> None:
        self._layer = layer
        self._part = part

    def publish(self, frame: Publish) -> None:
        self._part.registry.publish(
            frame.group, unpack(frame.message), frame.exclude, cast(Policy, frame.policy)
        )

    def deliver(self, frame: Deliver) -> None:
        message = unpack(frame.message)
        if self._layer._is_here(frame.channel):
            with suppress(ChannelFull):  # the sender is in another process; it is counted
                self._layer._send(frame.channel, message)
        else:  # it has just been closed, and the next who listens shall have what came for it
            expires_at = self._layer._clock() + self._layer.expiry
            self._part.link.pass_on(Taken(0, frame.channel, frame.message, expires_at))

    def asked(self, frame: Asked) -> None:
        registry, link = self._part.registry, self._part.link
        value: Any = None
        if frame.what == "count":
            value = registry.count(frame.group)
        elif frame.what == "members":
            value = registry.channels(frame.group)
        elif frame.what == "flush":
            registry.clear()
            self._layer.clear()
        else:
            start = self._layer._joining if frame.what == "join" else self._layer._leaving
            waiting = start(frame.group, frame.channel)
            if waiting is not None:
                waiting.add_done_callback(lambda _: link.reply(Reply(frame.n, None)))
                Outcome(waiting, f"{frame.channel}: {frame.what} of {frame.group}")  # logs a failure
                return
        link.reply(Reply(frame.n, value))

    def changed(self, frame: Changed) -> None:
        if self._layer.presence_changed is not None:
            self._layer.presence_changed(frame.presence, frame.kind, frame.key, frame.metas)

    def missed(self, reason: str) -> None:
        self._layer.tell_gap(reason, self._part)


def received(taken: Taken, channel: str) -> bytes:
    """The event that was taken for who listens to ``channel``, which may be a prefix."""
    encoded = as_event(unpack(taken.message))
    if taken.channel == channel:
        return encoded
    return said_for(Waiting(0, taken.channel, encoded, 0, taken.expires_at))
