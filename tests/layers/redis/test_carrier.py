"""What a carrier promises, on a real server: queues, holds, roles, and what becomes of it when things go wrong."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any

import pytest

from raceway import clock
from raceway.errors import ChannelFull, LayerUnavailable
from raceway.layers.redis import pipe as pipe_module
from raceway.layers.redis import requests as requests_module
from raceway.layers.redis.carrier import RedisCarrier
from raceway.layers.redis.connection import pack
from raceway.layers.redis.hosts import parse_hosts
from raceway.layers.redis.requests import Requests
from raceway.layers.redis.threads import RedisThreadCarrier
from raceway.layers.redis.topology import Topology
from tests.servers.redis import Server, eventually, new_prefix, running_server, shared_server

pytestmark = pytest.mark.shell


class Ears:
    def __init__(self) -> None:
        self.frames: list[tuple[str, bytes]] = []
        self.told: list[str] = []

    def heard(self, address: str, frame: bytes) -> None:
        self.frames.append((address, frame))

    def lost(self, reason: str) -> None:
        self.told.append("lost")

    def missed(self, reason: str) -> None:
        self.told.append("missed")


class Kit:
    """Carriers on one server, with one prefix."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.prefix = new_prefix()
        self.made: list[RedisCarrier] = []

    def carrier(self, ears: Ears | None = None, hosts: Any = None) -> RedisCarrier:
        topology = Topology(parse_hosts(hosts or [self.server.url]))
        requests = Requests(self.prefix, topology)
        loop = asyncio.get_running_loop()
        made = RedisCarrier(loop, ears or Ears(), topology, requests, clock.monotonic)
        self.made.append(made)
        return made

    def thread_carrier(self) -> RedisThreadCarrier:
        topology = Topology(parse_hosts([self.server.url]))
        return RedisThreadCarrier(topology, Requests(self.prefix, topology))

    def all_keys(self) -> list[bytes]:
        found: list[bytes] = self.server.ask("KEYS", f"{self.prefix}*")
        return found


@pytest.fixture
async def kit() -> AsyncIterator[Kit]:
    made = Kit(shared_server())
    yield made
    for carrier in made.made:
        await carrier.aclose()


@pytest.fixture
def own_server() -> Iterator[Server]:
    with running_server() as server:
        yield server


@pytest.fixture
async def own_kit(own_server: Server) -> AsyncIterator[Kit]:
    made = Kit(own_server)
    yield made
    for carrier in made.made:
        await carrier.aclose()


async def until(holds: Any, within_s: float = 5.0) -> None:
    async with asyncio.timeout(within_s):
        while not holds():  # noqa: ASYNC110  what it waits for is in another process, or tells nobody
            await asyncio.sleep(0.01)


# Queues


async def test_messages_come_in_order_and_once(kit: Kit) -> None:
    one, other = kit.carrier(), kit.carrier()
    for n in range(20):
        one.put("thumbs", b"%d" % n, 100, 60)
    found = [await (one, other)[n % 2].pop("thumbs", False) for n in range(21)]
    assert [popped.entry for popped in found] == [b"%d" % n for n in range(20)] + [None]
    assert found[-1].wait_s is None


async def test_a_prefix_is_popped_in_the_order_of_arrival(kit: Kit) -> None:
    carrier = kit.carrier()
    for n, channel in enumerate(["some!b", "some!a", "some!b"]):
        await carrier.put(channel, b"%d" % n, 100, 60)
    found = [await carrier.pop("some!", False) for _ in range(4)]
    assert [(popped.channel, popped.entry) for popped in found] == [
        ("some!b", b"0"),
        ("some!a", b"1"),
        ("some!b", b"2"),
        ("", None),
    ]


