"""Redis servers are killed, stopped, paused and moved while numbered messages are sent: none comes twice or out of
order, none is lost without an error or a gap, and afterwards everything works.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from raceway.errors import LayerUnavailable
from raceway.layers.redis import RedisLayer
from raceway.layers.redis.carrier import OTHERS_LEAVE_S
from raceway.layers.redis.kept import PLAYS_S, WAIT_S
from raceway.layers.redis.topology import Topology, slot_of
from tests.servers.redis import (
    Cluster,
    Sentinels,
    Server,
    new_prefix,
    running_cluster,
    running_sentinels,
    running_server,
    shared_server,
)
from tests.topology.redis_hammer import GROUP, Hammer, Member, Sender, until

SEND_AFTER_S = 0.3
"""How long senders send before something happens."""


@pytest.fixture
def server() -> Iterator[Server]:
    with running_server() as server:
        yield server


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture
def sentinels() -> Iterator[Sentinels]:
    with running_sentinels() as sentinels:
        yield sentinels


def hammer(hosts: Any, **options: Any) -> Hammer:
    return Hammer(hosts, new_prefix(), **options)


async def exchange(layer: RedisLayer, other: RedisLayer) -> None:
    """Everything works: a named channel, a connection's channel, members."""
    await layer.send("work", {"type": "a", "n": 1})
    assert await asyncio.wait_for(other.receive("work"), 5) == {"type": "a", "n": 1}
    inbox = await other.new_channel()
    await layer.send(inbox, {"type": "b"})
    assert await asyncio.wait_for(other.receive(inbox), 5) == {"type": "b"}
    assert await layer.group_count(GROUP) == len(await other.group_channels(GROUP))


# One server


async def test_a_server_that_is_killed_and_started_again(server: Server) -> None:
    async with hammer([server.address]) as hammered:
        for _ in range(3):
            await asyncio.sleep(SEND_AFTER_S)
            server.kill()
            await asyncio.sleep(SEND_AFTER_S)
            server.start()
            await hammered.flows()
        await exchange(hammered.members[0].layer, hammered.members[1].layer)
        await hammered.finish()
    hammered.check()
    assert [len(member.gaps) for member in hammered.members] == [3, 3, 3]


async def test_a_server_that_is_stopped_in_good_order_and_started_again(server: Server) -> None:
    async with hammer([server.address]) as hammered:
        await asyncio.sleep(SEND_AFTER_S)
        server.stop()
        with pytest.raises(LayerUnavailable):
            await asyncio.wait_for(hammered.members[0].layer.send("work", {"type": "a"}), 5)
        server.start()
        await hammered.flows()
        await hammered.finish()
    hammered.check()
    assert [len(member.gaps) for member in hammered.members] == [1, 1, 1]


async def test_connections_that_are_killed(server: Server) -> None:
    async with hammer([server.address]) as hammered:
        await asyncio.sleep(SEND_AFTER_S)
        server.ask("CLIENT", "KILL", "TYPE", "normal")
        await hammered.flows()
        assert [len(member.gaps) for member in hammered.members] == [0, 0, 0]  # nobody missed anything
        for told in (1, 2):
            server.ask("CLIENT", "KILL", "TYPE", "pubsub")
            await hammered.flows()
            assert [len(member.gaps) for member in hammered.members] == [told] * 3
        await hammered.finish()
    hammered.check()


async def test_a_pause_of_two_seconds_loses_nothing(server: Server) -> None:
    async with hammer([server.address]) as hammered:
        await asyncio.sleep(SEND_AFTER_S)
        server.pause()
        await asyncio.sleep(2)
        server.resume()
        await hammered.flows()
        await hammered.finish()
    hammered.check()
    assert [len(member.gaps) for member in hammered.members] == [0, 0, 0]
    for sender in hammered.senders:
        under_way_at_the_end = {sender.sent - 1}
        assert sender.failed <= under_way_at_the_end
        for member in hammered.members:
            assert set(range(sender.sent)).difference(member.numbers(sender.name)) <= under_way_at_the_end


