"""The layer between real processes, some of which are killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import Any

import pytest

from raceway.layers.postgres import PostgresLayer
from tests.servers.postgres import Database

ROOT = Path(__file__).parents[3]
PROCESS = "tests.layers.postgres.process"
WAIT_S = 30.0

pytestmark = pytest.mark.topology


class Process:
    """A started ``tests.layers.postgres.process``."""

    def __init__(self, what: str, database: Database, **options: Any) -> None:
        self.popen = subprocess.Popen(
            [sys.executable, "-m", PROCESS, what, json.dumps(database.settings), json.dumps(options)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._lines: Queue[str] = Queue()
        self._reader = Thread(target=self._read)
        self._reader.start()
        self.said: list[str] = []

    def _read(self) -> None:
        assert self.popen.stdout is not None
        with self.popen.stdout as stdout:
            for line in stdout:
                self._lines.put(line.strip())

    def until(self, what: str) -> str:
        """The next line that begins so."""
        while True:
            try:
                self.said.append(self._lines.get(timeout=WAIT_S))
            except Empty:
                raise AssertionError(f"{what!r} was not said, but {self.said}") from None
            if self.said[-1].startswith(what):
                return self.said[-1]

    def signal(self, which: signal.Signals) -> None:
        os.kill(self.popen.pid, which)

    def end(self) -> None:
        self.popen.kill()
        self.popen.wait()
        self._reader.join()


@pytest.fixture
def start() -> Iterator[Any]:
    with ExitStack() as stack:

        def start(*args: Any, **options: Any) -> Process:
            process = Process(*args, **options)
            stack.callback(process.end)
            return process

        yield start


@pytest.fixture
def layer(database: Database) -> Iterator[PostgresLayer]:
    """In this process, which has no event loop."""
    layer = PostgresLayer(using=database.alias, prefix="processes", lease_s=2)
    yield layer
    asyncio.run(layer.aclose())


def send(layer: PostgresLayer, numbers: range) -> None:
    for number in numbers:
        layer.publish_from_thread("g", layer.prepare({"type": "n", "n": number}))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_another_process_numbers_when_the_one_that_did_is_no_more(
    start: Any, database: Database, layer: PostgresLayer, how: signal.Signals
) -> None:
    options = {"prefix": layer.prefix, "lease_s": layer.lease_s}
    first = start("listen", database, **options)
    first.until("sequencer")
    second = start("listen", database, **options)
    second.until("ready")
    send(layer, range(100))
    for process in (first, second):
        process.until("heard 99")
    first.signal(how)
    send(layer, range(100, 200))
    second.until("heard 199")
    assert [line for line in second.said if line.startswith("heard")] == [f"heard {n}" for n in range(200)]
    assert "gap" not in second.said
    if how is signal.SIGKILL and "sequencer" not in second.said:
        second.until("sequencer")


def test_what_a_killed_worker_had_in_its_hands_is_lost_and_counted(
    start: Any, database: Database, layer: PostgresLayer
) -> None:
    options = {"prefix": layer.prefix, "lease_s": layer.lease_s}
    worker, other = (start("work", database, **options) for _ in range(2))
    for each in (worker, other):
        each.until("ready")
    layer.send_from_thread("tasks", layer.prepare({"type": "n", "n": 1}))
    taker = next_to_say("did 1", worker, other)
    layer.send_from_thread("tasks", layer.prepare({"type": "n", "n": "stop"}))
    taker = next_to_say("took stop", worker, other)
    taker.end()
    layer.send_from_thread("tasks", layer.prepare({"type": "n", "n": 2}))
    (other if taker is worker else worker).until("did 2")

    async def lost() -> int:
        while True:
            count = (await layer.global_statistics())["messages_lost_count"]
            if count:
                await layer.aclose()
                return count
            await asyncio.sleep(0.1)

    assert asyncio.run(asyncio.wait_for(lost(), WAIT_S)) == 1


def next_to_say(what: str, *processes: Process) -> Process:
    """Which of them says it first."""
    while True:
        for process in processes:
            try:
                process.said.append(process._lines.get(timeout=0.02))
            except Empty:
                continue
            if process.said[-1] == what:
                return process


def test_a_child_of_a_fork_leaves_the_connections_of_its_parent_alone(
    start: Any, database: Database, layer: PostgresLayer
) -> None:
    listener = start("listen", database, prefix=layer.prefix, lease_s=layer.lease_s)
    listener.until("ready")
    send(layer, range(1))
    child = os.fork()
    if child == 0:
        status = 1
        try:
            send(layer, range(1, 2))
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    send(layer, range(2, 3))
    listener.until("heard 2")
    assert [line for line in listener.said if line.startswith("heard")] == ["heard 0", "heard 1", "heard 2"]


def test_a_fork_of_a_process_with_an_event_loop(start: Any, database: Database, layer: PostgresLayer) -> None:
    """The child has a layer of its own; the parent goes on hearing, and is told of no gap."""

    async def parent() -> None:
        heard: list[Any] = []
        done = asyncio.Event()
        channel = await layer.new_channel()
        layer.open(channel, lambda encoded: bool(heard.append(1) or done.set() or True), gap=heard.append)
        await layer.group_add("g", channel)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                send(layer, range(1))
                status = 0
            finally:
                os._exit(status)
        _, status = await asyncio.to_thread(os.waitpid, child, 0)
        assert status == 0
        await asyncio.wait_for(done.wait(), WAIT_S)
        assert heard == [1]
        await layer.aclose()

    asyncio.run(parent())