async def test_capacity_is_checked_by_the_server(kit: Kit) -> None:
    """V36: of many senders at once no more than the capacity get in; V32: the newest are refused, not the oldest."""
    carriers = [kit.carrier() for _ in range(4)]
    puts = [carrier.put("thumbs", b"%d" % n, 5, 60) for n in range(5) for carrier in carriers]
    ended = await asyncio.gather(*puts, return_exceptions=True)
    assert sum(isinstance(end, ChannelFull) for end in ended) == 15
    assert (await carriers[0].figures("thumbs"))["messages_pending"] == 5
    assert (await carriers[0].figures("thumbs"))["channel_full_count"] == 15
    assert (await carriers[0].pop("thumbs", False)).entry == b"0"


async def test_what_has_expired_takes_no_room_and_never_comes(kit: Kit) -> None:
    carrier = kit.carrier()
    for _ in range(3):
        await carrier.put("thumbs", b"old", 3, 0.05)
    await asyncio.sleep(0.1)
    await carrier.put("thumbs", b"new", 1, 60)
    assert (await carrier.pop("thumbs", False)).entry == b"new"


async def test_who_waits_is_woken_when_a_queue_is_no_longer_empty(kit: Kit) -> None:
    ears = Ears()
    carrier, sender = kit.carrier(ears), kit.carrier()
    subscribed = carrier.subscribe("c:thumbs")
    assert subscribed is not None
    await subscribed
    await sender.put("thumbs", b"1", 100, 60)
    await sender.put("thumbs", b"2", 100, 60)
    await until(lambda: ears.frames)
    await asyncio.sleep(0.05)
    assert ears.frames == [("c:thumbs", b"")]
    first = await carrier.pop("thumbs", False)
    await carrier.pop("thumbs", False)
    carrier.put_back(first)
    await until(lambda: len(ears.frames) == 2)


async def test_what_is_put_back_is_the_first_again(kit: Kit) -> None:
    carrier = kit.carrier()
    for n in range(3):
        await carrier.put("thumbs", b"%d" % n, 100, 60)
    carrier.put_back(await carrier.pop("thumbs", True))
    assert [(await carrier.pop("thumbs", False)).entry for _ in range(3)] == [b"0", b"1", b"2"]
    assert (await carrier.figures("thumbs"))["messages_lost_count"] == 0


async def test_what_nobody_waits_for_any_longer_is_put_back(kit: Kit) -> None:
    carrier = kit.carrier()
    await carrier.put("thumbs", b"1", 100, 60)
    carrier.pop("thumbs", False).cancel()
    await asyncio.sleep(0.05)
    await until(lambda: not carrier._holds)
    assert (await carrier.pop("thumbs", False)).entry == b"1"


async def test_delayed_messages_wait_in_the_server(kit: Kit) -> None:
    carrier = kit.carrier()
    await carrier.put_later("thumbs", b"late", 60, 0.2, "one")
    await carrier.put_later("thumbs", b"never", 60, 0.2, "two")
    popped = await carrier.pop("thumbs", False)
    assert popped.entry is None
    assert popped.wait_s is not None
    assert 0.1 < popped.wait_s <= 0.2
    assert await carrier.cancel("thumbs", "two")
    assert not await carrier.cancel("thumbs", "two")
    await asyncio.sleep(popped.wait_s + 0.01)
    assert (await carrier.pop("thumbs", False)).entry == b"late"
    assert not await carrier.cancel("thumbs", "one")
    assert (await carrier.pop("thumbs", False)).wait_s is None


async def test_who_waits_learns_of_a_message_that_is_due_earlier(kit: Kit) -> None:
    ears = Ears()
    carrier = kit.carrier(ears)
    subscribed = carrier.subscribe("c:thumbs")
    assert subscribed is not None
    await subscribed
    await carrier.put_later("thumbs", b"late", 60, 30, "one")
    await until(lambda: ears.frames == [("c:thumbs", b"")])


# In the hands of a process


