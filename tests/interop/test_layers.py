"""Raceway's consumers over other people's layers."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.interop.processes import Process, free_port, redis, run_python, run_script, server
from tests.interop.sockets import closing, open_socket, receive, receive_json

IN_MEMORY = "channels.layers.InMemoryChannelLayer"
CORE = "channels_redis.core.RedisChannelLayer"
PUBSUB = "channels_redis.pubsub.RedisPubSubChannelLayer"
SUITE_TIMEOUT_S = 180.0


def layer_of(backend: str, request: pytest.FixtureRequest) -> dict[str, Any]:
    if backend == IN_MEMORY:
        return {"BACKEND": backend}
    redis: Process = request.getfixturevalue("redis_server")
    prefix = {CORE: "core", PUBSUB: "pubsub"}[backend]
    config = {"hosts": [f"redis://127.0.0.1:{redis.port}"], "prefix": prefix}
    return {"BACKEND": backend, "CONFIG": config}


@pytest.fixture(scope="module", params=[IN_MEMORY, CORE, PUBSUB], ids=["memory", "core", "pubsub"])
def layer(request: pytest.FixtureRequest) -> dict[str, Any]:
    return layer_of(request.param, request)


@pytest.fixture(scope="module")
def pair(layer: dict[str, Any], folder: Path) -> Iterator[list[Process]]:
    """Two servers that the layer joins; with a layer inside one process the same one twice."""
    with ExitStack() as stack:
        names = ["raceway"] if layer["BACKEND"] == IN_MEMORY else ["raceway", "uvicorn"]
        processes = [stack.enter_context(server(name, folder, layer=layer)) for name in names]
        yield [processes[0], processes[-1]]


def test_events_and_client_messages(pair: list[Process]) -> None:
    one_server, other_server = pair
    with open_socket(one_server, "/room/") as one, open_socket(other_server, "/room/") as other:
        meet(one, other)
        one.send(json.dumps({"event": "hello"}))
        for socket in (one, other):
            assert receive_json(socket) == ["hello", "seven", True]  # V35: a key that is a number
        other.send(json.dumps({"for": "the others"}))
        assert receive_json(one) == {"for": "the others"}
        for number in range(50):
            one.send(json.dumps({"event": number}))
        for socket in (one, other):
            assert [receive_json(socket)[0] for _ in range(50)] == list(range(50))


def meet(one: Any, other: Any) -> None:
    """Make sure that both are in the room: joining goes through a broker."""
    for socket in (one, other):
        socket.send(json.dumps({"event": id(socket)}))
        while receive_json(socket)[0] != id(socket):
            pass
    one.send(json.dumps({"event": "met"}))
    for socket in (one, other):
        while receive_json(socket)[0] != "met":
            pass


def test_sync_handlers(pair: list[Process]) -> None:
    one_server, other_server = pair
    with open_socket(one_server, "/sync/") as sync, open_socket(other_server, "/room/") as other:
        assert receive(sync) == "joined"
        sync.send("hello")
        assert receive(sync) == "sync hello"
        assert receive_json(other) == ["hello", "sync", True]
        sync.send("myself")
        assert receive(sync) == "sync to myself"
        sync.send("leave")
        assert receive(sync) == "left"
        other.send(json.dumps({"event": "without sync"}))
        assert receive_json(other)[0] == "without sync"
        sync.send("myself")
        assert receive(sync) == "sync to myself"


def test_those_who_leave_leave_their_groups(pair: list[Process]) -> None:
    one_server, other_server = pair
    with open_socket(other_server, "/watch/") as watcher, open_socket(one_server, "/room/") as room:
        room.send(json.dumps({"event": "here"}))
        assert receive_json(room)[0] == "here"
        room.close(4005)
        assert receive(watcher) == "left with 4005"


def test_a_process_without_a_loop_reaches_them(pair: list[Process], layer: dict[str, Any]) -> None:
    with open_socket(pair[0], "/room/") as one, open_socket(pair[1], "/room/") as other:
        meet(one, other)
        # One after the other: a client message may overtake an event (docs/topics/order.md).
        for message, arrives in (
            (
                'send({"type": "room.message", "text": "from outside", "keys": {7: "x"}})',
                ["from outside", "x", True],
            ),
            ('broadcast({"client": "message"})', {"client": "message"}),
        ):
            said = run_script(f'from raceway import Group; Group("room").{message}; print("sent")', layer)
            assert said == "sent\n"
            if layer["BACKEND"] != IN_MEMORY:  # that has one process, so nobody is reached
                assert [receive_json(socket) for socket in (one, other)] == [arrives, arrives]


def test_named_channels(layer: dict[str, Any]) -> None:
    said = run_script(
        """
