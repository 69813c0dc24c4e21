"""The local layer with a real broker. A second layer object has another process id, so it stands for another process;
real processes are in ``tests/topology/test_local.py``, and the contract is in ``tests/conformance``.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import select
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync

from raceway.errors import ChannelFull, ConfigurationError, LayerUnavailable
from raceway.layers import Channel, Group, channel_layers
from raceway.layers.local import LocalLayer
from raceway.layers.local.serving import BrokerHost
from raceway.layers.local.wire import Count
from raceway.layers.roster import presence_group
from raceway.layers.spec import decode_event
from raceway.prepared import PreparedMessage
from raceway.registry import Closing
from tests.waiting import until

pytestmark = pytest.mark.shell

WAIT_S = 5.0


class Ears:
    """A connection: what it hears, gaps too."""

    def __init__(self, layer: LocalLayer, channel: str | None = None) -> None:
        self.layer = layer
        self.heard: list[Any] = []
        self.channel = channel or layer.new_channel_name()
        layer.open(self.channel, self.deliver, self.push, self.heard.append, self.gap)

    def deliver(self, encoded: bytes) -> bool:
        self.heard.append(decode_event(encoded))
        return True

    def push(self, message: PreparedMessage, policy: str, key: object) -> None:
        self.heard.append((message.payload, message.is_text, policy, key))

    def gap(self, reason: str) -> None:
        self.heard.append(f"gap: {reason}")

    async def hears(self, *expected: Any) -> None:
        await until(lambda: len(self.heard) >= len(expected))
        assert self.heard == list(expected)


class Layers:
    """Layers of one test, closed at its end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.made: list[LocalLayer] = []

    def __call__(self, **options: Any) -> LocalLayer:
        self.made.append(LocalLayer(path=self.path, **options))
        return self.made[-1]


@pytest.fixture
async def make(path: Path) -> AsyncIterator[Layers]:
    layers = Layers(path)
    yield layers
    for layer in layers.made:
        await layer.aclose()


@pytest.fixture
def named(path: Path) -> Iterator[LocalLayer]:
    """A layer that ``Group`` and ``Channel`` find, for tests without an event loop."""
    layer = LocalLayer(path=path)
    channel_layers.set("default", layer)
    yield layer
    channel_layers.set("default", None)
    layer._thread_link.close()
    layer._stop_hosting()


