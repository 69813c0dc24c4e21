"""Send each command to where its tag is: at once where that never changes, and through the moves of a Cluster.

A node that does not serve a slot has done nothing, so what it refuses (``MOVED``, ``ASK``, ``TRYAGAIN``) is written
again, in order. A command whose connection was lost is not: whether it was done is not known.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from raceway.errors import ConfigurationError, LayerUnavailable
from raceway.layers.redis.hosts import Server
from raceway.layers.redis.lanes import Call, Lane
from raceway.layers.redis.topology import Asking, Place, Redirection, Refusal, Topology, redirection, slot_of

logger = logging.getLogger("raceway.layers")

PATIENCE_S: Final = 5.0
"""How long a command waits for a slot that no node of a Cluster serves, because it moves or its node died."""
TRY_AGAIN_S: Final = 0.05
"""After so long what waits is looked at again."""
HELD_CALLS: Final = 10_000
"""So many commands may wait for slots; one more is refused."""
MAP_AGAIN_S: Final = 0.5
"""A Cluster is asked at most so often which node serves what."""

ASKING: Final = b"*1\r\n$6\r\nASKING\r\n"

T = TypeVar("T")


class Pipe(Protocol):
    """The ordered connection of commands to one place."""

    def call(self, command: bytes) -> asyncio.Future[Any]:
        """Write a packed command after those before; its reply, a ``Refusal``, or ``LayerUnavailable``."""
        ...


class FindOut(Protocol):
    """Who asks servers: ``raceway.layers.redis.connection`` has one for loops and one for threads."""

    async def __call__(self, asking: Asking[T]) -> T: ...


class FindOutFromThread(Protocol):
    def __call__(self, asking: Asking[T]) -> T: ...


class Routes:
    """Where the commands of one loop go.

    ``pipe_at`` gives the pipe of a place. ``moved(reason)`` is called in the loop after slots have moved between nodes
    of a Cluster: what is subscribed is to be compared with ``topology.place_of``.
    """

    def __init__(
        self,
        topology: Topology,
        pipe_at: Callable[[Place], Pipe],
        moved: Callable[[str], object],
        find_out: FindOut,
    ) -> None:
        self.topology = topology
        self._find_out = find_out
        self._pipe_at = pipe_at
        self._tell_moved = moved
        self._loop = asyncio.get_running_loop()
        self._lanes: dict[int, Lane] = {}
        self._held_count = 0
        self._looking: asyncio.TimerHandle | None = None
        self._mappings: dict[int, asyncio.Task[None]] = {}
        self._mapped_at: dict[int, float] = {}
        self._has_moved: set[int] = set()
        self._problems: dict[int, str] = {}
        self._is_closed = False

    async def locate(self, place: Place) -> Server:
        """Which server to connect to. Raises ``LayerUnavailable``."""
        return await self._find_out(self.topology.locating(place))

    async def still_plays(self, place: Place, server: Server) -> bool:
        """For the regular check of a connection: whether its server is still the one to talk to."""
        shard = place.shard
        if not self.topology.is_cluster(shard):
            return await self._find_out(self.topology.checking(place, server))
        if self._wait_to_map(shard) == 0:
            await self._map(shard)
        return place in self.topology.places_of(shard)

    async def map_all(self) -> list[Place]:
        """All places that hold keys. Raises ``LayerUnavailable``."""
        for shard in range(len(self.topology.hosts)):
            if self.topology.is_cluster(shard):
                await self._find_out(self.topology.mapping(shard))
        return self.topology.places()

    def look(self, shard: int) -> None:
        """A connection of that host was lost, or a slot moved: ask the Cluster which node serves what."""
        if self._is_closed or not self.topology.is_cluster(shard) or shard in self._mappings:
            return
        task = self._loop.create_task(self._map_soon(shard))
        self._mappings[shard] = task
        task.add_done_callback(lambda _: self._mappings.pop(shard, None))

    def call(self, tag: str, command: bytes) -> asyncio.Future[Any]:
        """Write a command about a tag, after those about it before; the reply. Ends with ``LayerUnavailable``, or as
        the pipe ends it.
        """
        shard = self.topology.shard_of(tag)
        if not self.topology.is_cluster(shard):
            return self._pipe_at(Place(shard)).call(command)
        answer = self._loop.create_future()
        if self._held_count >= HELD_CALLS or self._is_closed:
            answer.set_exception(self._unserved(shard))
            return answer
        slot, place = slot_of(tag), self.topology.place_of(tag)
        call = Call(tag, command, answer, self._loop.time() + PATIENCE_S)
        lane = self._lanes.setdefault(slot, Lane())
        if lane.add(call, place):
            assert place is not None
            self._write(slot, lane, call, place)
        else:
            self._held_count += 1
            self._look_again(shard if place is None else None)
        return answer

    def close(self) -> None:
        """End what waits with ``LayerUnavailable``; the pipes belong to the caller."""
        self._is_closed = True
        if self._looking is not None:
            self._looking.cancel()
        for task in self._mappings.values():
            task.cancel()
        for lane in self._lanes.values():
            for call in lane.take_late(lambda _: True):
                self._give_up(call)
        self._lanes.clear()

    # Through the moves of a Cluster

    def _write(self, slot: int, lane: Lane, call: Call, place: Place, *, is_asking: bool = False) -> None:
        pipe = self._pipe_at(place)
        if is_asking:
            pipe.call(ASKING).add_done_callback(ignore)
        pipe.call(call.command).add_done_callback(partial(self._answered, slot, lane, call, place))

    def _answered(self, slot: int, lane: Lane, call: Call, place: Place, reply: asyncio.Future[Any]) -> None:
        error = None if reply.cancelled() else reply.exception()
        found = redirection(str(error), node_host(place)) if isinstance(error, Refusal) else None
        if found is not None and not self._is_closed:
            self._redirect(slot, lane, call, place, found)
        else:
            for overtaken in lane.answered(call):
                self._held_count -= 1
                self._give_up(overtaken)
            copy_answer(reply, call.answer)
            if isinstance(error, LayerUnavailable):
                self.look(place.shard)
        self._go(slot, lane)

    def _redirect(self, slot: int, lane: Lane, call: Call, place: Place, found: Redirection) -> None:
        if found.is_for_once and found.node is not None:
            self._write(slot, lane, call, Place(place.shard, found.node), is_asking=True)
            return
        lane.refused(call)
        self._held_count += 1
        if found.node is not None:
            if self.topology.moved(place.shard, slot, found.node):
                self._has_moved.add(place.shard)
                self.look(place.shard)
        else:
            lane.not_before = self._loop.time() + TRY_AGAIN_S
            self._look_again(place.shard)

    def _go(self, slot: int, lane: Lane) -> None:
        """Write what has waited, if it need not wait any longer."""
        place = self.topology.place_of_slot(slot)
        if lane.is_holding and place is not None and self._loop.time() >= lane.not_before:
            calls = lane.take(place)
            self._held_count -= len(calls)
            for call in calls:
                self._write(slot, lane, call, place)
        if lane.is_holding:
            self._look_again(None if place is not None else self.topology.shard_of_slot(slot))
        elif lane.is_idle and self._lanes.get(slot) is lane:
            del self._lanes[slot]

    def _look_again(self, shard: int | None) -> None:
        if shard is not None:
            self.look(shard)
        if self._looking is None and not self._is_closed:
            self._looking = self._loop.call_later(TRY_AGAIN_S, self._look_at_lanes)

    def _look_at_lanes(self) -> None:
        self._looking = None
        now = self._loop.time()
        for slot, lane in list(self._lanes.items()):
            for call in lane.take_late(lambda call: call.until <= now):
                self._held_count -= 1
                self._give_up(call)
            self._go(slot, lane)

    def _give_up(self, call: Call) -> None:
        if not call.answer.done():
            call.answer.set_exception(self._unserved(self.topology.shard_of(call.tag)))

    def _unserved(self, shard: int) -> LayerUnavailable:
        return unserved(self.topology, shard, self._problems.get(shard))

    async def _map_soon(self, shard: int) -> None:
        await asyncio.sleep(self._wait_to_map(shard))
        await self._map(shard)

    def _wait_to_map(self, shard: int) -> float:
        if shard not in self._mapped_at:
            return 0.0
        return max(0.0, self._mapped_at[shard] + MAP_AGAIN_S - self._loop.time())

    async def _map(self, shard: int) -> None:
        self._mapped_at[shard] = self._loop.time()
        try:
            if await self._find_out(self.topology.mapping(shard)):
                self._has_moved.add(shard)
        except (LayerUnavailable, ConfigurationError) as error:
            if self._problems.get(shard) != str(error):  # which is tried again twice a second
                logger.warning("%s", error)
            self._problems[shard] = str(error)
            return
        self._problems.pop(shard, None)
        self._look_at_lanes_now()
        if shard in self._has_moved:
            self._has_moved.discard(shard)
            self._tell_moved(f"Slots of {self.topology.hosts[shard]} have moved.")

    def _look_at_lanes_now(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
        self._look_at_lanes()


class ThreadRoutes:
    """Where the commands of threads without an event loop go; each waits for its reply.

    ``ask(place, commands)`` writes commands to a place in one piece and returns the last one's reply, or raises it if
    it is a ``Refusal``; without a connection it raises ``LayerUnavailable``.
    """

    def __init__(
        self, topology: Topology, ask: Callable[[Place, list[bytes]], Any], find_out: FindOutFromThread
    ) -> None:
        self.topology = topology
        self._ask = ask
        self._find_out = find_out

    def locate(self, place: Place) -> Server:
        """Which server to connect to. Raises ``LayerUnavailable``."""
        return self._find_out(self.topology.locating(place))

    def map_all(self) -> list[Place]:
        """All places that hold keys. Raises ``LayerUnavailable``."""
        for shard in range(len(self.topology.hosts)):
            if self.topology.is_cluster(shard):
                self._find_out(self.topology.mapping(shard))
        return self.topology.places()

    def call(self, tag: str, command: bytes) -> Any:
        """The reply to a command about a tag. Raises ``LayerUnavailable``, and what ``ask`` raises."""
        shard = self.topology.shard_of(tag)
        if not self.topology.is_cluster(shard):
            return self._ask(Place(shard), [command])
        until = time.monotonic() + PATIENCE_S
        commands, place = [command], self._place_of(tag, shard)
        while time.monotonic() < until:
            if place is None:
                time.sleep(TRY_AGAIN_S)
                place = self._place_of(tag, shard)
                continue
            try:
                return self._ask(place, commands)
            except LayerUnavailable:
                self._map_quietly(shard)  # for the next one
                raise
            except Refusal as error:
                found = redirection(str(error), node_host(place))
                if found is None:
                    raise
            commands = [ASKING, command] if found.is_for_once else [command]
            if found.node is None:
                time.sleep(TRY_AGAIN_S)
                self._map_quietly(shard)
                place = self.topology.place_of(tag)
            else:
                if not found.is_for_once:
                    self.topology.moved(shard, slot_of(tag), found.node)
                place = Place(shard, found.node)
        raise unserved(self.topology, shard)

    def _place_of(self, tag: str, shard: int) -> Place | None:
        if self.topology.place_of(tag) is None:
            self._find_out(self.topology.mapping(shard))
        return self.topology.place_of(tag)

    def _map_quietly(self, shard: int) -> None:
        with suppress(LayerUnavailable):
            self._find_out(self.topology.mapping(shard))


def unserved(topology: Topology, shard: int, problem: str | None = None) -> LayerUnavailable:
    return LayerUnavailable(
        f"{topology.hosts[shard]} has not served the slot for {PATIENCE_S:.0f} s, or too much waits for it; "
        f"the command was not done. {problem or ''}".rstrip()
    )


def node_host(place: Place) -> str:
    return "" if place.node is None else place.node[0]


def copy_answer(reply: asyncio.Future[Any], answer: asyncio.Future[Any]) -> None:
    if answer.done():
        ignore(reply)
    elif reply.cancelled():
        answer.cancel()
    elif (error := reply.exception()) is not None:
        answer.set_exception(error)
    else:
        answer.set_result(reply.result())


def ignore(reply: asyncio.Future[Any]) -> None:
    """Whoever reads the answers knows already that there is none."""
    if not reply.cancelled():
        reply.exception()
