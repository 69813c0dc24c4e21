"""Real threads and real loops, all at once, on one memory layer."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import pytest

from raceway import Channel, Group
from raceway.layers.memory import MemoryLayer
from raceway.layers.spec import decode_event

pytestmark = pytest.mark.shell

WAIT_S = 30.0
"""How long a test waits for its threads."""


def run_all(*functions: Callable[[], Any]) -> list[Any]:
    """What the functions return, each in a thread of its own; raises what one of them raised."""
    with ThreadPoolExecutor(len(functions)) as pool:
        futures: list[Future[Any]] = [pool.submit(function) for function in functions]
        _, waiting = wait(futures, WAIT_S)
        assert not waiting, "a thread is stuck"
        return [future.result() for future in futures]


def test_receivers_in_several_loops_share_a_channel(layer: MemoryLayer) -> None:
    layer.capacity = 100_000
    senders, receivers, each = 4, 2, 500
    senders_left = threading.Barrier(senders)

    def send(sender: int) -> None:
        for number in range(each):
            Channel("work").send({"sender": sender, "n": number})
        senders_left.wait(WAIT_S)
        if sender == 0:
            for _ in range(2 * receivers):
                Channel("work").send({"sender": None})

    async def receive(got: list[Any]) -> None:
        while (message := await layer.receive("work"))["sender"] is not None:
            got.append((message["sender"], message["n"]))

    async def receive_twice() -> list[Any]:
        got: list[Any] = []
        await asyncio.gather(receive(got), receive(got))
        return got

    results = run_all(
        *(lambda sender=sender: send(sender) for sender in range(senders)),
        *(lambda: asyncio.run(receive_twice()) for _ in range(receivers)),
    )
    got = Counter(item for result in results[senders:] for item in result)
    assert got == Counter((sender, number) for sender in range(senders) for number in range(each))
    layer.publish_from_thread("g", b"")  # a look at the loops, which have ended
    assert not layer._parts
    assert layer._queues.figures(None, 0)["messages_pending"] == 0


def test_receivers_that_give_up_all_the_time_lose_nothing(layer: MemoryLayer) -> None:
    layer.capacity = 100_000
    each = 500

    def send() -> None:
        for number in range(each):
            Channel("p!work").send({"n": number})
        Channel("p!work").send({"n": None})

    async def receive() -> list[Any]:
        got: list[Any] = []
        turn = 0
        while not got or got[-1] is not None:
            turn += 1
            waiting = asyncio.ensure_future(layer.receive("p!work" if turn % 2 else "p!"))
            for _ in range(turn % 5):
                await asyncio.sleep(0)
            waiting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                got.append((await waiting)["n"])
        return got

    _, got = run_all(send, lambda: asyncio.run(receive()))
    assert got == [*range(each), None]


def test_loops_come_and_go_while_threads_publish(layer: MemoryLayer) -> None:
    visitors_left: list[bool] = []

    def publish() -> int:
        number = 0
        while len(visitors_left) < 2:
            number += 1
            Group("g").send({"n": number})
            Group("g").broadcast("text")
            assert Group("g").count() >= 0
            Group("g").members()
        return number

    async def visit() -> list[int]:
        loop = asyncio.get_running_loop()
        heard: list[int] = []
        enough = loop.create_future()

        def deliver(encoded: bytes) -> bool:
            event = decode_event(encoded)
            if "n" in event:
                heard.append(event["n"])
            if len(heard) >= 5 and not enough.done():
                enough.set_result(None)
            return True

        channel = layer.new_channel_name()
        layer.open(channel, deliver)
        Group("g").add(channel)
        Group("g").add("named")
        async with asyncio.timeout(WAIT_S):
            await enough
        if heard[0] % 2:  # the others just end
            layer.close(channel)
        return heard

    def visits() -> list[list[int]]:
        try:
            return [asyncio.run(visit()) for _ in range(20)]
        finally:
            visitors_left.append(True)

    *_, some, others = run_all(publish, publish, visits, visits)
    for heard in [*some, *others]:
        assert len(heard) >= 5
    Group("g").discard("named")
    assert Group("g").members() == []
    assert not layer._parts


def test_threads_join_and_leave_at_once(layer: MemoryLayer) -> None:
    def churn(thread: int) -> None:
        for number in range(300):
            Group("g").add(f"m{thread}")
            Group("g").add(f"m{thread}.{number % 7}")
            Group("g").send({"n": number})
            Group("g").discard(f"m{thread}.{number % 7}")

    run_all(*(lambda thread=thread: churn(thread) for thread in range(4)))
    assert sorted(Group("g").members()) == ["m0", "m1", "m2", "m3"]
    assert Group("g").count() == 4