async def test_who_dies_with_a_message_in_its_hands_loses_it_and_it_is_counted(
    kit: Kit, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(requests_module, "HOLD_LEASE_S", 0.1)
    dead, alive = kit.carrier(), kit.carrier()
    await dead.put("thumbs", b"1", 100, 60)
    assert (await dead.pop("thumbs", True)).entry == b"1"
    popped = await alive.pop("thumbs", True)
    assert popped.entry is None
    assert popped.wait_s is not None, "somebody has to look when the lease runs out"
    await asyncio.sleep(0.15)
    assert (await alive.pop("thumbs", True)).entry is None
    assert (await alive.pop("thumbs", True)).wait_s is None
    assert (await alive.figures("thumbs"))["messages_lost_count"] == 1
    assert (await alive.figures(None))["messages_lost_count"] == 1
    assert sum("A message to thumbs is lost" in record.message for record in caplog.records) == 1


async def test_what_is_released_in_time_is_not_lost(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests_module, "HOLD_LEASE_S", 0.1)
    carrier = kit.carrier()
    await carrier.put("thumbs", b"1", 100, 60)
    carrier.release(await carrier.pop("thumbs", True))
    await asyncio.sleep(0.15)
    assert (await carrier.figures("thumbs"))["messages_lost_count"] == 0


async def test_a_long_task_keeps_its_message(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests_module, "HOLD_LEASE_S", 0.3)
    monkeypatch.setattr("raceway.layers.redis.carrier.RENEW_S", 0.1)
    carrier = kit.carrier()
    await carrier.put("thumbs", b"1", 100, 60)
    await carrier.pop("thumbs", True)
    await asyncio.sleep(0.6)
    assert (await carrier.figures("thumbs"))["messages_lost_count"] == 0


# Groups


async def test_members_by_name_are_told_with_a_group_message(kit: Kit) -> None:
    ears = Ears()
    carrier = kit.carrier(ears)
    subscribed = carrier.subscribe("g:room")
    assert subscribed is not None
    await subscribed
    assert carrier.subscribe("g:room") is None
    assert await carrier.publish("room", b"1") == []
    await carrier.add_named("room", "thumbs", 60)
    await carrier.add_named("room", "gone", 0.05)
    await asyncio.sleep(0.1)
    assert await carrier.publish("room", b"2") == ["thumbs"]
    await carrier.discard_named("room", "thumbs")
    assert await carrier.publish("room", b"3") == []
    await until(lambda: len(ears.frames) == 3)
    assert ears.frames == [("g:room", b"1"), ("g:room", b"2"), ("g:room", b"3")]


async def test_answers_that_come_together_are_read_once(own_kit: Kit) -> None:
    carrier = own_kit.carrier()
    await carrier.add_named("room", "thumbs", 60)
    assert await asyncio.gather(*[carrier.publish("room", b"frame") for _ in range(20)]) == [["thumbs"]] * 20
    assert own_kit.server.info("commandstats")["cmdstat_evalsha"].startswith("calls=21,")


async def test_subscribing_again_and_again_ends_in_the_last_state(kit: Kit) -> None:
    ears = Ears()
    carrier = kit.carrier(ears)
    for _ in range(5):
        carrier.subscribe("g:room")
        carrier.unsubscribe("g:room")
    subscribed = carrier.subscribe("g:room")
    assert subscribed is not None
    await subscribed
    assert await carrier.cast("g:room", b"1") == 1
    await until(lambda: ears.frames)
    carrier.unsubscribe("g:room")
    await asyncio.sleep(0.05)
    assert await carrier.cast("g:room", b"2") == 0
    assert ears.frames == [("g:room", b"1")]


async def test_many_subscriptions_are_few_commands(own_kit: Kit) -> None:
    carrier = own_kit.carrier()
    before = int(own_kit.server.info("stats")["total_commands_processed"])
    waiters = [carrier.subscribe(f"g:room{n}") for n in range(2500)]
    await asyncio.gather(*[waiter for waiter in waiters if waiter is not None])
    assert int(own_kit.server.info("stats")["total_commands_processed"]) - before < 10
    assert own_kit.server.ask("PUBSUB", "NUMSUB", carrier._requests.topic("g:room2499"))[1] == 1


async def test_a_group_message_is_one_publish(own_kit: Kit) -> None:
    carrier = own_kit.carrier()
    await asyncio.gather(*[carrier.publish("room", b"frame") for _ in range(100)])
    stats = own_kit.server.info("commandstats")
    assert stats["cmdstat_publish"].startswith("calls=100,")
    assert "cmdstat_evalsha" not in stats


async def test_a_frame_that_cannot_be_handed_over_stops_no_other(
    kit: Kit, caplog: pytest.LogCaptureFixture
) -> None:
    ears = Ears()
    carrier = kit.carrier(ears)
    hear = ears.heard

    def fail_once(address: str, frame: bytes) -> None:
        ears.heard = hear  # type: ignore[method-assign]
        raise ValueError("of the layer")

    ears.heard = fail_once  # type: ignore[method-assign]
    subscribed = carrier.subscribe("g:room")
    assert subscribed is not None
    await subscribed
    await asyncio.gather(*[carrier.cast("g:room", b"%d" % n) for n in range(5)])
    await until(lambda: len(ears.frames) == 4)
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ValueError]


