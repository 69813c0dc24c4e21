"""What layers between processes have in common, whatever carries their frames."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import threading
import weakref
from abc import abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from itertools import count
from typing import Any, Final, cast

from raceway.done import DONE
from raceway.errors import ChannelFull, LayerUnavailable
from raceway.layers.attending import Attending
from raceway.layers.carrier import (
    EVERYBODY,
    Carrier,
    Ears,
    Popped,
    ThreadCarrier,
    channel_address,
    group_address,
    process_address,
)
from raceway.layers.frames import (
    Ask,
    Beat,
    Cancel,
    Changed,
    Deliver,
    Enter,
    Exit,
    Frame,
    Gone,
    Join,
    Publish,
    Reply,
    Whole,
    decode,
    encode,
)
from raceway.layers.front import LoopPart, Work, running_loop
from raceway.layers.mailroom import QueueLayer, forget_receiver, said_for, wake
from raceway.layers.presences import tell_listener
from raceway.layers.queues import Waiting
from raceway.layers.roster import PRESENCE_GROUPS, Roll
from raceway.layers.sealing import Seal
from raceway.layers.spec import as_event, process_of, require_group_name
from raceway.layers.statistics import Statistics
from raceway.layers.strand import Outcome
from raceway.registry import Close, Gap, Message, Push
from raceway.registry import Deliver as DeliverHere
from raceway.registry.policy import Policy

logger = logging.getLogger("raceway.layers")

ASK_S: Final = 5.0
"""How long the answers of other processes are waited for."""

NEWCOMER_PAUSES_S: Final = (0.02, 0.05, 0.1)
"""A process that does not hear a question is asked again after these pauses."""

LOOK_S: Final = 5.0
"""A receiver that hears nothing looks so often whether something waits."""

LINGER_S: Final = 5.0
"""A loop hears of a named channel for so long after its last receiver has gone with a message: most come back."""

LINGERING_CHANNELS: Final = 1000
"""Of so many at most; of more it is not worth it."""

RETRY_S: Final = 1.0
"""An open named channel looks again so long after the carrier could not be reached."""


class Asking:
    """A question, until so many have answered as have heard it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.answers: list[Any] = []
        self.heard_by: int | None = None
        self.done: asyncio.Future[None] = loop.create_future()

    def answer(self, value: Any) -> None:
        self.answers.append(value)
        self._check()

    def expect(self, heard_by: int) -> None:
        self.heard_by = heard_by
        self._check()

    @property
    def missing(self) -> int:
        return 0 if self.heard_by is None else max(0, self.heard_by - len(self.answers))

    def _check(self) -> None:
        if self.heard_by is not None and not self.missing and not self.done.done():
            self.done.set_result(None)