import asyncio
from raceway import Channel
from raceway.layers import get_channel_layer
from raceway.errors import ChannelFull

async def main():
    layer = get_channel_layer()
    waiting = asyncio.ensure_future(layer.receive("jobs"))
    await asyncio.sleep(0.2)
    await asyncio.to_thread(Channel("jobs").send, {"type": "job", "keys": {1: b"x"}})
    print(await waiting)
    sent = 0
    try:
        while sent < 1000:
            await Channel("full").asend({"type": "job"})
            sent += 1
    except ChannelFull:
        print("full", sent)

asyncio.run(main())
""",
        layer,
    )
    job = "{'type': 'job', 'keys': {1: b'x'}}\n"
    # V36: pub/sub has no capacity
    assert said == (job if layer["BACKEND"] == PUBSUB else job + "full 100\n")


def test_a_closing_group_message(pair: list[Process], layer: dict[str, Any]) -> None:
    with open_socket(pair[0], "/room/") as one, open_socket(pair[1], "/room/") as other:
        meet(one, other)
        one.send(json.dumps({"close": "everybody"}))
        assert closing(one) == closing(other) == (4002, "over")


@pytest.mark.parametrize("backend", [CORE, PUBSUB], ids=["core", "pubsub"])
def test_a_broker_that_is_started_anew(backend: str, folder: Path, redis_server: Process) -> None:
    port = free_port()
    with ExitStack() as stack:
        first = stack.enter_context(redis(folder, port))
        layer = {"BACKEND": backend, "CONFIG": {"hosts": [f"redis://127.0.0.1:{port}"]}}
        process = stack.enter_context(server("raceway", folder, layer=layer))
        socket = stack.enter_context(open_socket(process, "/room/"))
        socket.send(json.dumps({"event": "before"}))
        assert receive_json(socket)[0] == "before"
        first.stop()
        stack.enter_context(redis(folder, port))
        came = None
        deadline = time.monotonic() + 20
        while came is None and time.monotonic() < deadline:
            # Stale connections to the broker may fail once, and the socket with them.
            with suppress(ConnectionClosed, InvalidStatus), open_socket(process, "/room/") as other:
                other.send(json.dumps({"event": "after"}))
                with suppress(TimeoutError):
                    came = socket.recv(timeout=0.5)
        assert came is not None, process.said()
        assert json.loads(came)[0] == "after"


@pytest.mark.parametrize(
    ("kind", "count", "skips"),
    [
        (
            "Core",
            70,
            [
                "test_a_membership_ends_some_time_after_the_last_add",
                "test_receivers_on_several_machines_share_the_messages",
                "test_receivers_on_several_machines_share_the_messages_from_a_thread",
                "test_receiving_by_prefix",
            ],
        ),
        ("Pubsub", 16, []),
    ],
)
def test_channels_redis_keeps_the_contract(
    kind: str, count: int, skips: list[str], redis_server: Process
) -> None:
    """The whole suite passes over the one behind our front; of the other, what it can do without named channels."""
    url = f"redis://127.0.0.1:{redis_server.port}"
    said = run_python("-m", "tests.interop.suite_of_theirs", kind, url, timeout_s=SUITE_TIMEOUT_S)
    assert json.loads(said) == {"run": count, "faults": {}, "skips": skips}


# Other people's consumers over Redis, ours over the same


@pytest.fixture(scope="module")
def theirs_over_redis(folder: Path, redis_server: Process) -> Iterator[tuple[Process, dict[str, Any]]]:
    hosts = [f"redis://127.0.0.1:{redis_server.port}"]
    layer = {"BACKEND": CORE, "CONFIG": {"hosts": hosts, "prefix": "mixed"}}
    with server("daphne", folder, "tests.interop.project.theirs:application", layer) as process:
        yield process, layer


def test_our_group_reaches_their_consumers(theirs_over_redis: tuple[Process, dict[str, Any]]) -> None:
    process, layer = theirs_over_redis
    with open_socket(process, "/async/") as one, open_socket(process, "/sync/") as other:
        for socket in (one, other):
            socket.send("myself")
            assert receive(socket) == "to myself"
        script = (
            'from raceway import Group; Group("room").send({"type": "room.message", "text": "from ours"})'
        )
        run_script(script, layer)
        for socket in (one, other):
            assert receive(socket) == "from ours"