# Roles


async def test_one_carrier_has_a_role(kit: Kit) -> None:
    one, other = kit.carrier(), kit.carrier()
    assert await one.elect("desk", 5)
    assert await one.elect("desk", 5)
    assert not await other.elect("desk", 5)
    await other.resign("desk")
    assert not await other.elect("desk", 5)
    await one.flush()
    assert not await other.elect("desk", 5), "a flush changes nothing of who has a role"
    await one.resign("desk")
    assert await other.elect("desk", 0.05)
    await asyncio.sleep(0.1)
    assert await one.elect("desk", 5)


# All of it


async def test_a_flush_forgets_what_is_ours_and_nothing_else(kit: Kit) -> None:
    carrier, stranger = kit.carrier(), Kit(kit.server)
    other = stranger.carrier()
    for n in range(1500):
        carrier.put(f"channel{n}", b"1", 100, 60)
    await carrier.put_later("thumbs", b"late", 60, 30, "token")
    await carrier.add_named("room", "thumbs", 60)
    await other.put("thumbs", b"theirs", 100, 60)
    assert (await carrier.figures(None))["messages_pending"] == 1500
    await carrier.flush()
    assert kit.all_keys() == []
    assert (await other.pop("thumbs", False)).entry == b"theirs"
    await other.aclose()


async def test_every_key_goes_by_itself(kit: Kit) -> None:
    carrier = kit.carrier()
    await carrier.put("thumbs", b"1", 100, 60)
    await carrier.put("some!one", b"1", 100, 60)
    await carrier.pop("thumbs", True)
    await carrier.put_later("thumbs", b"late", 60, 30, "token")
    await carrier.add_named("room", "thumbs", 60)
    await carrier.elect("desk", 15)
    assert kit.all_keys()
    assert [key for key in kit.all_keys() if kit.server.ask("PTTL", key) < 0] == []


async def test_scripts_that_the_server_has_forgotten_are_loaded_again_in_order(kit: Kit) -> None:
    carrier = kit.carrier()
    await carrier.put("thumbs", b"0", 100, 60)
    kit.server.ask("SCRIPT", "FLUSH")
    puts = [carrier.put("thumbs", b"%d" % n, 100, 60) for n in range(1, 5)]
    await asyncio.sleep(0)
    puts += [carrier.put("thumbs", b"%d" % n, 100, 60) for n in range(5, 10)]
    await asyncio.gather(*puts)
    assert [(await carrier.pop("thumbs", False)).entry for _ in range(10)] == [b"%d" % n for n in range(10)]


async def test_a_command_that_the_server_refuses_says_so(kit: Kit) -> None:
    carrier = kit.carrier()
    kit.server.ask("SET", f"{kit.prefix}:{{thumbs}}:q:thumbs", "no list")
    with pytest.raises(LayerUnavailable, match="WRONGTYPE"):
        await carrier.put("thumbs", b"1", 100, 60)
    await carrier.flush()


async def test_a_pipe_that_is_full_refuses(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipe_module, "PIPE_COMMANDS", 10)
    carrier = kit.carrier()
    casts = [carrier.cast("g:room", b"frame") for _ in range(11)]
    ended = await asyncio.gather(*casts, return_exceptions=True)
    assert ended[:10] == [0] * 10
    assert isinstance(ended[10], LayerUnavailable)
    assert "too slow" in str(ended[10])


