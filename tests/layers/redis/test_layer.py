"""The options of the Redis layer, and what the layers before it got wrong (V32 to V39 of the inventory)."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raceway.errors import ChannelFull, ConfigurationError, InvalidChannelLayerError
from raceway.layers import channel_layers
from raceway.layers.configured import options_of
from raceway.layers.redis import RedisLayer
from raceway.layers.redis.carrier import RedisCarrier
from tests.servers.redis import Server, new_prefix, running_server, shared_server

pytestmark = pytest.mark.shell


def new_layer(server: Server | None = None, **options: Any) -> RedisLayer:
    return RedisLayer(hosts=[(server or shared_server()).url], **{"prefix": new_prefix(), **options})


@pytest.fixture
def own_server() -> Iterator[Server]:
    with running_server() as server:
        yield server


class Ear:
    """An open channel."""

    def __init__(self, layer: RedisLayer, name: str | None = None) -> None:
        self.heard: list[bytes] = []
        self.gaps: list[str] = []
        self.channel = name or layer.new_channel_name()
        layer.open(self.channel, self._deliver, gap=self.gaps.append)

    def _deliver(self, encoded: bytes) -> bool:
        self.heard.append(encoded)
        return True


async def until(holds: Any, within_s: float = 5.0) -> None:
    async with asyncio.timeout(within_s):
        while not holds():  # noqa: ASYNC110  what it waits for is in another process, or tells nobody
            await asyncio.sleep(0.01)


# Options


def test_the_setting_names_it(settings_of: Any) -> None:
    settings_of({"hosts": [("localhost", 6379)], "prefix": "mine", "expiry": 5, "capacity": 7})
    layer = channel_layers["default"]
    assert isinstance(layer, RedisLayer)
    assert (layer.prefix, layer.expiry, layer.capacity) == ("mine", 5, 7)


@pytest.mark.parametrize("option", ["hostss", "random_prefix_length", "on_disconect"])
def test_an_unknown_option_is_refused(settings_of: Any, option: str) -> None:
    """V36: options that nobody looks at."""
    settings_of({option: 1})
    with pytest.raises(InvalidChannelLayerError, match=f"no option '{option}'"):
        channel_layers["default"]


@pytest.mark.parametrize("prefix", ["", "a{b", "a}b", 7])
def test_a_prefix_keeps_the_hash_tags_whole(prefix: Any) -> None:
    with pytest.raises(ConfigurationError, match="prefix is a text without braces"):
        RedisLayer(prefix=prefix)


@pytest.mark.parametrize("callback", ["no.such.thing", 7])
def test_a_callback_is_something_to_call(callback: Any) -> None:
    with pytest.raises(ConfigurationError, match="on_disconnect"):
        RedisLayer(on_disconnect=callback)


@pytest.fixture
def settings_of(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    def use(config: dict[str, Any]) -> None:
        setting = {"default": {"BACKEND": "raceway.layers.redis.RedisLayer", "CONFIG": config}}
        monkeypatch.setattr(type(channel_layers), "configs", setting)

    channel_layers.forget()
    yield use
    channel_layers.forget()


def test_without_its_parser_it_says_what_to_install(
    settings_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings_of({})
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for name in [name for name in sys.modules if name.startswith("raceway.layers.redis")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(InvalidChannelLayerError, match=r'pip install "raceway\[redis\]"'):
        channel_layers["default"]


# Losses that are told


told: list[tuple[str, str]] = []


def note_disconnect(reason: str) -> None:
    told.append(("disconnect", reason))


async def note_reconnect() -> None:
    await asyncio.sleep(0)
    told.append(("reconnect", ""))


async def test_callbacks_are_called_once_for_each_loss() -> None:
    """V36: documented, stored, and never called."""
    told.clear()
    with running_server() as server:
        layer = new_layer(server, on_disconnect=f"{__name__}.note_disconnect", on_reconnect=note_reconnect)
        ears = [Ear(layer) for _ in range(3)]
        for ear in ears:
            await layer.group_add("room", ear.channel)
        for loss in (1, 2):
            server.ask("CLIENT", "KILL", "TYPE", "pubsub")
            await until(lambda loss=loss: len(told) == 2 * loss)
        assert [what for what, _ in told] == ["disconnect", "reconnect"] * 2
        assert str(server.port) in told[0][1]
        assert [len(ear.gaps) for ear in ears] == [2, 2, 2]
        await layer.group_send("room", {"type": "n"})
        await until(lambda: all(ear.heard for ear in ears))
        await layer.aclose()


async def test_a_callback_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise ValueError("of the callback")

    with running_server() as server:
        layer = new_layer(server, on_disconnect=fail, on_reconnect=lambda: 1 / 0)
        ear = Ear(layer)
        await layer.group_add("room", ear.channel)
        server.ask("CLIENT", "KILL", "TYPE", "pubsub")
        await until(lambda: ear.gaps)
        await layer.aclose()
    errors = [record.exc_info for record in caplog.records if record.levelname == "ERROR"]
    assert {error[0] for error in errors if error} == {ValueError, ZeroDivisionError}


async def test_who_reads_too_slowly_is_dropped_by_the_server_and_hears_of_a_gap() -> None:
    """Memory stays bounded at both ends, and the loss is told."""
    with running_server(**{"client-output-buffer-limit": ("pubsub", "1mb", "1mb", "1")}) as server:
        layer, fast = (new_layer(server, prefix=prefix) for prefix in ["slow"] * 2)
        ear = Ear(layer)
        await layer.group_add("room", ear.channel)
        await layer.group_send("elsewhere", {"type": "n"})
        carrier = fast.make_thread_carrier()
        for _ in range(30):  # in the loop's own thread, so that it reads nothing meanwhile
            carrier.cast("g:room", b"x" * 1024 * 1024)
        await until(lambda: ear.gaps)
        await fast.group_send("room", {"type": "n"})
        await until(lambda: ear.heard)
        assert len(ear.gaps) == 1
        carrier.close()
        await layer.aclose()
        await fast.aclose()


# What others got wrong


async def test_v32_who_is_full_refuses_the_newest() -> None:
    layer = new_layer(capacity=5)
    for n in range(5):
        await layer.send("thumbs", {"type": "n", "n": n})
    for n in range(3):
        with pytest.raises(ChannelFull):
            await layer.send("thumbs", {"type": "n", "n": n})
    assert [(await layer.receive("thumbs"))["n"] for _ in range(5)] == [0, 1, 2, 3, 4]
    await layer.aclose()


async def test_v33_each_connection_has_the_capacity_for_itself() -> None:
    sender, receiver = (new_layer(capacity=10, prefix=prefix) for prefix in [new_prefix()] * 2)
    names = [await receiver.new_channel() for _ in range(20)]
    for name in names:
        await sender.send(name, {"type": "n"})
    assert [await receiver.receive(name) for name in names] == [{"type": "n"}] * 20
    await sender.aclose()
    await receiver.aclose()


async def test_v34_the_clock_of_the_sender_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    prefix = new_prefix()
    right, wrong = new_layer(prefix=prefix, expiry=30), new_layer(prefix=prefix, expiry=30)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() - 3600)
    await wrong.send("thumbs", {"type": "n", "n": 1})
    monkeypatch.setattr(time, "time", lambda: real() + 3600)
    await wrong.send("thumbs", {"type": "n", "n": 2})
    monkeypatch.setattr(time, "time", real)
    await right.send("thumbs", {"type": "n", "n": 3})
    assert [(await right.receive("thumbs"))["n"] for _ in range(3)] == [1, 2, 3]
    await right.aclose()
    await wrong.aclose()


async def test_v35_integers_may_be_keys() -> None:
    layer = new_layer()
    await layer.send("thumbs", {"type": "n", "users": {7: "bob", "7": "text"}})
    assert (await layer.receive("thumbs"))["users"] == {7: "bob", "7": "text"}
    await layer.aclose()


async def test_v37_cancelled_receivers_leave_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raceway.layers.distributed.receiving.LINGER_S", 0.05)
    layer = new_layer()
    for n in range(50):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(layer.receive(f"thumbs{n % 7}"), 0.01)
    carrier = layer._carrier_here()
    assert isinstance(carrier, RedisCarrier)
    await until(lambda: not any(address.startswith("c:") for address in carrier._subscriptions))

    def topics() -> list[bytes]:
        return [one for one in shared_server().ask("PUBSUB", "CHANNELS", f"{layer.prefix}*") if b":c:" in one]

    await until(lambda: not topics())
    await layer.aclose()


async def test_v38_a_flush_asks_for_keys_in_small_steps() -> None:
    with running_server() as server:
        layer = new_layer(server)
        await layer.send("thumbs", {"type": "n"})
        await layer.flush()
        stats = server.info("commandstats")
        assert "cmdstat_scan" in stats
        assert "cmdstat_keys" not in stats
        assert "cmdstat_eval" not in stats
        assert server.ask("DBSIZE") == 0
        await layer.aclose()


def test_v39_each_loop_is_served() -> None:
    layer = new_layer()

    async def send(n: int) -> None:
        await layer.send("thumbs", {"type": "n", "n": n})

    async def receive() -> list[int]:
        found = [(await layer.receive("thumbs"))["n"] for _ in range(5)]
        await layer.aclose()
        return found

    for n in range(5):
        asyncio.run(send(n))
    assert asyncio.run(receive()) == [0, 1, 2, 3, 4]


def test_v39_two_loops_may_receive_at_once() -> None:
    layer = new_layer()
    found: list[int] = []

    async def receive() -> None:
        found.append((await asyncio.wait_for(layer.receive("thumbs"), 10))["n"])
        await layer.aclose()

    threads = [threading.Thread(target=lambda: asyncio.run(receive())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for n in range(2):
        layer.send_from_thread("thumbs", layer.prepare({"type": "n", "n": n}))
    for thread in threads:
        thread.join()
    assert sorted(found) == [0, 1]


# Databases and forks


async def test_two_databases_of_one_server_are_two_networks() -> None:
    prefix, url = new_prefix(), shared_server().url
    here = RedisLayer(hosts=[url], prefix=prefix)
    there = RedisLayer(hosts=[f"{url}/3"], prefix=prefix)
    ear = Ear(there)
    await there.group_add("room", ear.channel)
    await here.group_send("room", {"type": "n"})
    await here.send("thumbs", {"type": "n"})
    await there.group_send("room", {"type": "own"})
    await until(lambda: ear.heard)
    assert [re.search(b"own", encoded) is not None for encoded in ear.heard] == [True]
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(there.receive("thumbs"), 0.05)
    await here.flush()
    await here.aclose()
    await there.aclose()


def test_the_child_of_a_fork_has_connections_of_its_own(own_server: Server) -> None:
    layer = new_layer(own_server)
    layer.send_from_thread("thumbs", layer.prepare({"type": "parent"}))
    child = os.fork()
    if not child:
        status = 1
        try:
            layer.send_from_thread("thumbs", layer.prepare({"type": "child"}))
            asyncio.run(layer.send("thumbs", {"type": "child"}))
            status = 0
        finally:
            os._exit(status)
    _, ended = os.waitpid(child, 0)
    assert ended == 0
    layer.send_from_thread("thumbs", layer.prepare({"type": "parent"}))

    async def receive() -> list[str]:
        found = [(await layer.receive("thumbs"))["type"] for _ in range(4)]
        await layer.aclose()
        return found

    assert asyncio.run(receive()) == ["parent", "child", "child", "parent"]


async def test_a_forked_child_does_not_disturb_the_loop_of_its_parent() -> None:
    layer = new_layer()
    ear = Ear(layer)
    await layer.group_add("room", ear.channel)
    await layer.group_send("elsewhere", {"type": "n"})
    child = os.fork()
    if not child:
        status = 1
        try:
            layer.send_from_thread("thumbs", layer.prepare({"type": "child"}))
            status = 0
        finally:
            os._exit(status)
    _, ended = await asyncio.to_thread(os.waitpid, child, 0)
    assert ended == 0
    other = new_layer(prefix=layer.prefix)
    await other.group_send("room", {"type": "n"})
    await until(lambda: ear.heard)
    assert (await layer.receive("thumbs"))["type"] == "child"
    assert ear.gaps == []
    await layer.aclose()
    await other.aclose()


def test_the_reference_lists_the_options() -> None:
    text = (Path(__file__).parents[3] / "docs/reference/layers.redis.md").read_text()
    options = text.partition("## Options")[2].partition("##")[0]
    heads = re.findall(r"^- (.*?):|\(((?:`\w+`,?\s*)+)\)", options, re.MULTILINE)
    listed = {name for head in heads for part in head for name in re.findall(r"`(\w+)`", part)}
    assert {*listed, "clock"} == options_of(RedisLayer)


async def test_what_is_encrypted_cannot_be_read_in_redis_and_keys_may_change() -> None:
    prefix = new_prefix()
    old = new_layer(prefix=prefix, symmetric_encryption_keys=["old"])
    both = new_layer(prefix=prefix, symmetric_encryption_keys=["new", "old"])
    ear = Ear(both)
    await both.group_add("room", ear.channel)
    await old.send("thumbs", {"type": "n", "secret": "swordfish"})
    stored = shared_server().ask("LRANGE", f"{prefix}:{{thumbs}}:q:thumbs", 0, -1)
    assert len(stored) == 1
    assert b"swordfish" not in stored[0]
    assert (await both.receive("thumbs"))["secret"] == "swordfish"
    await old.group_send("room", {"type": "n"})
    await until(lambda: ear.heard)
    await old.aclose()
    await both.aclose()