class DistributedPart(LoopPart):
    """What a distributed layer keeps for one loop: its carrier, what it waits for, and its tasks."""

    def __init__(self, loop: asyncio.AbstractEventLoop, layer: DistributedLayer) -> None:
        super().__init__(loop)
        self.ears = LoopEars(layer, self)
        self.carrier = layer.make_carrier(loop, self.ears)
        self.reply_to = f"r:{secrets.token_hex(8)}"
        self.asking: dict[int, Asking] = {}
        self._hears_answers = False
        self._pending: dict[str, asyncio.Future[Any]] = {}
        self._listening: dict[str, int] = {}
        self._lingering: dict[str, float] = {}
        """Until when an address stays subscribed to that nobody listens to, the earliest first."""
        self._linger_timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._pumps: dict[str, asyncio.Task[Any]] = {}
        self._hears_everybody = False
        self._next_question = layer._asks
        self.attending = Attending(self, layer, layer._clock)

    # Subscriptions

    def appeared(self, group: str) -> None:
        self.subscribe(group_address(group))

    def vanished(self, group: str) -> None:
        self.unsubscribe(group_address(group))

    def subscribe(self, address: str) -> asyncio.Future[Any] | None:
        """Ends when it is in force; ``None`` if it is. Whoever hears anything hears what is for everybody."""
        if not self._hears_everybody:
            self._hears_everybody = True
            self.subscribe(EVERYBODY)
        waited_for = [self.carrier.subscribe(address), self._pending.get(EVERYBODY)]
        pendings = [pending for pending in waited_for if pending is not None]
        if not pendings:
            return None
        pending = self._pending[address] = asyncio.gather(*pendings)
        pending.add_done_callback(partial(self._subscribed, address))
        return pending

    def unsubscribe(self, address: str) -> None:
        self._pending.pop(address, None)
        self.carrier.unsubscribe(address)

    def pending(self, address: str) -> asyncio.Future[Any] | None:
        """Ends when a subscription that was begun is in force; ``None`` if it is."""
        return self._pending.get(address)

    def _subscribed(self, address: str, pending: asyncio.Future[Any]) -> None:
        if self._pending.get(address) is pending:
            del self._pending[address]
        if not pending.cancelled():
            pending.exception()  # it stands, and who waits for it has been told

    def listen_for_answers(self) -> asyncio.Future[Any] | None:
        """Hear answers from now on; ends when they are heard."""
        if not self._hears_answers:
            self._hears_answers = True
            self.subscribe(self.reply_to)
        return self.pending(self.reply_to)

    def expect_answer(self, wait_s: float) -> tuple[int, asyncio.Future[bool]]:
        """A number for a question to one carrier, and whether it answers within ``wait_s``; its answer is not kept."""
        self.listen_for_answers()
        n = next(self._next_question)
        asking = self.asking[n] = Asking(self.loop)
        asking.expect(1)
        answered: asyncio.Future[bool] = self.loop.create_future()

        def settle(_: object = None) -> None:
            timer.cancel()
            self.asking.pop(n, None)
            if not answered.done():
                answered.set_result(bool(asking.answers))

        timer = self.loop.call_later(wait_s, settle)
        asking.done.add_done_callback(settle)
        return n, answered

    def cast(self, address: str, frame: bytes, what: str) -> None:
        """Carry something whose failure is only told in the log."""
        told(what, self.carrier.cast(address, frame))

    def reply(self, address: str, reply: Reply) -> None:
        if address == self.reply_to:
            self.answered(reply)
        else:
            self.cast(address, encode(reply), "An answer")

    def answered(self, reply: Reply) -> None:
        asking = self.asking.get(reply.n)
        if asking is not None:
            asking.answer(reply.value)

    def listen(self, channel: str) -> asyncio.Future[Any] | None:
        """Hear when a named channel has something; as often as it is said, ``unlisten`` takes it back."""
        address = channel_address(channel)
        self._listening[address] = self._listening.get(address, 0) + 1
        if self._lingering.pop(address, None) is None and self._listening[address] == 1:
            self.subscribe(address)
        return self.pending(address)

    def unlisten(self, channel: str, *, linger: bool) -> None:
        address = channel_address(channel)
        self._listening[address] -= 1
        if self._listening[address]:
            return
        del self._listening[address]
        if not linger or len(self._lingering) >= LINGERING_CHANNELS:
            self.unsubscribe(address)
            return
        self._lingering[address] = self.loop.time() + LINGER_S
        if self._linger_timer is None:
            self._linger_timer = self.loop.call_later(LINGER_S, self._end_lingering)

    def _end_lingering(self) -> None:
        self._linger_timer = None
        now = self.loop.time()
        for address, until in list(self._lingering.items()):
            if until > now:
                self._linger_timer = self.loop.call_at(until, self._end_lingering)
                return
            del self._lingering[address]
            self.unsubscribe(address)

    # Receivers of named channels

    def wake_for(self, address: str) -> None:
        """Let one receiver look, who lets the next; all those of a prefix, as what came may be another's."""
        for channel in list(self.receivers):
            if channel_address(channel) == address:
                self.wake_one(channel)

    def wake_one(self, channel: str) -> None:
        for woken in self.receivers.get(channel, ()):
            if not woken.done():
                woken.set_result(None)
                return

    def wake_all(self) -> None:
        for receivers in self.receivers.values():
            for woken in receivers:
                wake(woken)

    # Tasks

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """A task of this loop that ends with the layer."""
        task = self.loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def pump(self, channel: str, coroutine: Coroutine[Any, Any, None]) -> None:
        self._pumps[channel] = self.run(coroutine)

    def stop_pump(self, channel: str) -> None:
        task = self._pumps.pop(channel, None)
        if task is not None:
            task.cancel()

    async def aclose(self) -> None:
        await self.attending.aclose()
        if self._linger_timer is not None:
            self._linger_timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.carrier.aclose()


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
        _layers.add(self)

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

    def _count_full(self, put: asyncio.Future[Any]) -> None:
        if not put.cancelled() and isinstance(put.exception(), ChannelFull):
            self._full_count += 1

    # Where a channel is

    def _is_here(self, channel: str) -> bool:
        """It is a connection's, in this process, or its messages wait in it."""
        return "!" in channel and (self._is_owned(channel) or self._part_of(channel) is not None)

    def _is_owned(self, channel: str) -> bool:
        return process_of(channel) == self._process

    # Receiving

    async def new_channel(self, prefix: str = "specific") -> str:
        name = self.new_channel_name(prefix)
        await self._own(self._distributed_part_here())
        return name

    def open(
        self,
        channel: str,
        deliver: DeliverHere,
        push: Push | None = None,
        close: Close | None = None,
        gap: Gap | None = None,
    ) -> None:
        super().open(channel, deliver, push, close, gap)
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
                popped = await self._pop(part, channel, hold=False)
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
            popped = await self._pop(part, channel, hold=False)
            with suppress(ValueError):  # it is counted
                return self._opened(channel, popped)

    async def take_work(self, channel: str) -> Work:
        part = self._distributed_part_here()
        if self._is_owned(channel):
            return await super().take_work(channel)
        while True:
            popped = await self._pop(part, channel, hold=True)
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

    async def _pop(self, part: DistributedPart, channel: str, hold: bool) -> Popped:
        """Wait for the next message of a named channel; a cancelled wait loses none."""
        woken = self._wait(part, channel)
        pending = part.listen(channel)
        has_message = False
        try:
            if pending is not None:
                await asyncio.shield(pending)
            while True:
                if woken.cancelled():  # the layer was closed meanwhile
                    raise asyncio.CancelledError
                popped = await self._pop_now(part.carrier, channel, hold)
                if popped.entry is not None:
                    has_message = True
                    return popped
                wait_s = LOOK_S if popped.wait_s is None else min(popped.wait_s, LOOK_S)
                timer = part.loop.call_later(wait_s, wake, woken)
                try:
                    await woken
                finally:
                    timer.cancel()
                forget_receiver(part, channel, woken)
                woken = self._wait(part, channel)
        except LayerUnavailable:
            if woken.cancelled():  # it was closed with the layer
                raise asyncio.CancelledError from None
            raise
        finally:
            forget_receiver(part, channel, woken)
            part.unlisten(channel, linger=has_message)
            part.wake_one(channel)  # there may be more, or what this one was woken for

    def _wait(self, part: DistributedPart, channel: str) -> asyncio.Future[None]:
        woken: asyncio.Future[None] = part.loop.create_future()
        part.receivers.setdefault(channel, deque()).append(woken)
        return woken

    async def _pop_now(self, carrier: Carrier, channel: str, hold: bool) -> Popped:
        popping = carrier.pop(channel, hold)
        try:
            return await asyncio.shield(popping)
        except asyncio.CancelledError:
            popping.add_done_callback(partial(put_back, carrier))
            raise

    # The inbox: what other processes send to channels of this one

    def _listen_to_inbox(self, part: DistributedPart) -> asyncio.Future[Any] | None:
        """Have one of the loops of this process hear what is for it; ends when it does."""
        address = process_address(self._process)
        if self._inbox is None or self._inbox.loop.is_closed():
            self._inbox = part
            return part.subscribe(address)
        return self._inbox.pending(address) if self._inbox is part else None

    async def _own(self, part: DistributedPart) -> None:
        pending = self._listen_to_inbox(part)
        if pending is not None:
            await asyncio.shield(pending)

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
        pending = part.listen_for_answers()
        try:
            if pending is not None:
                await asyncio.shield(pending)
            asking.expect(await self._ask(part.carrier, address, encode(make(part.reply_to, n))))
            with suppress(TimeoutError):
                await asyncio.wait_for(asking.done, ASK_S)
        finally:
            del part.asking[n]
        tell_short(asking.missing)
        return asking.answers

    async def _ask(self, carrier: Carrier, address: str, frame: bytes) -> int:
        """Cast a question; how many hear it. A process that has just made its first channel may not listen yet."""
        heard_by = await carrier.cast(address, frame)
        pauses_s = NEWCOMER_PAUSES_S if address.startswith(process_address("")) else ()
        for pause_s in pauses_s:
            if heard_by:
                break
            await asyncio.sleep(pause_s)
            heard_by = await carrier.cast(address, frame)
        return heard_by

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
                part.carrier.forsake()
            self._give_inbox(part)

    async def aopen(self) -> None:
        try:
            await self._own(self._distributed_part_here())
        except LayerUnavailable as error:
            logger.warning("The channel layer is not there yet: %s", error)

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
        """In the child of a fork: what the parent holds is not ours, and another process needs another name."""
        for part in self._parts.values():
            cast(DistributedPart, part).carrier.forsake()
        self._parts = {}
        self._inbox = None
        self._parts_lock = threading.Lock()
        self._lock = threading.Lock()
        self._thread_lock = threading.Lock()
        if self._thread is not None:
            self._thread.forsake()
            self._thread = None
        self.clear()
        self._process = secrets.token_hex(8)
        self._numbers = count(1)