async def test_a_server_that_hangs_is_a_gap(server: Server) -> None:
    async with hammer([server.address]) as hammered:
        await asyncio.sleep(SEND_AFTER_S)
        server.pause()
        await asyncio.sleep(15)
        server.resume()
        await hammered.flows()
        await exchange(hammered.members[0].layer, hammered.members[1].layer)
        await hammered.finish()
    hammered.check()
    assert [len(member.gaps) for member in hammered.members] == [1, 1, 1]


async def test_a_named_channel_through_kills_of_connections(server: Server) -> None:
    """Senders and takers lose their connections: no message comes twice, and none is gone without an error."""
    prefix = new_prefix()
    layers = [RedisLayer(hosts=[server.address], prefix=prefix, capacity=10_000) for _ in range(4)]
    senders = [Sender(str(n), lambda message, n=n: layers[n].send("work", message)) for n in range(2)]
    taken: list[tuple[str, int]] = []
    unknown = 0

    async def take(layer: RedisLayer) -> None:
        nonlocal unknown
        while True:
            try:
                message = await layer.receive("work")
            except LayerUnavailable:
                unknown += 1  # the answer was lost, perhaps with a message
                continue
            taken.append((message["sender"], message["n"]))

    takers = [asyncio.create_task(take(layer)) for layer in layers[2:]]
    for sender in senders:
        sender.start()
    for _ in range(5):
        await asyncio.sleep(SEND_AFTER_S)
        server.ask("CLIENT", "KILL", "TYPE", "normal")
    await asyncio.sleep(SEND_AFTER_S)
    for sender in senders:
        await sender.stop()
    await asyncio.sleep(0.5)
    for taker in takers:
        taker.cancel()
    await asyncio.gather(*takers, return_exceptions=True)
    for layer in layers:
        await layer.aclose()
    assert len(taken) == len(set(taken))
    lost = {(sender.name, n) for sender in senders for n in range(sender.sent) if n not in sender.failed}
    assert len(lost.difference(taken)) <= unknown
    assert len(taken) > 100


async def test_threads_go_on_when_the_server_is_back(server: Server) -> None:
    layer = RedisLayer(hosts=[server.address], prefix=new_prefix())
    message = layer.prepare({"type": "a"})
    await asyncio.to_thread(layer.send_from_thread, "work", message)
    server.kill()
    with pytest.raises(LayerUnavailable):
        await asyncio.to_thread(layer.send_from_thread, "work", message)
    server.start()
    await asyncio.to_thread(layer.send_from_thread, "work", message)
    assert await asyncio.wait_for(layer.receive("work"), 5) == {"type": "a"}
    await layer.aclose()


# What a host can be told


async def test_a_password_and_a_unix_socket() -> None:
    with running_server(requirepass="hunter2") as server:
        for host in (
            f"redis://:hunter2@127.0.0.1:{server.port}/1",
            {"address": f"unix://{server.unix_socket}", "password": "hunter2", "db": 2},
        ):
            member = await Member(hosts=[host], prefix=new_prefix()).join()
            await exchange(member.layer, member.layer)
            await member.close()
        layer = RedisLayer(hosts=[f"redis://:wrong-secret@127.0.0.1:{server.port}"])
        with pytest.raises(LayerUnavailable, match="WRONGPASS") as refused:
            await layer.send("work", {"type": "a"})
        assert "wrong-secret" not in str(refused.value)
        await layer.aclose()