async def test_large_frames_arrive_whole(kit: Kit) -> None:
    ears = Ears()
    carrier = kit.carrier(ears)
    subscribed = carrier.subscribe("g:room")
    assert subscribed is not None
    await subscribed
    frames = [bytes([n]) * 3_000_000 for n in range(5)]
    assert await asyncio.gather(*[carrier.cast("g:room", frame) for frame in frames]) == [1] * 5
    await until(lambda: len(ears.frames) == 5)
    assert [frame for _, frame in ears.frames] == frames


# When things go wrong


async def test_without_a_server_commands_fail_within_a_bound(own_kit: Kit) -> None:
    own_kit.server.kill()
    carrier = own_kit.carrier()
    began = asyncio.get_running_loop().time()
    with pytest.raises(LayerUnavailable, match="cannot be reached"):
        await carrier.cast("g:room", b"frame")
    assert asyncio.get_running_loop().time() - began < 3
    subscribed = carrier.subscribe("g:room")
    assert subscribed is not None
    with pytest.raises(LayerUnavailable, match="cannot be reached"):
        await subscribed


async def test_a_subscription_stands_until_there_is_a_server(own_kit: Kit) -> None:
    own_kit.server.kill()
    ears = Ears()
    carrier = own_kit.carrier(ears)
    subscribed = carrier.subscribe("g:room")
    assert subscribed is not None
    with pytest.raises(LayerUnavailable):
        await subscribed
    assert ears.told == []
    own_kit.server.start()
    await until(lambda: ears.told == ["missed"])
    assert await carrier.cast("g:room", b"frame") == 1


async def test_a_command_waits_a_moment_for_a_server_that_starts(own_kit: Kit) -> None:
    own_kit.server.kill()
    carrier = own_kit.carrier()
    putting = asyncio.gather(*[carrier.put("thumbs", b"%d" % n, 100, 60) for n in range(3)])
    await asyncio.sleep(0.2)
    own_kit.server.start()
    await putting
    assert [(await carrier.pop("thumbs", False)).entry for _ in range(3)] == [b"0", b"1", b"2"]


async def test_a_loop_that_stood_still_has_not_waited(kit: Kit) -> None:
    """Ten thousand joins at once, or somebody's blocking call: that says nothing of the server."""
    ears = Ears()
    carrier = kit.carrier(ears)
    subscribed = carrier.subscribe("g:room")
    cast = carrier.cast("g:room", b"frame")
    time.sleep(1.2)  # noqa: ASYNC251  that is the point
    assert subscribed is not None
    await subscribed
    await cast
    assert ears.told == []


async def test_a_lost_subscription_is_told_once_when_all_are_there_again(own_kit: Kit) -> None:
    ears = Ears()
    carrier = own_kit.carrier(ears)
    rooms = [f"g:room{n}" for n in range(50)]
    await asyncio.gather(*[waiter for room in rooms if (waiter := carrier.subscribe(room)) is not None])
    assert own_kit.server.ask("CLIENT", "KILL", "TYPE", "pubsub") == 1
    await until(lambda: ears.told == ["lost", "missed"])
    assert [await carrier.cast(room, b"frame") for room in rooms] == [1] * 50
    assert carrier.subscribe("g:room7") is None
    assert ears.told == ["lost", "missed"]


async def test_a_written_command_is_never_written_again(own_kit: Kit) -> None:
    carrier, other = own_kit.carrier(), own_kit.carrier()
    await carrier.put("thumbs", b"first", 100, 60)
    await other.put("others", b"1", 100, 60)
    own_kit.server.pause()
    puts = [carrier.put("thumbs", b"%d" % n, 100, 60) for n in range(3)]
    await asyncio.sleep(0.05)
    pipe = next(iter(carrier._pipes.values()))
    pipe.renew("for the test")  # the server will still read what was written
    own_kit.server.resume()
    for put in puts:
        with pytest.raises(LayerUnavailable, match="not known"):
            await put
    await until(lambda: own_kit.server.ask("LLEN", f"{own_kit.prefix}:{{thumbs}}:q:thumbs") == 4)
    await carrier.put("thumbs", b"last", 100, 60)
    found = [(await carrier.pop("thumbs", False)).entry for _ in range(6)]
    assert found == [b"first", b"0", b"1", b"2", b"last", None]


