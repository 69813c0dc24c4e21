"""Commands find their slots through the moves of a Cluster: once each, and in order. The nodes are made up."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raceway.errors import LayerUnavailable
from raceway.layers.redis import routes as routes_module
from raceway.layers.redis.hosts import parse_hosts
from raceway.layers.redis.routes import ASKING, Routes, ThreadRoutes
from raceway.layers.redis.topology import SLOTS, Place, Refusal, Topology, slot_of

TAG = "foo"
SLOT = slot_of(TAG)
HOSTS = parse_hosts([{"cluster": [("n", 0)]}])


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes_module, "TRY_AGAIN_S", 0.0)
    monkeypatch.setattr(routes_module, "MAP_AGAIN_S", 0.0)


class Nodes:
    """Nodes of a Cluster with one slot, each of which answers what it has got when it is told to."""

    def __init__(self, count: int = 3) -> None:
        self.got: list[deque[tuple[bytes, asyncio.Future[Any]]]] = [deque() for _ in range(count)]
        self.owner = 0
        self.target: int | None = None
        self.is_split = False
        """Some of the keys have gone to the target."""
        self.is_down = False
        self.done: list[tuple[int, bytes]] = []
        self._asking = [False] * count

    def pipe_at(self, place: Place) -> Pipe:
        assert place.node is not None
        return Pipe(self.got[place.node[1]])

    async def find_out(self, asking: Any) -> Any:
        return answered(asking, self.slots())

    def slots(self) -> list[Any]:
        return [] if self.is_down else [[0, SLOTS - 1, [b"n", self.owner, b"id"]]]

    def answer(self, node: int) -> None:
        if self.got[node]:
            command, reply = self.got[node].popleft()
            said = self.do(node, command)
            if isinstance(said, Refusal):
                reply.set_exception(said)
            else:
                reply.set_result(said)

    def do(self, node: int, command: bytes) -> Any:
        if command == ASKING:
            self._asking[node] = True
            return b"OK"
        is_asking, self._asking[node] = self._asking[node], False
        if self.is_down:
            return Refusal("CLUSTERDOWN Hash slot not served")
        if node == self.owner:
            if self.target is not None and self.is_split:
                return Refusal("TRYAGAIN Multiple keys request during rehashing of slot")
            if self.target is not None:
                return Refusal(f"ASK {SLOT} n:{self.target}")
        elif not (is_asking and node == self.target):
            return Refusal(f"MOVED {SLOT} n:{self.owner}")
        self.done.append((node, command))
        return b"done " + command

    def end_move(self) -> None:
        if self.target is not None:
            self.owner, self.target, self.is_split = self.target, None, False


class Pipe:
    def __init__(self, got: deque[tuple[bytes, asyncio.Future[Any]]]) -> None:
        self._got = got

    def call(self, command: bytes) -> asyncio.Future[Any]:
        reply = asyncio.get_running_loop().create_future()
        self._got.append((command, reply))
        return reply


def answered(asking: Any, slots: list[Any]) -> Any:
    reply: Any = None
    try:
        while True:
            ask = asking.send(reply)
            reply = b"redis_version:7.0.0" if ask.command[0] == "INFO" else slots
    except StopIteration as found:
        return found.value


async def settle() -> None:
    for _ in range(6):
        await asyncio.sleep(0)


def made(nodes: Nodes, moved: list[str] | None = None) -> Routes:
    tell = [] if moved is None else moved
    return Routes(Topology(HOSTS), nodes.pipe_at, tell.append, nodes.find_out)


async def answer_all(nodes: Nodes) -> None:
    for _ in range(20):
        for node in range(len(nodes.got)):
            while nodes.got[node]:
                nodes.answer(node)
        await settle()


async def test_commands_wait_for_the_map() -> None:
    nodes = Nodes()
    routes = made(nodes)
    replies = [routes.call(TAG, word) for word in (b"1", b"2")]
    assert not any(nodes.got)
    await settle()
    await answer_all(nodes)
    assert await asyncio.gather(*replies) == [b"done 1", b"done 2"]
    routes.close()


async def test_what_a_node_refused_is_written_to_the_right_one_in_order_and_the_move_is_told() -> None:
    nodes, moved = Nodes(), list[str]()
    routes = made(nodes, moved)
    routes.topology.moved(0, SLOT, ("n", 0))
    nodes.owner = 1
    replies = [routes.call(TAG, word) for word in (b"1", b"2")]
    nodes.answer(0)
    await settle()
    replies.append(routes.call(TAG, b"3"))  # the map knows better now, but 2 is not yet back
    assert [word for word, _ in nodes.got[0]] == [b"2"]
    assert not nodes.got[1]
    await answer_all(nodes)
    assert await asyncio.gather(*replies) == [b"done 1", b"done 2", b"done 3"]
    assert nodes.done == [(1, b"1"), (1, b"2"), (1, b"3")]
    assert moved == ["Slots of the Cluster of n:0 have moved."]
    routes.close()


async def test_a_slot_on_its_way_is_asked_for_at_its_target() -> None:
    nodes, moved = Nodes(), list[str]()
    routes = made(nodes, moved)
    routes.topology.moved(0, SLOT, ("n", 0))
    nodes.target = 2
    reply = routes.call(TAG, b"1")
    await answer_all(nodes)
    assert await reply == b"done 1"
    assert nodes.done == [(2, b"1")]
    assert routes.topology.place_of(TAG) == Place(0, ("n", 0))
    assert moved == []
    routes.close()


async def test_a_slot_that_nobody_serves_is_waited_for_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes_module, "PATIENCE_S", 0.0)
    nodes = Nodes()
    nodes.is_down = True
    routes = made(nodes)
    reply = routes.call(TAG, b"1")
    with pytest.raises(LayerUnavailable, match="the command was not done"):
        await asyncio.wait_for(reply, 5)
    routes.close()


async def test_so_many_may_wait_and_what_waits_is_told_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes_module, "HELD_CALLS", 2)
    routes = made(Nodes())
    replies = [routes.call(TAG, b"%d" % number) for number in range(3)]
    assert [reply.done() for reply in replies] == [False, False, True]
    routes.close()
    for reply in replies:
        with pytest.raises(LayerUnavailable):
            await reply


async def test_what_is_no_redirection_reaches_the_caller() -> None:
    nodes = Nodes()
    routes = made(nodes)
    routes.topology.moved(0, SLOT, ("n", 0))
    first, second = routes.call(TAG, b"1"), routes.call(TAG, b"2")
    nodes.got[0].popleft()[1].set_exception(Refusal("OOM command not allowed"))
    nodes.got[0].popleft()[1].set_exception(LayerUnavailable("lost"))
    with pytest.raises(Refusal, match="OOM"):
        await first
    with pytest.raises(LayerUnavailable, match="lost"):  # and it is not written again
        await second
    assert not any(nodes.got)
    routes.close()


STEPS = st.lists(
    st.sampled_from(["send", "answer 0", "answer 1", "answer 2", "move", "split", "end", "down"])
)


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_commands_are_done_once_and_in_order_or_refused_however_the_slot_moves(steps: list[str]) -> None:
    asyncio.run(through(steps))


async def through(steps: list[str]) -> None:
    nodes = Nodes()
    routes = made(nodes)
    numbers = iter(range(10_000))
    replies = []
    for step in steps:
        word, _, node = step.partition(" ")
        if word == "send":
            replies.append(routes.call(TAG, b"%d" % next(numbers)))
        elif word == "answer":
            nodes.answer(int(node))
        elif word == "move" and nodes.target is None:
            nodes.target = (nodes.owner + 1) % 3
        elif word == "split" and nodes.target is not None:
            nodes.is_split = True
        elif word == "end":
            nodes.end_move()
        elif word == "down":
            nodes.is_down = not nodes.is_down
        await settle()
    nodes.end_move()
    nodes.is_down = False
    for _ in range(100):
        await answer_all(nodes)
        if all(reply.done() for reply in replies):
            break
        await asyncio.sleep(0.001)
    assert all(reply.done() for reply in replies)
    done = [word for _, word in nodes.done]
    assert done == sorted(set(done), key=int)
    assert done == [b"%d" % number for number, reply in enumerate(replies) if reply.exception() is None]
    assert all(isinstance(reply.exception(), LayerUnavailable | None) for reply in replies)
    if "down" not in steps and "split" not in steps:
        assert len(done) == len(replies)
    assert not routes._lanes
    routes.close()


# Threads


class Still:
    """The same for a thread: every node answers at once."""

    def __init__(self, nodes: Nodes) -> None:
        self.nodes = nodes
        self.after: Iterator[Any] = iter(())

    def ask(self, place: Place, commands: list[bytes]) -> Any:
        assert place.node is not None
        for command in commands:
            said = self.nodes.do(place.node[1], command)
            next(self.after, None)
            if isinstance(said, Refusal):
                raise said
        return said

    def find_out(self, asking: Any) -> Any:
        return answered(asking, self.nodes.slots())


def test_a_thread_follows_a_slot() -> None:
    nodes = Nodes()
    still = Still(nodes)
    routes = ThreadRoutes(Topology(HOSTS), still.ask, still.find_out)
    assert routes.call(TAG, b"1") == b"done 1"
    nodes.target = 1
    assert routes.call(TAG, b"2") == b"done 2"
    nodes.is_split = True

    def steps() -> Iterator[None]:
        yield
        nodes.end_move()
        yield

    still.after = steps()
    assert routes.call(TAG, b"3") == b"done 3"
    assert nodes.done == [(0, b"1"), (1, b"2"), (1, b"3")]
    assert routes.topology.place_of(TAG) == Place(0, ("n", 1))


def test_a_thread_waits_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes_module, "PATIENCE_S", 0.01)
    nodes = Nodes()
    nodes.is_down = True
    still = Still(nodes)
    with pytest.raises(LayerUnavailable, match="was not done"):
        ThreadRoutes(Topology(HOSTS), still.ask, still.find_out).call(TAG, b"1")