async def test_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    for number, part in enumerate(certificate.cert_chain_pems):
        part.write_to_path(tmp_path / "cert.pem", append=number > 0)
    files = {
        "tls-cert-file": tmp_path / "cert.pem",
        "tls-key-file": tmp_path / "key.pem",
        "tls-ca-cert-file": tmp_path / "ca.pem",
    }
    with running_tls_server(**files) as server:
        for host in (
            f"rediss://127.0.0.1:{server.port}?ssl_ca_certs={tmp_path}/ca.pem",
            {"host": "localhost", "port": server.port, "ssl": True, "ssl_ca_certs": str(tmp_path / "ca.pem")},
            f"rediss://127.0.0.1:{server.port}?ssl_cert_reqs=none",
        ):
            member = await Member(hosts=[host], prefix=new_prefix()).join()
            await exchange(member.layer, member.layer)
            message = member.layer.prepare({"type": "from a thread"})
            await asyncio.to_thread(member.layer.send_from_thread, "work", message)
            assert await asyncio.wait_for(member.layer.receive("work"), 5) == {"type": "from a thread"}
            await member.close()
        layer = RedisLayer(hosts=[f"rediss://127.0.0.1:{server.port}"])
        with pytest.raises(LayerUnavailable, match="certificate verify failed"):
            await layer.send("work", {"type": "a"})
        await layer.aclose()


def running_tls_server(**files: Path) -> Any:
    from contextlib import contextmanager

    @contextmanager
    def running() -> Iterator[Server]:
        server = Server(**files, **{"tls-auth-clients": "no", "port": 0})
        server.options["tls-port"] = server.port
        try:
            server.start()
        except AssertionError as error:
            server.end()
            if "tls" in str(error).lower():
                pytest.skip("this redis-server has no TLS")
            raise
        yield server
        server.end()

    return running()


# Sentinel


@pytest.mark.parametrize("how", ["kill", "pause"])
async def test_a_failover_of_sentinel_is_a_gap(sentinels: Sentinels, how: str) -> None:
    old = sentinels.master()
    async with hammer(sentinels.hosts) as hammered:
        await asyncio.sleep(SEND_AFTER_S)
        old.kill() if how == "kill" else old.pause()
        await until(lambda: sentinels.master() is not old, 15)
        await hammered.flows()
        if how == "pause":
            old.resume()  # and is made a replica; nobody goes back to it
            await asyncio.sleep(2)
            await hammered.flows()
        await exchange(hammered.members[0].layer, hammered.members[1].layer)
        await hammered.finish()
    hammered.check()
    assert [len(member.gaps) for member in hammered.members] == [1, 1, 1]


async def test_a_master_that_is_demoted_is_left(sentinels: Sentinels) -> None:
    """Its connections stand, and it serves whoever has not heard of it, for some seconds. They find out one by one, and
    what they publish meanwhile reaches nobody who has left."""
    old = sentinels.master()
    hammered = hammer(sentinels.hosts, pause_between_s=PLAYS_S / 3)
    async with hammered:
        sentinels.sentinels[0].ask("SENTINEL", "FAILOVER", "mymaster")
        await until(lambda: sentinels.master() is not old, 15)
        prefix = hammered.members[0].layer.prefix
        await until(lambda: not old.ask("PUBSUB", "CHANNELS", f"{prefix}*"), 20)
        await hammered.flows()
        await exchange(hammered.members[0].layer, hammered.members[1].layer)
        await until(lambda: all(len(member.gaps) == 2 for member in hammered.members), OTHERS_LEAVE_S + 5)
        await hammered.finish()
    hammered.check()


async def test_a_sentinel_that_hangs_holds_nobody_up(sentinels: Sentinels) -> None:
    sentinels.sentinels[0].pause()
    began = time.monotonic()
    member = await Member(hosts=sentinels.hosts, prefix=new_prefix()).join()
    await exchange(member.layer, member.layer)
    message = member.layer.prepare({"type": "from a thread"})
    await asyncio.to_thread(member.layer.send_from_thread, "work", message)
    assert time.monotonic() - began < WAIT_S * 2.5
    await member.close()


