"""What layers between processes have in common, whatever carries their frames."""

from __future__ import annotations

import asyncio
import logging
import threading
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from itertools import count
from typing import Any, Final, cast

from raceway.done import DONE
from raceway.errors import ChannelFull, LayerUnavailable
from raceway.layers.distributed.carrier import (
    EVERYBODY,
    Carrier,
    Ears,
    Popped,
    ThreadCarrier,
    group_address,
    process_address,
)
from raceway.layers.distributed.ears import said_at_desk
from raceway.layers.distributed.frames import (
    Ask,
    Cancel,
    Deliver,
    Frame,
    Join,
    Publish,
    Reply,
    decode,
    encode,
)
from raceway.layers.distributed.outcomes import copy_outcome, ended, tell_short, told
from raceway.layers.distributed.part import Asking, DistributedPart
from raceway.layers.front import LoopPart, Work, running_loop
from raceway.layers.mailroom import QueueLayer, begin_again_after_fork, said_for, wake
from raceway.layers.presences import tell_listener
from raceway.layers.queues import Waiting
from raceway.layers.roster import Roll
from raceway.layers.sealing import Seal
from raceway.layers.spec import as_event, process_of, require_group_name
from raceway.layers.statistics import Statistics
from raceway.layers.strand import Outcome
from raceway.registry import Message
from raceway.registry.policy import Policy

logger = logging.getLogger("raceway.layers")

ASK_S: Final = 5.0
"""How long the answers of other processes are waited for."""

RETRY_S: Final = 1.0
"""An open named channel looks again so long after the carrier could not be reached."""