async def test_a_server_that_stops_for_a_moment_is_waited_for(own_kit: Kit) -> None:
    ears = Ears()
    carrier = own_kit.carrier(ears)
    subscribed = carrier.subscribe("g:room")
    assert subscribed is not None
    await subscribed
    await carrier.named("room")  # both connections are there
    own_kit.server.pause()
    cast = carrier.cast("g:room", b"frame")
    await asyncio.sleep(1.5)
    assert not cast.done()
    own_kit.server.resume()
    assert await cast == 1
    await until(lambda: ears.frames == [("g:room", b"frame")])
    assert ears.told == []


async def test_a_loss_is_told_though_one_subscription_is_refused(own_kit: Kit) -> None:
    rules = ["on", ">pw", "~*", "+@all", f"&{own_kit.prefix}:g:{{room}}"]
    own_kit.server.ask("ACL", "SETUSER", "joe", "reset", *rules)
    ears = Ears()
    carrier = own_kit.carrier(ears, hosts=[f"redis://joe:pw@127.0.0.1:{own_kit.server.port}"])
    for address, is_refused in (("g:room", False), ("g:other", True)):
        subscribed = carrier.subscribe(address)
        assert subscribed is not None
        await asyncio.wait([subscribed])
        assert (subscribed.exception() is not None) == is_refused
    own_kit.server.ask("ACL", "SETUSER", "joe", f"&{own_kit.prefix}:g:{{other}}")
    assert ears.told == []
    own_kit.server.ask("CLIENT", "KILL", "TYPE", "pubsub")
    await until(lambda: ears.told == ["lost", "missed"])
    own_kit.server.ask(
        "ACL", "SETUSER", "joe", "resetchannels", f"&{own_kit.prefix}:g:{{none}}"
    )  # which ends it
    await until(lambda: ears.told == ["lost", "missed"] * 2)


async def test_a_loss_is_told_while_others_subscribe_all_the_time(own_kit: Kit) -> None:
    ears = Ears()
    carrier = own_kit.carrier(ears)
    subscribed = carrier.subscribe("g:room")
    assert subscribed is not None
    await subscribed
    is_over = False

    async def subscribe_all_the_time() -> None:
        number = 0
        while not is_over:
            carrier.subscribe(f"g:{(number := number + 1)}")
            await asyncio.sleep(0)

    subscribing = asyncio.create_task(subscribe_all_the_time())
    own_kit.server.ask("CLIENT", "KILL", "TYPE", "pubsub")
    await until(lambda: ears.told == ["lost", "missed"])
    is_over = True
    await subscribing


async def test_a_server_that_takes_no_writes_refuses_within_a_bound(own_kit: Kit) -> None:
    """A replica for a host, or a master that Sentinel has not replaced yet."""
    with running_server() as master:
        own_kit.server.ask("REPLICAOF", *master.address)
        carrier, threads = own_kit.carrier(), own_kit.thread_carrier()
        for put in (carrier.put, partial(asyncio.to_thread, threads.put)):
            before = int(own_kit.server.info("stats")["total_connections_received"])
            with pytest.raises(LayerUnavailable, match="READONLY"):
                await asyncio.wait_for(put("thumbs", b"1", 100, 60), 3)
            assert int(own_kit.server.info("stats")["total_connections_received"]) - before < 30
        assert await carrier.cast("g:room", b"frame") == 0
        own_kit.server.ask("REPLICAOF", "NO", "ONE")
        await carrier.put("thumbs", b"2", 100, 60)
        await asyncio.to_thread(threads.put, "thumbs", b"3", 100, 60)
        assert [(await carrier.pop("thumbs", False)).entry for _ in range(2)] == [b"2", b"3"]
        threads.close()