async def test_threads_find_the_new_master(sentinels: Sentinels) -> None:
    layer = RedisLayer(hosts=sentinels.hosts, prefix=new_prefix())
    message = layer.prepare({"type": "a"})
    await asyncio.to_thread(layer.send_from_thread, "before", message)
    old = sentinels.master()
    old.kill()
    await until(lambda: sentinels.master() is not old, 15)

    async def sent() -> bool:
        try:
            await asyncio.to_thread(layer.send_from_thread, "after", message)
        except LayerUnavailable:
            return False
        return True

    for _ in range(20):
        if await sent():
            break
        await asyncio.sleep(0.2)
    assert await asyncio.wait_for(layer.receive("after"), 5) == {"type": "a"}
    await layer.aclose()


# Cluster


async def test_a_slot_that_moves_under_load_loses_nothing_silently(cluster: Cluster) -> None:
    slots = {slot_of(GROUP), slot_of("a"), slot_of("work")}
    async with hammer(cluster.hosts) as hammered:
        worker = RedisLayer(hosts=cluster.hosts, prefix=hammered.members[0].layer.prefix, capacity=10_000)
        sender = Sender("work", lambda message: worker.send("work", message))
        sender.start()
        for _ in range(5):
            await asyncio.sleep(SEND_AFTER_S)
            for slot in slots:
                owner = cluster.owner(slot)
                target = next(node for node in cluster.nodes if node is not owner)
                source = cluster.begin_move(slot, target)
                await asyncio.sleep(0.1)
                cluster.end_move(slot, source, target)
            await hammered.flows()
        await sender.stop()
        await hammered.finish()
        numbers = [(await asyncio.wait_for(worker.receive("work"), 5))["n"] for _ in range(sender.sent - 1)]
        await worker.aclose()
    hammered.check()
    assert all(member.gaps for member in hammered.members)
    assert numbers == list(range(sender.sent - 1))  # not one was refused, lost, doubled or overtaken


@pytest.mark.parametrize("how", ["kill", "pause"])
async def test_a_node_of_a_cluster_fails_and_its_replica_takes_over(cluster: Cluster, how: str) -> None:
    owner = cluster.owner(slot_of(GROUP))
    cluster.add_replica(owner)
    async with hammer(cluster.hosts) as hammered:
        await asyncio.sleep(SEND_AFTER_S)
        owner.kill() if how == "kill" else owner.pause()
        cluster.nodes.remove(owner)
        await hammered.flows(30)
        await exchange(hammered.members[0].layer, hammered.members[1].layer)
        await hammered.finish()
    owner.end()
    hammered.check()
    assert all(member.gaps for member in hammered.members)


async def test_threads_follow_a_slot_that_moves(cluster: Cluster) -> None:
    layer = RedisLayer(hosts=cluster.hosts, prefix=new_prefix())
    for number in range(3):
        slot = slot_of("work")
        owner = cluster.owner(slot)
        message = layer.prepare({"type": "a", "n": number})
        await asyncio.to_thread(layer.send_from_thread, "work", message)
        cluster.move(slot, next(node for node in cluster.nodes if node is not owner))
    numbers = [(await asyncio.wait_for(layer.receive("work"), 5))["n"] for _ in range(3)]
    assert numbers == [0, 1, 2]
    await layer.aclose()


async def test_a_cluster_is_not_to_be_had_without_the_cluster_mode() -> None:
    layer = RedisLayer(hosts=[{"cluster": [shared_server().address]}], prefix=new_prefix())
    with pytest.raises(LayerUnavailable, match="cluster support disabled"):
        await asyncio.wait_for(layer.send("work", {"type": "a"}), 10)
    await layer.aclose()


# Shards


async def test_one_of_several_shards_is_killed_and_the_others_go_on(server: Server) -> None:
    with running_server() as second, running_server() as third:
        servers = [server, second, third]
        async with hammer([one.address for one in servers]) as hammered:
            place = Topology(hammered.members[0].layer.hosts).shard_of(GROUP)
            await asyncio.sleep(SEND_AFTER_S)
            servers[place - 1].kill()
            await hammered.flows()
            servers[place - 1].start()
            await hammered.flows()
            await hammered.finish()
        hammered.check()