class LoopEars:
    """Hand what a carrier brings to one loop's channels."""

    def __init__(self, layer: DistributedLayer, part: DistributedPart) -> None:
        self._layer = layer
        self._part = part

    def heard(self, address: str, frame: bytes) -> None:
        if address.startswith("c:"):
            self._part.wake_for(address)
            return
        try:
            said = decode(frame)
            if isinstance(said, Publish):
                self._publish(address[2:], said)
            elif isinstance(said, Deliver):
                self._deliver(said)
            elif isinstance(said, Reply):
                self._part.answered(said)
            elif isinstance(said, Enter | Exit | Beat | Whole | Gone):
                self._part.attending.heard(said)
            elif isinstance(said, Changed):
                if self._layer.presence_changed is not None:
                    self._layer.presence_changed(said.presence, said.kind, said.key, said.metas)
            else:
                self._answer(said)
        except ValueError as error:  # not one of ours, or sealed with another key
            logger.debug("A frame to %s is dropped: %s", address, error)

    def _publish(self, group: str, frame: Publish) -> None:
        if frame.process != self._layer._process:
            message = self._layer._seal.unseal(frame.message)
            self._part.registry.publish(group, message, frame.exclude, cast(Policy, frame.policy))

    def _deliver(self, frame: Deliver) -> None:
        message = self._layer._seal.unseal(frame.message)
        if frame.delay_s:
            self._layer.send_later_from_thread(frame.channel, message, frame.delay_s, frame.token)
        else:
            with suppress(ChannelFull):  # the sender is in another process; it is counted
                self._layer._send(frame.channel, message)

    def _answer(self, frame: Ask | Join | Cancel) -> None:
        part = self._part
        value: Any = None
        if isinstance(frame, Join):
            part.run(self._join(frame))
            return
        if isinstance(frame, Cancel):
            value = self._layer.cancel_from_thread(frame.channel, frame.token)
        elif frame.what == "count":
            value = part.registry.count(frame.name)
        elif frame.what == "channels":
            value = part.registry.channels(frame.name)
        elif frame.what in ("roll", "roll_count"):
            part.run(self._answer_at_desk(frame))
            return
        elif frame.what == "again":
            value = part.attending.say_again()
        elif frame.what == "whole":
            part.attending.say_all()
        elif frame.what == "lost":
            self._layer.tell_gap("the process that kept the presences has gone", part, PRESENCE_GROUPS)
        elif frame.what == "elect":
            part.attending.elect()
        elif frame.what == "flush":
            part.registry.clear()
            self._layer.clear()
        if frame.reply_to:
            part.reply(frame.reply_to, Reply(frame.n, value))

    async def _join(self, frame: Join) -> None:
        if frame.leaves:
            await self._layer.start_leave(frame.group, frame.channel)
        else:
            await self._layer.start_join(frame.group, frame.channel)
        self._part.reply(frame.reply_to, Reply(frame.n, None))

    async def _answer_at_desk(self, frame: Ask) -> None:
        value = await self._part.attending.answer(frame.what, frame.name)
        self._part.reply(frame.reply_to, Reply(frame.n, value))

    def lost(self, reason: str) -> None:
        self._part.attending.lost()
        self._layer.on_lost(reason)

    def missed(self, reason: str) -> None:
        self._part.wake_all()
        self._part.attending.restored()
        self._layer.tell_gap(reason, self._part)
        self._layer.on_restored(reason)