@pytest.fixture
def unhosted(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a worker: who opens a channel does not become the host."""
    monkeypatch.setenv("RACEWAY_SUPERVISED", "1")


def others(before: Path) -> list[Path]:
    return [one for one in before.parent.iterdir() if one.suffix != ".lock"]


# From process to process


async def test_all_kinds_of_messages_cross_once(make: Layers, host: BrokerHost) -> None:
    here, there = make(), make()
    ears, own = Ears(there), Ears(here)
    for one in (ears, own):
        await one.layer.group_add("g", one.channel)
    await here.start_publish("g", PreparedMessage("text"), None, "latest")
    await here.start_publish("g", PreparedMessage(b"bytes"), own.channel)
    await here.start_publish("g", here.prepare({"type": "n", "n": 1}), ears.channel)
    await here.start_publish("g", Closing(4000, "enough"))
    await ears.hears((b"text", True, "latest", "g"), (b"bytes", False, "close", "g"), Closing(4000, "enough"))
    await own.hears((b"text", True, "latest", "g"), {"type": "n", "n": 1}, Closing(4000, "enough"))


async def test_who_shares_the_process_but_not_the_loop_hears_once(make: Layers, host: BrokerHost) -> None:
    layer, sender = make(), make()
    here = Ears(layer)
    await layer.group_add("g", here.channel)
    ready, done = threading.Event(), threading.Event()
    heard: list[Any] = []

    async def listen() -> None:
        there = Ears(layer)
        await layer.group_add("g", there.channel)
        ready.set()
        await until(lambda: len(there.heard) == 3)
        await asyncio.to_thread(done.wait, WAIT_S)
        heard.extend(there.heard)
        await layer.aclose()

    thread = asyncio.create_task(asyncio.to_thread(asyncio.run, listen()))
    await asyncio.to_thread(ready.wait, WAIT_S)
    await layer.group_send("g", {"type": "own.process"})
    await asyncio.to_thread(layer.publish_from_thread, "g", layer.prepare({"type": "own.thread"}))
    await sender.group_send("g", {"type": "other.process"})
    expected = [{"type": "own.process"}, {"type": "own.thread"}, {"type": "other.process"}]
    await here.hears(*expected)
    assert await layer.group_count("g") == await sender.group_count("g") == 2
    done.set()
    await thread
    assert heard == expected
    assert await sender.group_channels("g") == [here.channel]


async def test_a_channel_is_reached_and_joined_in_whichever_loop_of_its_process_it_is(
    make: Layers, host: BrokerHost
) -> None:
    layer, sender = make(), make()
    Ears(layer)  # the first member of the process is this loop's
    names: list[str] = []
    ready = threading.Event()

    async def listen() -> list[Any]:
        there = Ears(layer)
        names.append(there.channel)
        ready.set()
        await until(lambda: len(there.heard) == 3)
        await layer.aclose()
        return there.heard

    thread = asyncio.create_task(asyncio.to_thread(asyncio.run, listen()))
    await asyncio.to_thread(ready.wait, WAIT_S)
    await sender.send(names[0], {"type": "n", "n": 1})
    await sender.group_add("g", names[0])
    await sender.group_send("g", {"type": "n", "n": 2})
    await layer.group_add("h", names[0])
    await sender.group_send("h", {"type": "n", "n": 3})
    assert await thread == [{"type": "n", "n": number} for number in (1, 2, 3)]


async def test_an_opened_named_channel_hears_what_waits_and_leaves_the_rest(
    make: Layers, host: BrokerHost
) -> None:
    worker, sender = make(), make()
    await sender.send("work", {"type": "n", "n": 1})
    ears = Ears(worker, "work")
    await sender.send("work", {"type": "n", "n": 2})
    await ears.hears({"type": "n", "n": 1}, {"type": "n", "n": 2})
    worker.close("work")
    await worker.send("conformance", {"type": "n"})  # so that the broker has heard of it
    await sender.send("work", {"type": "n", "n": 3})
    assert (await sender.receive("work"))["n"] == 3


async def test_what_comes_for_a_channel_that_was_just_closed_is_for_the_next_who_listens(
    make: Layers, host: BrokerHost
) -> None:
    worker, sender = make(), make()
    ears = Ears(worker, "work")
    await worker.channel_statistics("other")  # now the broker has heard of it
    for number in range(3):
        sender.start_send("work", sender.prepare({"type": "n", "n": number}))
    sender._link_here().flush()
    assert select.select([worker._link_here()._fd], [], [], WAIT_S)[0]
    worker.close("work")  # before what the broker has handed over is read
    got = [(await asyncio.wait_for(sender.receive("work"), WAIT_S))["n"] for _ in range(3)]
    assert (sorted(got), ears.heard) == ([0, 1, 2], [])


async def test_a_full_channel_is_told_and_counted_by_the_sender(make: Layers, host: BrokerHost) -> None:
    layer = make(capacity=1)
    await layer.send("work", {"type": "n"})
    with pytest.raises(ChannelFull, match="The channel 'work' holds 1 messages already"):
        await layer.send("work", {"type": "n"})
    with pytest.raises(ChannelFull):
        await asyncio.to_thread(layer.send_from_thread, "work", layer.prepare({"type": "n"}))
    assert layer.full_count == 2


async def test_a_layer_that_is_closed_takes_no_message_with_it(make: Layers, host: BrokerHost) -> None:
    layer, sender = make(), make()
    for number in range(50):
        taking = asyncio.create_task(layer.receive("work"))
        await asyncio.sleep(0)
        layer._link_here().flush()
        sender.start_send("work", sender.prepare({"type": "n", "n": number}))
        sender._link_here().flush()
        await layer.aclose()
        await asyncio.wait([taking])
        receiver = taking if not taking.cancelled() else asyncio.ensure_future(sender.receive("work"))
        assert (await asyncio.wait_for(receiver, WAIT_S))["n"] == number


async def test_a_layer_that_is_closed_takes_no_message_for_who_was_cancelled_before_with_it(
    make: Layers, host: BrokerHost
) -> None:
    layer, sender = make(), make()
    for number in range(50):
        taking = asyncio.create_task(layer.receive("work"))
        await asyncio.sleep(0)
        layer._link_here().flush()
        sender.start_send("work", sender.prepare({"type": "n", "n": number}))
        sender._link_here().flush()
        taking.cancel()
        await asyncio.wait([taking])
        await layer.aclose()
        receiver = taking if not taking.cancelled() else asyncio.ensure_future(sender.receive("work"))
        assert (await asyncio.wait_for(receiver, WAIT_S))["n"] == number


# Without a broker


async def test_without_a_broker_groups_reach_this_process_and_say_so_once(
    make: Layers, unhosted: None, caplog: pytest.LogCaptureFixture
) -> None:
    layer = make()
    ears = Ears(layer)
    await layer.group_add("g", ears.channel)
    with caplog.at_level(logging.INFO, "raceway.layers"):
        for _ in range(3):
            await layer.group_send("g", {"type": "n"})
        await asyncio.to_thread(layer.publish_from_thread, "g", layer.prepare({"type": "n"}))
    await ears.hears(*[{"type": "n"}] * 4)
    assert [record.getMessage() for record in caplog.records] == [
        f"No broker of this user is running at {layer.path}: messages to groups reach this process only."
    ]
    assert await layer.group_channels("g") == [ears.channel]
    assert await asyncio.to_thread(layer.count_from_thread, "g") == 1
    await layer.flush()
    assert await layer.group_count("g") == 0


async def test_without_a_broker_a_channel_elsewhere_is_an_error_that_names_the_mend(
    make: Layers, unhosted: None
) -> None:
    layer = make()
    mend = "No broker is running at .*: start the server"
    with pytest.raises(LayerUnavailable, match=mend):
        await layer.send("work", {"type": "n"})
    with pytest.raises(LayerUnavailable, match=mend):
        await layer.receive("work")
    with pytest.raises(LayerUnavailable, match=mend):
        await asyncio.to_thread(layer.send_from_thread, "work", layer.prepare({"type": "n"}))
    with pytest.raises(LayerUnavailable, match=mend):
        await layer.group_add("g", "work")
    own = Ears(layer)
    await layer.send(own.channel, {"type": "n"})
    await own.hears({"type": "n"})


async def test_the_first_use_waits_a_moment_for_a_broker_that_is_just_starting(
    make: Layers, path: Path, unhosted: None
) -> None:
    layer = make()
    taking = asyncio.create_task(layer.receive("work"))
    sending = asyncio.create_task(layer.send("other", {"type": "n"}))
    ears = Ears(layer)
    joining = asyncio.ensure_future(layer.group_add("g", ears.channel))
    await asyncio.sleep(0)
    assert not joining.done()
    host = BrokerHost(path)
    host.start()
    try:
        await asyncio.wait_for(asyncio.gather(joining, sending), WAIT_S)
        sender = make()
        await sender.group_send("g", {"type": "n"})
        await sender.send("work", {"type": "n"})
        assert await taking == {"type": "n"}
        await ears.hears({"type": "n"})  # and no gap: it waited
        assert layer.gap_count == 0
    finally:
        host.stop()


# A broker that ends, and another one


async def test_another_broker_means_one_gap_and_all_goes_on(
    make: Layers, path: Path, unhosted: None, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = BrokerHost(path), BrokerHost(path)
    first.start()
    layer, sender = make(), make()
    ears, stranger, worker = Ears(layer), Ears(layer), Ears(layer, "work")
    await layer.group_add("g", ears.channel)
    await layer.group_add("h", ears.channel)
    taking = asyncio.create_task(layer.receive("taken"))
    await sender.group_send("g", {"type": "n", "n": 1})
    await ears.hears({"type": "n", "n": 1})
    first.stop()
    second.start()
    try:
        gap = f"gap: The broker at {path} has ended the connection"
        await ears.hears({"type": "n", "n": 1}, gap)
        await sender.group_send("g", {"type": "n", "n": 2})
        await sender.send("work", {"type": "n", "n": 3})
        await sender.send("taken", {"type": "n", "n": 4})
        await sender.send(stranger.channel, {"type": "n", "n": 5})
        assert (await asyncio.wait_for(taking, WAIT_S))["n"] == 4
        await ears.hears({"type": "n", "n": 1}, gap, {"type": "n", "n": 2})
        await worker.hears({"type": "n", "n": 3})
        await stranger.hears({"type": "n", "n": 5})
        assert (layer.gap_count, sender.gap_count) == (1, 0)
    finally:
        second.stop()
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert (
        f"Messages from other processes may have been missed: The broker at {path} has ended the connection."
        in (warnings)
    )


async def test_named_channels_of_groups_outlive_the_broker(make: Layers, path: Path, unhosted: None) -> None:
    first, second = BrokerHost(path), BrokerHost(path)
    first.start()
    layer, sender = make(), make()
    for channel in ("loops", "discarded"):
        await layer.group_add("g", channel)
    for channel in ("threads", "discarded.by.thread"):
        await asyncio.to_thread(layer.add_channel, "g", channel)
    await layer.group_discard("g", "discarded")
    await asyncio.to_thread(layer.discard_channel, "g", "discarded.by.thread")
    first.stop()
    second.start()
    try:
        await until(lambda: layer._link_here().member.broker == second._serving._broker.name)  # type: ignore[union-attr]
        assert set(await layer.group_channels("g")) == {"loops", "threads"}
        await sender.group_send("g", {"type": "n"})
        for channel in ("loops", "threads"):
            assert (await asyncio.wait_for(layer.receive(channel), WAIT_S)) == {"type": "n"}
        await layer.flush()
        assert len(layer._names) == 0
    finally:
        second.stop()


def test_a_thread_says_its_named_channels_to_the_next_broker(named: LocalLayer, path: Path) -> None:
    for number in range(3):
        host = BrokerHost(path)
        host.start()
        if not number:
            Group("g").add("work")
        assert Group("g").members() == ["work"]
        host.stop()


async def test_who_waits_for_an_answer_as_the_broker_ends_is_told(make: Layers, host: BrokerHost) -> None:
    layer, other = make(), make()
    ears = Ears(other)
    await other.group_add("g", ears.channel)
    # the other process does not answer: its loop is this one, and busy until the broker has ended
    link = layer._link_here()
    _, counting = link.ask(lambda n: Count(n, "g"))
    link.flush()
    host.stop()
    with pytest.raises(LayerUnavailable, match="whether it had done what it was asked for is not known"):
        await asyncio.wait_for(counting, WAIT_S)


def test_a_thread_takes_a_new_connection_when_the_broker_was_replaced(named: LocalLayer, path: Path) -> None:
    for _ in range(2):
        host = BrokerHost(path)
        host.start()
        Channel("work").send({"type": "n"})
        assert asyncio.run(named.channel_statistics("work"))["messages_pending"] == 1
        host.stop()
    with pytest.raises(LayerUnavailable, match="No broker is running"):
        Channel("work").send({"type": "n"})


def test_a_thread_waits_a_moment_for_the_next_broker(named: LocalLayer, path: Path) -> None:
    first, second = BrokerHost(path), BrokerHost(path)
    first.start()
    second.start()  # it waits to take over
    Channel("work").send({"type": "n"})
    first.stop()
    Channel("work").send({"type": "n"})
    second.stop()


# Who hosts


async def test_who_opens_a_connection_hosts_the_broker_and_lets_go_of_it(make: Layers, path: Path) -> None:
    layer, sender = make(), make()
    await sender.new_channel()
    assert others(path) == []
    ears = Ears(layer)
    assert others(path) == [path]
    await sender.send(ears.channel, {"type": "n"})
    await ears.hears({"type": "n"})
    await layer.aclose()
    assert others(path) == []
    await until(lambda: not sender._link_here().is_up)
    again = Ears(layer)
    await sender.send(again.channel, {"type": "n"})
    await again.hears({"type": "n"})


async def test_who_receives_for_a_connection_hosts_too(make: Layers, path: Path) -> None:
    """As Channels' own consumers do."""
    layer = make()
    name = await layer.new_channel()
    receiving = asyncio.ensure_future(layer.receive(name))
    await asyncio.sleep(0)
    await layer.group_add("group", name)
    await make().group_send("group", {"type": "n"})
    assert await receiving == {"type": "n"}


async def test_a_worker_under_a_supervisor_and_a_mere_sender_host_nothing(
    make: Layers, path: Path, unhosted: None
) -> None:
    layer = make()
    Ears(layer)
    layer.host()
    await layer.group_send("g", {"type": "n"})
    assert others(path) == []


def test_threads_host_nothing(named: LocalLayer, path: Path) -> None:
    Group("g").send({"type": "n"})
    assert Group("g").count() == 0
    assert others(path) == []


# Loops and threads


def test_what_a_script_awaits_is_sent_before_its_loop_ends(named: LocalLayer, host: BrokerHost) -> None:
    for number in range(3):
        async_to_sync(named.group_add)("g", f"work.{number}")
        async_to_sync(named.group_send)("g", {"type": "n"})
    for number in range(3):
        assert asyncio.run(named.channel_statistics(f"work.{number}"))["messages_pending"] == 3 - number


def test_loops_that_ended_leave_no_socket(named: LocalLayer, host: BrokerHost) -> None:
    def fds() -> int:
        return len(os.listdir("/proc/self/fd"))

    async def use() -> None:
        ears = Ears(named)
        await named.group_add("g", ears.channel)

    async_to_sync(named.group_send)("g", {"type": "n"})
    before = fds()
    for _ in range(5):
        asyncio.run(use())
    Group("g").send({"type": "n"})  # the next use of the layer
    Channel("work").send({"type": "n"})
    gc.collect()
    assert fds() <= before + 2  # the threads' connection, at both ends
    assert Group("g").count() == 0


async def test_calls_from_the_loops_own_thread_act_at_once(make: Layers, host: BrokerHost) -> None:
    layer, other = make(), make()
    ears = Ears(other)
    await other.group_add("g", ears.channel)
    layer.add_channel("g", "work")
    layer.publish_from_thread("g", layer.prepare({"type": "n", "n": 1}))
    layer.discard_channel("g", "work")
    layer.publish_from_thread("g", layer.prepare({"type": "n", "n": 2}))
    layer.send_from_thread("work", layer.prepare({"type": "n", "n": 3}))
    await ears.hears({"type": "n", "n": 1}, {"type": "n", "n": 2})
    assert [(await layer.receive("work"))["n"] for _ in range(2)] == [1, 3]


async def test_a_failure_that_nobody_awaits_is_logged(
    make: Layers, host: BrokerHost, caplog: pytest.LogCaptureFixture
) -> None:
    layer = make(capacity=1)
    for _ in range(2):
        layer.start_send("work", layer.prepare({"type": "n"}))
    await until(lambda: caplog.records)
    assert caplog.records[0].getMessage() == "Sending to work failed."


def test_a_forked_child_is_another_process_with_connections_of_its_own(
    named: LocalLayer, host: BrokerHost
) -> None:
    Channel("work").send({"type": "n", "from": "parent"})
    process = named._process
    child = os.fork()
    if child == 0:
        try:
            assert named._process != process
            Channel("work").send({"type": "n", "from": "child"})
            os._exit(0)
        except BaseException:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert status == 0
    assert named._process == process
    Channel("work").send({"type": "n", "from": "parent again"})

    async def received() -> list[Any]:
        return [(await named.receive("work"))["from"] for _ in range(3)]

    assert asyncio.run(received()) == ["parent", "child", "parent again"]


# Presence


async def test_who_is_there_is_known_in_all_processes_and_told_by_one(make: Layers, host: BrokerHost) -> None:
    here, there = make(), make()
    changes: list[Any] = []
    for layer in (here, there):
        layer.presence_changed = lambda *change: changes.append(change)
    tab, other_tab, watcher = Ears(here), Ears(there), Ears(there)
    await there.group_add(presence_group("kitchen"), watcher.channel)
    await here.start_enter("kitchen", "fry", tab.channel, {"page": 1}, 0)
    await there.start_enter("kitchen", "fry", other_tab.channel, {"page": 2}, 0)
    assert await here.roll("kitchen") == {"fry": [{"page": 1}, {"page": 2}]}
    assert await asyncio.to_thread(there.roll_from_thread, "kitchen") == {"fry": [{"page": 1}, {"page": 2}]}
    assert (
        await there.roll_count("kitchen")
        == await asyncio.to_thread(here.roll_count_from_thread, "kitchen")
        == 1
    )
    await here.start_exit("kitchen", tab.channel)
    assert await here.roll("kitchen") == {"fry": [{"page": 2}]}
    there.close(other_tab.channel)
    assert await there.roll_count("kitchen") == 0
    await until(lambda: len(changes) == 2)
    assert [change[:3] for change in changes] == [("kitchen", "joined", "fry"), ("kitchen", "left", "fry")]
    await until(lambda: any(one["left"] for one in watcher.heard))
    assert watcher.heard[0] == {
        "type": "presence.diff",
        "presence": "kitchen",
        "joined": {"fry": [{"page": 1}]},
        "changed": {},
        "left": {},
    }


async def test_whose_process_closes_its_layer_is_there_no_more(make: Layers, host: BrokerHost) -> None:
    here, there = make(), make()
    await here.start_enter("kitchen", "fry", Ears(here).channel, {}, 0)
    assert await there.roll_count("kitchen") == 1
    await here.aclose()
    loop = asyncio.get_running_loop()
    deadline = loop.time() + WAIT_S
    while await there.roll_count("kitchen"):
        assert loop.time() < deadline


async def test_who_was_there_is_there_after_another_broker_has_begun_and_nobody_sees_half_of_them(
    make: Layers, path: Path, unhosted: None
) -> None:
    first, second = BrokerHost(path), BrokerHost(path)
    first.start()
    layers = [make() for _ in range(3)]
    changes: list[Any] = []
    for number, layer in enumerate(layers):
        layer.presence_changed = lambda *change: changes.append(change)
        await layer.start_enter("kitchen", f"cook {number}", Ears(layer).channel, {}, 15.0)
    assert await layers[0].roll_count("kitchen") == 3
    first.stop()
    second.start()
    try:
        await until(lambda: layers[0]._link_here().is_up)
        assert sorted(await layers[0].roll("kitchen")) == ["cook 0", "cook 1", "cook 2"]
        assert [change[1] for change in changes] == ["joined"] * 3
    finally:
        second.stop()


async def test_without_a_broker_nobody_can_say_who_is_there(make: Layers, unhosted: None) -> None:
    layer = make()
    await layer.start_enter("kitchen", "fry", Ears(layer).channel, {}, 0)
    with pytest.raises(LayerUnavailable, match="No broker is running"):
        await layer.roll("kitchen")


# Options


def test_impossible_options_are_told(path: Path) -> None:
    with pytest.raises(ConfigurationError, match="lease_s is a number above 0"):
        LocalLayer(path=path, lease_s=0)
    with pytest.raises(ConfigurationError, match="max_message_bytes is at most"):
        LocalLayer(path=path, max_message_bytes=2**26)
    with pytest.raises(ConfigurationError, match="relative"):
        LocalLayer(path="socket")
