"""Several machines on one network, and on several (deployments B and C of the Channels talks)."""

# ruff: noqa: PT009, PT027  (pytest is not needed to run it)
from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from raceway.testing.conformance.suite import Suite, sent_both_ways

MACHINES = 3
RECEIVERS = 3


class SharedNetwork(Suite):
    """What the specification promises between processes, for a layer that has a ``make_neighbour``."""

    @sent_both_ways
    async def test_machines_that_share_a_layer_reach_each_other(self) -> None:
        layer = self.layer("groups")
        other = self.neighbour()
        name = await other.new_channel()
        await self.join(other, name, "conformance.member")
        await self.group_send(layer, "group", {"type": "to.group"})
        await self.send(layer, "conformance", {"type": "to.channel"})
        for channel in (name, "conformance.member"):
            self.assertEqual(await self.received(other, channel, 1), [{"type": "to.group"}])
        self.assertEqual(await self.received(other, "conformance", 1), [{"type": "to.channel"}])
        await self.send(layer, name, {"type": "to.process"})
        self.assertEqual(await self.received(other, name, 1), [{"type": "to.process"}])

    @sent_both_ways
    async def test_machines_with_layers_of_their_own_do_not(self) -> None:
        layer = self.layer("groups")
        stranger = self.stranger()
        name = await stranger.new_channel()
        for one in (layer, stranger):
            await self.join(one, name, "conformance.member")
        await self.group_send(layer, "group", {"type": "to.group"})
        await self.send(layer, "conformance", {"type": "to.channel"})
        await self.assert_nothing_waits(stranger, name, "conformance.member", "conformance")
        self.assertEqual(await self.received(layer, "conformance", 1), [{"type": "to.channel"}])
        self.assertEqual(await self.received(layer, "conformance.member", 1), [{"type": "to.group"}])

    @sent_both_ways
    async def test_receivers_on_several_machines_share_the_messages(self) -> None:
        layer = self.layer()
        machines = [layer, *(self.neighbour() for _ in range(MACHINES - 1))]
        got: list[int] = []

        async def work(machine: Any) -> None:
            while True:
                got.append((await machine.receive("conformance"))["n"])

        workers = [asyncio.ensure_future(work(machine)) for machine in machines for _ in range(RECEIVERS)]
        await self.turn()
        numbers = list(range(60))
        for number in numbers:
            await self.send(machines[number % MACHINES], "conformance", {"type": "n", "n": number})
        await self.until(lambda: len(got) >= len(numbers), f"of {len(numbers)} messages came {got}")
        await asyncio.sleep(self.quiet_s)
        await self.cancel(workers)
        self.assertEqual(Counter(got), Counter(numbers))  # each of them once

    @sent_both_ways
    async def test_order_holds_between_machines(self) -> None:
        layer = self.layer("groups")
        other = self.neighbour()
        name = await other.new_channel()
        await self.join(other, name)
        for number in range(20):
            await self.send(layer, "conformance", {"type": "n", "n": number})
        self.assertEqual(await self.numbers(other, "conformance", 20), list(range(20)))
        for number in range(20):
            await self.group_send(layer, "group", {"type": "n", "n": number})
        self.assertEqual(await self.numbers(other, name, 20), list(range(20)))

    @sent_both_ways
    async def test_machines_fill_one_channel_together(self) -> None:
        self.need(self.refuses_at_capacity, "to refuse at capacity")
        layer = self.layer(capacity=3)
        other = self.neighbour(capacity=3)
        for number, machine in enumerate((layer, other, layer)):
            await self.send(machine, "conformance", {"type": "n", "n": number})
        for machine in (layer, other):
            with self.assertRaises(machine.ChannelFull):
                await self.send(machine, "conformance", {"type": "n", "n": 99})
        self.assertEqual(await self.numbers(other, "conformance", 1), [0])
        await self.send(other, "conformance", {"type": "n", "n": 3})
        self.assertEqual(await self.numbers(layer, "conformance", 3), [1, 2, 3])