async def test_a_server_without_memory_keeps_what_is_held_and_who_has_a_role(
    own_kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests_module, "HOLD_LEASE_S", 0.6)
    monkeypatch.setattr("raceway.layers.redis.carrier.RENEW_S", 0.1)
    carrier = own_kit.carrier()
    for entry in (b"1", b"2"):
        await carrier.put("thumbs", entry, 100, 60)
    first = await carrier.pop("thumbs", True)
    assert await carrier.elect("desk", 60)
    own_kit.server.ask("CONFIG", "SET", "maxmemory", "1kb")
    with pytest.raises(LayerUnavailable, match="OOM"):
        await carrier.put("thumbs", b"3", 100, 60)
    second = await carrier.pop("thumbs", True)
    assert (first.entry, second.entry) == (b"1", b"2")
    assert await carrier.elect("desk", 60)
    assert own_kit.server.ask("PTTL", f"{own_kit.prefix}:role:{{desk}}") > 50_000
    await asyncio.sleep(1.0)
    assert (await carrier.figures("thumbs"))["messages_lost_count"] == 0
    carrier.release(first)
    carrier.release(second)


async def test_nothing_is_left_of_a_closed_carrier(own_kit: Kit) -> None:
    ears = Ears()
    carrier = own_kit.carrier(ears)
    subscribed = carrier.subscribe("g:room")
    assert subscribed is not None
    await subscribed
    cast = carrier.cast("g:room", b"frame")
    await carrier.aclose()
    assert cast.result() == 1, "what was said before is done"
    await until(lambda: int(own_kit.server.info("clients")["connected_clients"]) == 1)
    assert len(asyncio.all_tasks()) == 1
    assert ears.told == []


def test_a_loop_that_ends_takes_its_connections_along(own_server: Server) -> None:
    """V39: one carrier for each loop; nothing is said of it, and nothing is left."""

    ears = Ears()

    async def use() -> RedisCarrier:
        carrier = Kit(own_server).carrier(ears)
        subscribed = carrier.subscribe("g:room")
        assert subscribed is not None
        await subscribed
        assert await carrier.cast("g:room", b"frame") == 1
        return carrier

    kept = [asyncio.run(use()) for _ in range(5)]
    for carrier in kept:
        carrier.forsake()
    assert ears.told == []
    assert int(own_server.info("clients")["connected_clients"]) <= 2


def test_what_is_said_in_the_last_pass_of_a_loop_is_said(own_server: Server) -> None:
    kit = Kit(own_server)

    async def use() -> None:
        carrier = kit.carrier()
        await carrier.put("thumbs", b"first", 100, 60)
        carrier.put("thumbs", b"last", 100, 60)

    asyncio.run(use())
    key = f"{kit.prefix}:{{thumbs}}:q:thumbs"
    eventually(lambda: own_server.ask("LLEN", key) == 2, 5.0)


def test_what_could_not_be_said_before_a_loop_ended_fails() -> None:
    ended: list[BaseException | None] = []

    async def use() -> None:
        put = Kit(shared_server()).carrier().put("thumbs", b"1", 100, 60)
        put.add_done_callback(lambda put: ended.append(put.exception()))
        await asyncio.sleep(0)

    asyncio.run(use())
    assert [type(error) for error in ended] == [LayerUnavailable]


async def test_a_closed_carrier_refuses(kit: Kit) -> None:
    carrier = kit.carrier()
    await carrier.put("thumbs", b"1", 100, 60)
    popped = await carrier.pop("thumbs", False)
    await carrier.aclose()
    with pytest.raises(LayerUnavailable, match="closed"):
        await carrier.cast("g:room", b"frame")
    carrier.put_back(popped)
    assert len(asyncio.all_tasks()) == 1