def said_at_desk(answers: list[Any]) -> Any:
    """What the desk has answered; ``None`` if there is none, and nobody anywhere.

    Raises ``LayerUnavailable`` while whoever had the desk is dead, and nobody has it yet.
    """
    for answer in answers:
        if isinstance(answer, list):
            return answer[0]
    if any(answers):
        raise LayerUnavailable(
            "The process that kept the presences has gone, and no other has taken over yet."
        )
    return None


async def ended(pending: asyncio.Future[Any]) -> None:
    """Wait for what others wait for too."""
    await asyncio.shield(pending)


def copy_outcome(copy: Future[Any], outcome: asyncio.Future[Any]) -> None:
    error = None if outcome.cancelled() else outcome.exception()
    if error is None:
        copy.set_result(None)
    else:
        copy.set_exception(error)


def put_back(carrier: Carrier, popping: asyncio.Future[Popped]) -> None:
    if not popping.cancelled() and popping.exception() is None and popping.result().entry is not None:
        carrier.put_back(popping.result())


def told(what: str, future: asyncio.Future[Any]) -> None:
    """Say in the log what became of something that nobody waits for."""
    if not future.done():
        future.add_done_callback(partial(told, what))
    elif not future.cancelled() and (error := future.exception()) is not None:
        if isinstance(error, ChannelFull):  # each member of a group gets what it has room for; it is counted
            logger.info("%s", error)
        else:
            logger.warning("%s could not be sent: %s", what, error)


def tell_short(missing: int) -> None:
    if missing:
        logger.warning("%d processes did not answer in time: what was asked lacks them.", missing)


_layers: weakref.WeakSet[DistributedLayer] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for layer in list(_layers):
        layer._begin_again()


os.register_at_fork(after_in_child=_after_fork_in_child)
