"""What Redis carries for one event loop."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Coroutine
from functools import partial
from itertools import count
from typing import Any, Final, TypeVar, cast

from raceway.errors import LayerUnavailable
from raceway.layers.distributed.carrier import Carrier, Ears, Popped
from raceway.layers.redis.connection import Reply, connect, find_out
from raceway.layers.redis.hosts import Server
from raceway.layers.redis.kept import PLAYS_S, WAIT_S
from raceway.layers.redis.listener import Listener, Subscription
from raceway.layers.redis.pipe import Pipe, Told
from raceway.layers.redis.requests import HOLD_LEASE_S, Figures, Request, Requests, Taken, refused, tag_of
from raceway.layers.redis.routes import Routes
from raceway.layers.redis.tally import Tally
from raceway.layers.redis.topology import Place, Refusal, Topology, redirection
from raceway.layers.spec import non_local_name
from raceway.layers.statistics import Statistics

logger = logging.getLogger("raceway.layers")

T = TypeVar("T")

RENEW_S: Final = HOLD_LEASE_S / 3
"""How often a process says that it still has in its hands what it has."""

CLOSE_S: Final = 1.0
"""How long what was said before the end waits for its answers."""

OTHERS_LEAVE_S: Final = PLAYS_S + 2.0
"""After so long nobody talks to a master any more that Sentinel has replaced: each process asks every ``PLAYS_S``."""

SUBSCRIBE_AGAIN_S: Final = 0.1
"""A topic that no node of a Cluster takes is tried again after so long."""


class RedisCarrier(Carrier):
    """One pipe for commands and one listener for each place that has something for this loop; made on first use."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        ears: Ears,
        topology: Topology,
        requests: Requests,
        clock: Any,
    ) -> None:
        self._loop = loop
        self._ears = ears
        self._topology = topology
        self._requests = requests
        self._tally = Tally(clock)
        self._routes = Routes(topology, self._pipe_at, self._slots_moved, find_out)
        self._pipes: dict[Place, Pipe] = {}
        self._listeners: dict[Place, Listener] = {}
        self._subscriptions: dict[str, Subscription] = {}
        self._lapsed: set[Subscription] = set()
        """Not in force, though nobody waits any longer for them to be."""
        self._why_missed: str | None = None
        """Something that is subscribed was not in force for a while, because of this."""
        self._holds: dict[str, str] = {}
        """What is in the hands of this loop: the channel of each hold."""
        self._released: dict[str, str] = {}
        """Holds whose end the server has not heard yet."""
        self._renewal: asyncio.TimerHandle | None = None
        self._owner = secrets.token_hex(8)
        self._numbers = count(1)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._is_closed = False

    # Subscriptions

    def subscribe(self, address: str) -> asyncio.Future[None] | None:
        subscription = self._subscriptions.get(address)
        if subscription is None:
            topic = self._requests.topic(address).encode()
            subscription = Subscription(address, topic, self._loop.time())
            self._subscriptions[address] = subscription
            self._settle(subscription)
        if subscription.is_in_force:
            return None
        waiter: asyncio.Future[None] = self._loop.create_future()
        subscription.waiters.append(waiter)
        return waiter

    def unsubscribe(self, address: str) -> None:
        subscription = self._subscriptions.pop(address, None)
        if subscription is not None:
            if subscription.place is not None:
                self._listener_at(subscription.place).discard(subscription)
            self._lapsed.discard(subscription)
            subscription.end()
            self._tell_restored()

    def _settle(self, subscription: Subscription) -> None:
        """Let the right listener have it; there may be none yet."""
        tag = tag_of(subscription.address)
        place = self._topology.place_of(tag)
        if place is not None and place == subscription.place:
            return
        if subscription.place is not None:
            self._listener_at(subscription.place).discard(subscription)
            self.lapsed([subscription], "slots of the Cluster have moved")
        subscription.place = None
        if place is None:
            self._routes.look(self._topology.shard_of(tag))
            self._loop.call_later(WAIT_S, self._look_for_place, subscription)
        else:
            self._listener_at(place).add(subscription)

    def _look_for_place(self, subscription: Subscription) -> None:
        """No node of the Cluster has said yet that it serves this."""
        if self._subscriptions.get(subscription.address) is subscription and subscription.place is None:
            self.waited_too_long(subscription, LayerUnavailable("No node of the Cluster can be reached."))
            self._settle(subscription)

    def _slots_moved(self, reason: str) -> None:
        for subscription in list(self._subscriptions.values()):
            self._settle(subscription)
        places = set(self._topology.places())
        for place, listener in list(self._listeners.items()):
            if place not in places and not listener.is_wanted:
                self._run(self._listeners.pop(place).aclose())
        for place, pipe in list(self._pipes.items()):
            if place not in places and pipe.is_idle:
                self._run(self._pipes.pop(place).aclose())

    # What listeners tell

    def heard(self, address: str, frame: bytes) -> None:
        try:
            self._ears.heard(address, frame)
        except Exception:  # the frames after it are to be heard all the same
            logger.exception("What was cast to %s could not be handed over.", address)

    def came_into_force(self, subscription: Subscription) -> None:
        subscription.is_in_force = True
        self._lapsed.discard(subscription)
        subscription.end()
        self._tell_restored()

    def lapsed(self, subscriptions: list[Subscription], why: str) -> None:
        if not subscriptions:
            return
        for subscription in subscriptions:
            subscription.is_in_force = False
            subscription.since = self._loop.time()
        self._lapsed.update(subscriptions)
        if self._why_missed is None:
            self._why_missed = why
            self._ears.lost(why)

    def moved_away(self, subscription: Subscription) -> None:
        self.lapsed([subscription], "slots of the Cluster have moved")
        self._try_again(subscription)

    def refused(self, subscription: Subscription, refusal: Refusal) -> None:
        place = subscription.place
        found = None if place is None or place.node is None else redirection(str(refusal), place.node[0])
        if found is None:
            logger.error("Redis refuses a subscription to %s: %s", subscription.address, refusal)
            self._lapsed.discard(subscription)  # what the others have missed is told without it
            subscription.end(LayerUnavailable(f"Redis refuses the subscription: {refusal}"))
            self._tell_restored()
        else:
            self._try_again(subscription)

    def _try_again(self, subscription: Subscription) -> None:
        """Ask the Cluster where it is, and subscribe there; also if that is where it was."""
        if subscription.place is not None:
            self._routes.look(subscription.place.shard)
            self._listener_at(subscription.place).forget(subscription)
            subscription.place = None
        self._loop.call_later(SUBSCRIBE_AGAIN_S, self._settle_if_wanted, subscription)

    def _settle_if_wanted(self, subscription: Subscription) -> None:
        if self._subscriptions.get(subscription.address) is subscription:
            self._settle(subscription)

    def waited_too_long(self, subscription: Subscription, error: LayerUnavailable) -> None:
        """It stands, and whoever waits goes on without: that is a gap when it comes into force."""
        if self._why_missed is None:
            self._why_missed = str(error)
        self._lapsed.add(subscription)
        subscription.end(error)

    def replaced(self, old: Server) -> None:
        """Sentinel names another master. If the old one still answers, other processes find out later than we do, and
        what they publish until then reaches nobody who has left: that is one more gap, when all have left."""
        self._run(self._tell_when_others_have_left(old))

    async def _tell_when_others_have_left(self, old: Server) -> None:
        try:
            (await connect(old)).close()
        except (OSError, Refusal):
            return
        await asyncio.sleep(OTHERS_LEAVE_S)
        self._ears.missed(f"{old} was left by one process after the other")

    def _tell_restored(self) -> None:
        if self._why_missed is not None and not self._lapsed:
            why, self._why_missed = self._why_missed, None
            self._ears.missed(why)

    # Commands

    def cast(self, address: str, frame: bytes) -> asyncio.Future[int]:
        return self._do(self._requests.cast(address, frame))

    def publish(self, group: str, frame: bytes) -> asyncio.Future[list[str]]:
        return self._do(self._requests.publish(group, frame))

    def put(self, channel: str, entry: bytes, capacity: int, expiry_s: float) -> asyncio.Future[None]:
        return self._do(self._requests.put(channel, entry, capacity, expiry_s))

    def put_later(
        self, channel: str, entry: bytes, expiry_s: float, delay_s: float, token: str
    ) -> asyncio.Future[None]:
        return self._do(self._requests.put_later(channel, entry, expiry_s, delay_s, token))

    def cancel(self, channel: str, token: str) -> asyncio.Future[bool]:
        return self._do(self._requests.cancel(channel, token))

    def add_named(self, group: str, channel: str, expiry_s: float) -> asyncio.Future[None]:
        return self._do(self._requests.add_named(group, channel, expiry_s))

    def discard_named(self, group: str, channel: str) -> asyncio.Future[None]:
        return self._do(self._requests.discard_named(group, channel))

    def named(self, group: str) -> asyncio.Future[list[str]]:
        return self._do(self._requests.named(group))

    def elect(self, role: str, lease_s: float) -> asyncio.Future[bool]:
        return self._do(self._requests.elect(role, self._owner, lease_s))

    def resign(self, role: str) -> asyncio.Future[None]:
        return self._do(self._requests.resign(role, self._owner))

    def _do(self, request: Request[T]) -> asyncio.Future[T]:
        done: asyncio.Future[T] = self._loop.create_future()
        self._ask(request, done)
        return done

    def _ask(self, request: Request[T], done: asyncio.Future[T]) -> None:
        if self._is_closed:
            done.set_exception(LayerUnavailable("The layer is closed."))
            return
        told = partial(self._answered, request, done)
        shard = self._topology.shard_of(request.tag)
        if self._topology.is_cluster(shard):
            answers = [self._routes.call(request.tag, command) for command in request.commands]
            for answer in answers:
                answer.add_done_callback(partial(when_all, answers, told))
        else:
            self._pipe_at(Place(shard)).ask(b"".join(request.commands), len(request.commands), told)

    def _answered(
        self, request: Request[T], done: asyncio.Future[T], replies: list[Reply] | Exception
    ) -> None:
        if done.done():
            return
        try:
            outcome = request.read(accepted(replies))
        except Exception as error:
            done.set_exception(error)
            return
        if isinstance(outcome, Request):
            self._ask(outcome, done)
        else:
            done.set_result(outcome)

    # Queues: what is taken out

    def pop(self, channel: str, hold: bool) -> asyncio.Future[Popped]:
        name = f"{self._owner}.{next(self._numbers):x}" if hold else ""
        popped: asyncio.Future[Popped] = self._loop.create_future()
        taken = self._do(self._requests.pop(channel, name))
        taken.add_done_callback(partial(self._taken, name, popped))
        return popped

    def _taken(self, hold: str, popped: asyncio.Future[Popped], taken: asyncio.Future[Taken]) -> None:
        if taken.cancelled():
            popped.cancel()
            return
        error = taken.exception()
        if error is not None:
            if not popped.done():
                popped.set_exception(error)
            return
        found = taken.result()
        for channel in found.lost:
            logger.warning(
                "A message to %s is lost: the process that had it in its hands has not been heard of for %.0f s.",
                channel,
                HOLD_LEASE_S,
            )
        if popped.done():  # nobody waits any longer
            if found.popped.entry is not None:
                self.put_back(found.popped)
            return
        if hold and found.popped.entry is not None:
            self._holds[hold] = found.popped.channel
            self._renew_soon()
        popped.set_result(found.popped)

    def release(self, popped: Popped) -> None:
        hold = popped.handle.hold
        channel = self._holds.pop(hold, None)
        if channel is not None:
            self._say_released(hold, channel)

    def _say_released(self, hold: str, channel: str) -> None:
        """To say it twice does no harm, so it is said until the server has heard it, or counts the message as lost."""

        def heard(said: asyncio.Future[None]) -> None:
            if said.cancelled() or said.exception() is not None:
                self._released[hold] = channel
                self._renew_soon()

        self._do(self._requests.release(channel, hold)).add_done_callback(heard)

    def put_back(self, popped: Popped) -> None:
        self._holds.pop(popped.handle.hold, None)
        self._do(self._requests.put_back(popped)).add_done_callback(put_back_failed)

    def _renew_soon(self) -> None:
        if self._renewal is None:
            self._renewal = self._loop.call_later(RENEW_S, self._renew)

    def _renew(self) -> None:
        self._renewal = None
        released, self._released = self._released, {}
        for hold, channel in released.items():
            self._say_released(hold, channel)
        by_tag: dict[str, list[tuple[str, str]]] = {}
        for hold, channel in self._holds.items():
            by_tag.setdefault(non_local_name(channel), []).append((channel, hold))
        for tag, holds in by_tag.items():
            self._do(self._requests.renew(tag, holds)).add_done_callback(ignore)
        if self._holds:
            self._renew_soon()

    # All of it

    def figures(self, channel: str | None) -> asyncio.Future[Statistics]:
        return self._run(self._figures_of_all() if channel is None else self._figures_of(channel))

    async def _figures_of(self, channel: str) -> Statistics:
        return self._tally.of_channel(channel, await self._do(self._requests.figures(channel)))

    async def _figures_of_all(self) -> Statistics:
        channels: set[str] = set()
        for place in await self._routes.map_all():
            async for keys in self._scan(place, "c:"):
                channels.update(map(self._requests.channel_of, keys))
        figures: list[Figures] = []
        for channel in channels:
            figures.append(await self._do(self._requests.figures(channel)))
        return self._tally.of_all(figures)

    def flush(self) -> asyncio.Future[None]:
        self._holds.clear()
        self._released.clear()
        return self._run(self._flush())

    async def _flush(self) -> None:
        for place in await self._routes.map_all():
            async for keys in self._scan(place, ""):
                # One by one, as the nodes of a Cluster take no keys of several slots at once.
                pipe = self._pipe_at(place)
                answers = [pipe.call(self._requests.unlink(key)) for key in keys]
                accepted(list(await asyncio.gather(*answers, return_exceptions=True)))

    async def _scan(self, place: Place, kind: str) -> Any:
        cursor = b"0"
        while True:
            found = await answer_of(self._pipe_at(place).call(self._requests.scan(cursor, kind)))
            cursor, keys = found
            yield keys
            if cursor == b"0":
                return

    # Places and the end

    def _pipe_at(self, place: Place) -> Pipe:
        pipe = self._pipes.get(place)
        if pipe is None:
            pipe = self._pipes[place] = Pipe(self._loop, place, self._routes)
        return pipe

    def _listener_at(self, place: Place) -> Listener:
        listener = self._listeners.get(place)
        if listener is None:
            is_sharded = self._topology.is_cluster(place.shard)
            listener = Listener(self._loop, place, self._routes, self, is_sharded=is_sharded)
            self._listeners[place] = listener
        return listener

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def aclose(self) -> None:
        await asyncio.gather(*[pipe.answered(CLOSE_S) for pipe in self._pipes.values()])
        if self._renewal is not None:
            self._renewal.cancel()
        for subscription in self._subscriptions.values():
            subscription.end()
        self._subscriptions.clear()
        for task in self._tasks:
            task.cancel()
        self._routes.close()
        self._is_closed = True
        connections = [*self._listeners.values(), *self._pipes.values()]
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*[kept.aclose() for kept in connections])

    def forsake(self) -> None:
        for kept in [*self._listeners.values(), *self._pipes.values()]:
            kept.forsake()


def when_all(answers: list[asyncio.Future[Reply]], tell: Told, last: asyncio.Future[Reply]) -> None:
    """Tell of the answers when there are all, once: several may come in the same pass of the loop."""
    if answers and all(answer.done() for answer in answers):
        replies = [answer.exception() or answer.result() for answer in answers]
        answers.clear()
        tell(replies)


def accepted(replies: list[Reply] | Exception) -> list[Reply]:
    """The replies of which none is an error. Raises ``LayerUnavailable``."""
    for reply in replies if isinstance(replies, list) else [replies]:
        if isinstance(reply, Refusal):
            raise refused(reply)
        if isinstance(reply, Exception):
            raise reply
    return cast("list[Reply]", replies)


async def answer_of(answer: asyncio.Future[Reply]) -> Reply:
    return accepted(list(await asyncio.gather(answer, return_exceptions=True)))[0]


def put_back_failed(done: asyncio.Future[None]) -> None:
    if not done.cancelled() and (error := done.exception()) is not None:
        logger.warning(
            "A message that was taken and not used could not be put back, and may be lost: %s", error
        )


def ignore(done: asyncio.Future[None]) -> None:
    """It is said again in time."""
    if not done.cancelled():
        done.exception()