async def test_what_gives_credentials_may_fail(own_kit: Kit) -> None:
    class Provider:
        def get_credentials(self) -> tuple[str]:
            raise KeyError("of the vault")

    host = {"host": "127.0.0.1", "port": own_kit.server.port, "credential_provider": Provider()}
    carrier = own_kit.carrier(hosts=[host])
    with pytest.raises(LayerUnavailable, match="of the vault"):
        await carrier.cast("g:room", b"frame")


# Threads


def test_threads_make_no_loop_and_keep_their_order(kit_of_threads: RedisThreadCarrier) -> None:
    def send(number: int) -> None:
        for n in range(50):
            kit_of_threads.put(f"thumbs{number}", b"%d" % n, 100, 60)

    threads = [threading.Thread(target=send, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    async def read(number: int) -> list[bytes | None]:
        carrier = Kit(shared_server()).carrier()
        carrier._requests = kit_of_threads._requests
        found = [(await carrier.pop(f"thumbs{number}", False)).entry for _ in range(51)]
        await carrier.aclose()
        return found

    for number in range(8):
        assert asyncio.run(read(number)) == [b"%d" % n for n in range(50)] + [None]


@pytest.fixture
def kit_of_threads() -> Iterator[RedisThreadCarrier]:
    made = Kit(shared_server()).thread_carrier()
    yield made
    made.close()


def test_a_thread_hears_what_went_wrong(kit_of_threads: RedisThreadCarrier) -> None:
    kit_of_threads.put("thumbs", b"1", 1, 60)
    with pytest.raises(ChannelFull):
        kit_of_threads.put("thumbs", b"2", 1, 60)


def test_a_thread_goes_on_after_the_server_has_forgotten_its_scripts(
    kit_of_threads: RedisThreadCarrier,
) -> None:
    kit_of_threads.add_named("room", "one", 60)
    shared_server().ask("SCRIPT", "FLUSH")
    kit_of_threads.add_named("room", "two", 60)
    assert sorted(kit_of_threads.named("room")) == ["one", "two"]
    assert sorted(kit_of_threads.publish("room", b"frame")) == ["one", "two"]
    kit_of_threads.discard_named("room", "one")
    assert kit_of_threads.named("room") == ["two"]


def test_a_thread_notices_that_its_connection_has_ended(own_server: Server) -> None:
    carrier = Kit(own_server).thread_carrier()
    carrier.put("thumbs", b"1", 100, 60)
    own_server.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    carrier.put("thumbs", b"2", 100, 60)
    own_server.kill()
    with pytest.raises(
        LayerUnavailable, match=rf"Redis cannot be reached: \S+:{own_server.port}: .*refused\.$"
    ):
        carrier.put("thumbs", b"3", 100, 60)
    own_server.start()
    carrier.put("thumbs", b"4", 100, 60)
    carrier.close()


def test_a_thread_does_not_wait_for_ever(own_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raceway.layers.redis.threads.ANSWER_S", 0.3)
    carrier = Kit(own_server).thread_carrier()
    carrier.put("thumbs", b"1", 100, 60)
    own_server.pause()
    with pytest.raises(LayerUnavailable, match="not known"):
        carrier.put("thumbs", b"2", 100, 60)
    own_server.resume()
    carrier.close()


async def test_a_thread_gathers_the_answers_of_all(kit: Kit) -> None:
    carriers = []
    for n in range(3):
        ears = Ears()
        carrier = kit.carrier(ears)

        def answer(address: str, frame: bytes, carrier: RedisCarrier = carrier, n: int = n) -> None:
            if n:  # one of them says nothing
                carrier.cast(frame.decode(), b"%d" % n)

        ears.heard = answer  # type: ignore[method-assign]
        carriers.append(carrier)
        subscribed = carrier.subscribe("a")
        assert subscribed is not None
        await subscribed
    threads = kit.thread_carrier()
    frames, missing = await asyncio.to_thread(threads.gather, "a", str.encode, 0.3)
    assert sorted(frames) == [b"1", b"2"]
    assert missing == 1
    threads.close()


# The module that knows the protocol


def test_commands_are_packed_as_the_protocol_says() -> None:
    assert pack("SET", b"key", 1) == b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$1\r\n1\r\n"