class DistributedLayer(QueueLayer):
    """Carry messages between processes, on any number of machines, by way of a ``Carrier``.

    A backend gives ``make_carrier`` and ``make_thread_carrier``. What a connection is sent inside its own process does
    not leave it; nor does a group message on its way to members of this process, if ``hands_over_first``.
    ``symmetric_encryption_keys`` and ``serializer_format`` are for what leaves it: see ``raceway.layers.sealing.Seal``.
    """

    extensions = [*QueueLayer.extensions, "members", "presence"]
    hands_over_first: bool = True
    """A group message reaches the members of its own process at once, whatever becomes of its way to the others."""

    def __init__(
        self,
        *,
        symmetric_encryption_keys: Any = (),
        serializer_format: Any = "msgpack",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.presence_changed = tell_listener
        self._seal = Seal(symmetric_encryption_keys, serializer_format)
        self._thread: ThreadCarrier | None = None
        self._thread_lock = threading.Lock()
        self._asks = count(1)
        self._inbox: DistributedPart | None = None
        """Of several loops of a process one hears what is for the process."""
        begin_again_after_fork(self)

    # What a backend gives

    @abstractmethod
    def make_carrier(self, loop: asyncio.AbstractEventLoop, ears: Ears) -> Carrier:
        """A carrier for a loop, made in its thread; it connects when it has something to do."""

    @abstractmethod
    def make_thread_carrier(self) -> ThreadCarrier: ...

    def on_lost(self, reason: str) -> None:
        """For backends: a loop's connection was lost; in its thread."""

    def on_restored(self, reason: str) -> None:
        """For backends: it is there again, and everything is subscribed; in its thread."""

    # Sending

    def start_send(self, channel: str, message: Message) -> Awaitable[None]:
        self._sent_count += 1
        if self._is_here(channel):
            self._send(channel, message)
            return DONE
        return Outcome(self._start_carrying(channel, message), f"Sending to {channel}")

    def send_from_thread(self, channel: str, message: Message) -> None:
        if running_loop() is not None:
            self.start_send(channel, message)
            return
        self._sent_count += 1
        if self._is_here(channel):
            self._send(channel, message)
        else:
            self._carry_from_thread(channel, message)

    def _start_carrying(self, channel: str, message: Message) -> asyncio.Future[Any]:
        """Send to a channel that is not here."""
        carrier, owner, sealed = self._carrier_here(), process_of(channel), self._seal.seal(message)
        if owner is not None:
            return carrier.cast(process_address(owner), encode(Deliver(channel, sealed)))
        put = carrier.put(channel, sealed, self.capacity_of(channel), self.expiry)
        put.add_done_callback(self._count_full)
        return put

    def _carry_from_thread(self, channel: str, message: Message) -> None:
        owner, sealed = process_of(channel), self._seal.seal(message)
        if owner is not None:
            self._thread_carrier.cast(process_address(owner), encode(Deliver(channel, sealed)))
            return
        try:
            self._thread_carrier.put(channel, sealed, self.capacity_of(channel), self.expiry)
        except ChannelFull:
            self._full_count += 1
            raise

    def start_send_later(self, channel: str, message: Message, delay_s: float, token: str) -> Awaitable[None]:
        if self._is_here(channel):
            super().send_later_from_thread(channel, message, delay_s, token)
            return DONE
        carrier, owner, sealed = self._carrier_here(), process_of(channel), self._seal.seal(message)
        carried: asyncio.Future[Any]
        if owner is None:
            carried = carrier.put_later(channel, sealed, self.expiry, delay_s, token)
        else:
            carried = carrier.cast(process_address(owner), encode(Deliver(channel, sealed, delay_s, token)))
        return Outcome(carried, f"Sending to {channel} in {delay_s} s")

    def send_later_from_thread(self, channel: str, message: Message, delay_s: float, token: str) -> None:
        if running_loop() is not None:
            self.start_send_later(channel, message, delay_s, token)
        elif self._is_here(channel):
            super().send_later_from_thread(channel, message, delay_s, token)
        else:
            owner, sealed = process_of(channel), self._seal.seal(message)
            if owner is None:
                self._thread_carrier.put_later(channel, sealed, self.expiry, delay_s, token)
            else:
                frame = encode(Deliver(channel, sealed, delay_s, token))
                self._thread_carrier.cast(process_address(owner), frame)

    async def cancel(self, channel: str, token: str) -> bool:
        if self._is_here(channel):
            return super().cancel_from_thread(channel, token)
        owner = process_of(channel)
        if owner is None:
            return await self._carrier_here().cancel(channel, token)
        return any(await self.gather(process_address(owner), lambda r, n: Cancel(r, n, channel, token)))

    def cancel_from_thread(self, channel: str, token: str) -> bool:
        if self._is_here(channel):
            return super().cancel_from_thread(channel, token)
        owner = process_of(channel)
        if owner is None:
            return self._thread_carrier.cancel(channel, token)
        answers = self._gather_from_thread(process_address(owner), lambda r: Cancel(r, 0, channel, token))
        return any(answers)

    def start_publish(
        self, group: str, message: Message, exclude: str | None = None, policy: Policy = "close"
    ) -> Awaitable[None]:
        self._sent_count += 1
        frame = self._published(group, message, exclude, policy)
        published = self._carrier_here().publish(group, frame)
        done: asyncio.Future[None] = published.get_loop().create_future()
        published.add_done_callback(partial(self._send_to_named, message, exclude, done))
        return Outcome(done, f"Sending to the group {group}")

    def publish_from_thread(
        self, group: str, message: Message, exclude: str | None = None, policy: Policy = "close"
    ) -> None:
        if running_loop() is not None:
            self.start_publish(group, message, exclude, policy)
            return
        self._sent_count += 1
        frame = self._published(group, message, exclude, policy)
        for channel in self._thread_carrier.publish(group, frame):
            if channel != exclude:
                with suppress(ChannelFull):  # each member gets what it has room for
                    if self._is_here(channel):
                        self._send(channel, message)
                    else:
                        self._carry_from_thread(channel, message)

    def _published(self, group: str, message: Message, exclude: str | None, policy: Policy) -> bytes:
        """Hand a message over in this process, and return its frame for the others."""
        sealed = self._seal.seal(message)
        if self.hands_over_first:
            self.publish_here(group, message, exclude, policy)
        return encode(Publish(self._process if self.hands_over_first else "", sealed, exclude, policy))

    def _send_to_named(
        self,
        message: Message,
        exclude: str | None,
        done: asyncio.Future[None],
        published: asyncio.Future[list[str]],
    ) -> None:
        """Send to the members that are known by name; ``done`` ends when that has been tried."""
        if published.cancelled():
            done.cancel()
        elif (error := published.exception()) is not None:
            if not done.done():
                done.set_exception(error)
        else:
            carried = self._start_carrying_to(
                [channel for channel in published.result() if channel != exclude], message
            )
            if carried:
                asyncio.gather(*carried, return_exceptions=True).add_done_callback(lambda _: wake(done))
            else:
                wake(done)

    def _start_carrying_to(self, channels: list[str], message: Message) -> list[asyncio.Future[Any]]:
        """Send to each of these members, of which those that are here have it at once."""
        carried = []
        for channel in channels:
            if self._is_here(channel):
                with suppress(ChannelFull):
                    self._send(channel, message)
            else:
                carried.append(self._start_carrying(channel, message))
                carried[-1].add_done_callback(partial(told, channel))
        return carried

    # Where a channel is

    def _is_here(self, channel: str) -> bool:
        """It is a connection's, in this process, or its messages wait in it."""
        return "!" in channel and (self._is_owned(channel) or self._part_of(channel) is not None)

    def _is_owned(self, channel: str) -> bool:
        return process_of(channel) == self._process

    # Receiving

    async def new_channel(self, prefix: str = "specific") -> str:
        await self.aopen()
        return self.new_channel_name(prefix)

    def _listen(self, channel: str) -> None:
        super()._listen(channel)
        part = self._distributed_part_here()
        if self._is_owned(channel):
            self._listen_to_inbox(part)
        elif process_of(channel) is None:
            part.pump(channel, self._pump(part, channel))

    def close(self, channel: str) -> None:
        part = self._part_of(channel)
        super().close(channel)
        if part is not None:
            cast(DistributedPart, part).stop_pump(channel)
            cast(DistributedPart, part).attending.exit(None, channel)

    def leave_all(self, channel: str) -> None:
        part = self._part_of(channel)
        super().leave_all(channel)
        if part is not None:
            cast(DistributedPart, part).attending.exit(None, channel)

    async def _pump(self, part: DistributedPart, channel: str) -> None:
        """Hand over what comes for a named channel that is open."""
        while True:
            try:
                popped = await part.receiving.pop(channel, hold=False)
            except LayerUnavailable as error:
                logger.warning("What waits for %s cannot be had: %s", channel, error)
                await asyncio.sleep(RETRY_S)
                continue
            with suppress(ValueError, ChannelFull):  # both are counted
                part.registry.send(channel, self._seal.unseal(cast(bytes, popped.entry)))

    async def take(self, channel: str) -> bytes:
        part = self._distributed_part_here()
        if self._is_owned(channel):
            await self._own(part)
            return await super().take(channel)
        while True:
            popped = await part.receiving.pop(channel, hold=False)
            with suppress(ValueError):  # it is counted
                return self._opened(channel, popped)

    async def take_work(self, channel: str) -> Work:
        part = self._distributed_part_here()
        if self._is_owned(channel):
            return await super().take_work(channel)
        while True:
            popped = await part.receiving.pop(channel, hold=True)
            carrier = part.carrier
            try:
                encoded = self._opened(channel, popped)
            except ValueError:
                carrier.release(popped)
                continue
            return Work(encoded, partial(carrier.release, popped), partial(carrier.put_back, popped))

    def _opened(self, channel: str, popped: Popped) -> bytes:
        """Raises ``ValueError`` for what cannot be read."""
        encoded = as_event(self._seal.unseal(cast(bytes, popped.entry)))
        if popped.channel == channel:
            return encoded
        return said_for(Waiting(0, popped.channel, encoded, 0, 0))

    # The inbox: what other processes send to channels of this one

    def _listen_to_inbox(self, part: DistributedPart) -> asyncio.Future[Any] | None:
        """Have one of the loops of this process hear what is for it; ends when it does."""
        address = process_address(self._process)
        if self._inbox is None or self._inbox.loop.is_closed():
            self._inbox = part
            pending = part.subscribe(address)
            if pending is not None:
                pending.add_done_callback(say_if_absent)
            return pending
        return self._inbox.pending(address) if self._inbox is part else None

    async def _own(self, part: DistributedPart) -> None:
        pending = self._listen_to_inbox(part)
        if pending is not None:
            await ended(pending)

    def _give_inbox(self, part: LoopPart) -> None:
        """Another loop of this process takes over from one that ends."""
        if self._inbox is not part:
            return
        self._inbox = None
        for other in self._live_parts():
            if other is not part and other.registry:
                other.call(self._listen_to_inbox, other)
                self.tell_gap("the event loop that heard what is for this process has ended", other)
                return

    # Groups

    def join(self, group: str, channel: str) -> None:
        """From a thread: wait until nothing sent from now on is missed. Raises ``LayerUnavailable``."""
        part = cast("DistributedPart | None", self._connection_part(channel))
        if part is None or running_loop() is not None:
            super().join(group, channel)
            return
        joined: Future[Any] = Future()
        part.handover(self._begin_joining, part, group, channel, joined)
        with suppress(TimeoutError):  # a loop that is stuck hands nothing over either
            joined.result(ASK_S)

    def _begin_joining(self, part: DistributedPart, group: str, channel: str, joined: Future[Any]) -> None:
        part.registry.join(group, channel)
        pending = part.pending(group_address(group))
        if pending is None:
            joined.set_result(None)
        else:
            pending.add_done_callback(partial(copy_outcome, joined))

    def start_join(self, group: str, channel: str) -> Awaitable[None]:
        joining = self._joining(group, channel)
        return DONE if joining is None else Outcome(joining, f"{channel} joining {group}")

    def start_leave(self, group: str, channel: str) -> Awaitable[None]:
        part = self._connection_part(channel)
        if part is not None:
            part.call(part.registry.leave, group, channel)
            return DONE
        return Outcome(self._telling(group, channel, leaves=True), f"{channel} leaving {group}")

    def _joining(self, group: str, channel: str) -> asyncio.Future[Any] | None:
        """Ends when the channel is a member; ``None`` if it is."""
        part = cast("DistributedPart | None", self._connection_part(channel))
        if part is None:
            return self._telling(group, channel, leaves=False)
        if running_loop() is part.loop:
            part.registry.join(group, channel)
            pending = part.pending(group_address(group))
            return None if pending is None else part.run(ended(pending))
        here = self._distributed_part_here()
        return here.run(self._join_there(part, group, channel))

    async def _join_there(self, part: DistributedPart, group: str, channel: str) -> None:
        """For a channel that is open in another loop of this process."""

        async def join() -> None:
            part.registry.join(group, channel)
            pending = part.pending(group_address(group))
            if pending is not None:
                await ended(pending)

        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(join(), part.loop))

    def _telling(self, group: str, channel: str, *, leaves: bool) -> asyncio.Future[Any]:
        """A membership that is not a connection's of this process: another process's, or kept by name."""
        part, owner = self._distributed_part_here(), process_of(channel)
        if owner not in (None, self._process):
            return part.run(
                self.gather(process_address(owner), lambda r, n: Join(r, n, group, channel, leaves))
            )
        if leaves:
            return part.carrier.discard_named(group, channel)
        return part.carrier.add_named(group, channel, self.group_expiry)

    def add_channel(self, group: str, channel: str) -> None:
        self._tell_from_thread(group, channel, leaves=False)

    def discard_channel(self, group: str, channel: str) -> None:
        self._tell_from_thread(group, channel, leaves=True)

    def _tell_from_thread(self, group: str, channel: str, *, leaves: bool) -> None:
        owner = process_of(channel)
        if running_loop() is not None:
            (self.start_leave if leaves else self.start_join)(group, channel)
        elif owner not in (None, self._process):
            self._gather_from_thread(process_address(owner), lambda r: Join(r, 0, group, channel, leaves))
        elif leaves:
            self._thread_carrier.discard_named(group, channel)
        else:
            self._thread_carrier.add_named(group, channel, self.group_expiry)

    async def flush(self) -> None:
        await super().flush()
        await self.gather(EVERYBODY, lambda r, n: Ask(r, n, "flush", ""))
        await self._carrier_here().flush()

    # Members and statistics

    async def group_channels(self, group: str) -> list[str]:
        require_group_name(group)
        lists: list[list[str]] = await self.gather(EVERYBODY, lambda r, n: Ask(r, n, "channels", group))
        return sum(lists, await self._carrier_here().named(group))

    async def group_count(self, group: str) -> int:
        require_group_name(group)
        counts: list[int] = await self.gather(EVERYBODY, lambda r, n: Ask(r, n, "count", group))
        return sum(counts, len(await self._carrier_here().named(group)))

    def channels_from_thread(self, group: str) -> list[str]:
        require_group_name(group)
        lists: list[list[str]] = self._gather_from_thread(EVERYBODY, lambda r: Ask(r, 0, "channels", group))
        return sum(lists, self._thread_carrier.named(group))

    def count_from_thread(self, group: str) -> int:
        require_group_name(group)
        counts: list[int] = self._gather_from_thread(EVERYBODY, lambda r: Ask(r, 0, "count", group))
        return sum(counts, len(self._thread_carrier.named(group)))

    async def global_statistics(self) -> Statistics:
        """What this process has sent, and what waits in all named channels."""
        here = await super().global_statistics()
        there = await self._carrier_here().figures(None)
        here["messages_pending"] += there["messages_pending"]
        here["messages_max_age"] = max(here["messages_max_age"], there["messages_max_age"])
        here["messages_lost_count"] += there["messages_lost_count"]
        return here

    async def channel_statistics(self, channel: str) -> Statistics:
        here = await super().channel_statistics(channel)
        return here if "!" in channel else await self._carrier_here().figures(channel)

    # Presence

    def start_enter(
        self, presence: str, key: str, channel: str, meta: dict[str, Any], grace_s: float
    ) -> Awaitable[None]:
        part = cast("DistributedPart | None", self._part_of(channel))
        if part is None:
            return DONE
        entered = part.attending.enter(presence, key, channel, meta, grace_s)
        return Outcome(entered, f"{channel} entering {presence}")

    def start_exit(self, presence: str, channel: str) -> Awaitable[None]:
        part = cast("DistributedPart | None", self._part_of(channel))
        if part is not None:
            part.attending.exit(presence, channel)
        return DONE

    async def roll(self, presence: str) -> Roll:
        return cast(Roll, await self._at_desk("roll", presence) or {})

    async def roll_count(self, presence: str) -> int:
        return cast(int, await self._at_desk("roll_count", presence) or 0)

    def roll_from_thread(self, presence: str) -> Roll:
        return cast(Roll, self._at_desk_from_thread("roll", presence) or {})

    def roll_count_from_thread(self, presence: str) -> int:
        return cast(int, self._at_desk_from_thread("roll_count", presence) or 0)

    async def _at_desk(self, what: str, presence: str) -> Any:
        return said_at_desk(await self.gather(EVERYBODY, lambda r, n: Ask(r, n, what, presence)))

    def _at_desk_from_thread(self, what: str, presence: str) -> Any:
        return said_at_desk(self._gather_from_thread(EVERYBODY, lambda r: Ask(r, 0, what, presence)))

    # Questions

    async def gather(self, address: str, make: Callable[[str, int], Frame]) -> list[Any]:
        """The answers of all who hear a question, but of those that take longer than ``ASK_S``."""
        part, n = self._distributed_part_here(), next(self._asks)
        asking = part.asking[n] = Asking(part.loop)
        try:
            await part.hear_answers()
            asking.expect(await part.carrier.cast(address, encode(make(part.reply_to, n))))
            with suppress(TimeoutError):
                await asyncio.wait_for(asking.done, ASK_S)
        finally:
            del part.asking[n]
        tell_short(asking.missing)
        return asking.answers

    def _gather_from_thread(self, address: str, make: Callable[[str], Frame]) -> list[Any]:
        frames, missing = self._thread_carrier.gather(address, lambda r: encode(make(r)), ASK_S)
        tell_short(missing)
        return [frame.value for frame in map(decode, frames) if isinstance(frame, Reply)]

    # Parts

    def _make_part(self, loop: asyncio.AbstractEventLoop) -> LoopPart:
        return DistributedPart(loop, self)

    def _distributed_part_here(self) -> DistributedPart:
        return cast(DistributedPart, self._part_here())

    def _carrier_here(self) -> Carrier:
        return self._distributed_part_here().carrier

    @property
    def _thread_carrier(self) -> ThreadCarrier:
        with self._thread_lock:
            if self._thread is None:
                self._thread = self.make_thread_carrier()
            return self._thread

    def _forget_part(self, loop: asyncio.AbstractEventLoop) -> None:
        part = cast("DistributedPart | None", self._parts.get(loop))
        super()._forget_part(loop)
        if part is not None:
            if loop.is_closed():
                part.forsake()
            self._give_inbox(part)

    async def aopen(self) -> None:
        with suppress(LayerUnavailable):  # the log tells
            await self._own(self._distributed_part_here())

    async def aclose(self) -> None:
        part = cast("DistributedPart | None", self._parts.get(asyncio.get_running_loop()))
        await super().aclose()
        if part is not None:
            await part.aclose()
        if not any(True for _ in self._live_parts()):
            with self._thread_lock:
                if self._thread is not None:
                    self._thread.close()
                    self._thread = None

    def _begin_again(self) -> None:
        super()._begin_again()
        self._inbox = None
        self._thread_lock = threading.Lock()
        if self._thread is not None:
            self._thread.forsake()
            self._thread = None


def say_if_absent(pending: asyncio.Future[Any]) -> None:
    if not pending.cancelled() and (error := pending.exception()) is not None:
        logger.warning("The channel layer is not there yet: %s", error)
