"""What a front promises between processes and machines."""

# ruff: noqa: PT009  (pytest is not needed to run it)
from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from raceway import clock
from raceway.layers.mailroom import QueueLayer
from raceway.registry import Closing
from raceway.testing.conformance.ears import Ears, FrontSuite
from raceway.testing.conformance.suite import sent_both_ways

SKEW_S = 3600.0
"""How wrong the clock of another machine is; more than any expiry."""


class Processes(FrontSuite):
    """For a layer that has a ``make_neighbour``."""

    @sent_both_ways
    async def test_who_is_in_another_process_can_be_made_a_member(self) -> None:
        layer = self.layer("groups")
        other = self.neighbour()
        member, remaining = await self.open(other), await self.open(other)
        await self.join(layer, member.channel, remaining.channel)
        await self.group_send(layer, "group", {"type": "n", "n": 0})
        await self.group_send(other, "group", {"type": "n", "n": 1})
        await self.assert_both_heard(member, 0, 1)
        await layer.group_discard("group", member.channel)
        await self.group_send(layer, "group", {"type": "n", "n": 2})
        await self.until(lambda: len(remaining.heard) == 3, "who remains heard nothing more")
        await self.assert_both_heard(member, 0, 1)

    async def assert_both_heard(self, ears: Ears, *numbers: int) -> None:
        """In any order: they come from several senders."""
        await self.until(lambda: len(ears.heard) >= len(numbers), f"{ears.heard} was heard, not {numbers}")
        await self.turn()
        self.assertEqual(sorted(message["n"] for message in ears.heard), list(numbers))

    @sent_both_ways
    async def test_named_channels_and_connections_of_all_machines_in_one_group(self) -> None:
        layer = self.layer("groups")
        other = self.neighbour()
        here, there = await self.open(layer), await self.open(other)
        await self.join(layer, here.channel, "conformance.here")
        await self.join(other, there.channel, "conformance.there")
        await self.group_send(layer, "group", {"type": "n"})
        for ears in (here, there):
            await self.assert_heard(ears, [{"type": "n"}])
        self.assertEqual(await self.received(other, "conformance.here", 1), [{"type": "n"}])
        self.assertEqual(await self.received(layer, "conformance.there", 1), [{"type": "n"}])
        await self.assert_nothing_waits(layer, "conformance.here", "conformance.there")

    async def test_client_messages_reach_other_machines_as_they_are(self) -> None:
        layer = self.layer("groups")
        other = self.neighbour()
        one, left_out = await self.open(other), await self.open(other)
        await self.join(other, one.channel, left_out.channel)
        group = self.group(layer)
        await group.abroadcast("ü", exclude=left_out.channel, policy="latest")
        await group.abroadcast(b"\xff")
        await group.asend({"type": "websocket.close", "code": 4000, "reason": "enough"})
        both = [(b"\xff", False, "close"), Closing(4000, "enough")]
        await self.assert_heard(one, [("ü".encode(), True, "latest"), *both])
        await self.assert_heard(left_out, both)

    @sent_both_ways
    async def test_a_full_mailbox_elsewhere_keeps_what_came_first(self) -> None:
        """V32, V33: and it is full for itself only; what found no room is counted where that is known."""
        layer = self.layer(capacity=5)
        other = self.neighbour(capacity=5)
        full, free = await other.new_channel(), await other.new_channel()
        for number in range(8):
            with suppress(layer.ChannelFull):
                await self.send(layer, full, {"type": "n", "n": number})
        await self.send(layer, free, {"type": "n", "n": 99})
        self.assertEqual(await self.numbers(other, free, 1), [99])
        self.assertEqual(await self.numbers(other, full, 5), list(range(5)))
        await self.assert_nothing_waits(other, full)
        self.assertEqual(layer.full_count + other.full_count, 3)

    async def test_members_of_all_machines(self) -> None:
        layer = self.layer("groups", "members")
        other = self.neighbour()
        here, there = await self.open(layer), await self.open(other)
        await self.join(layer, here.channel, "conformance")
        await self.join(other, there.channel)
        names = {here.channel, there.channel, "conformance"}
        for machine in (layer, other):
            self.assertEqual(set(await machine.group_channels("group")), names)
            self.assertEqual(await machine.group_count("group"), 3)
            self.assertEqual(set(await self.in_thread(self.group(machine).members)), names)
            self.assertEqual(await self.in_thread(self.group(machine).count), 3)
        other.close(there.channel)
        self.assertEqual(set(await layer.group_channels("group")), {here.channel, "conformance"})

    async def test_flush_is_for_all_machines(self) -> None:
        layer = self.layer("groups", "flush")
        other = self.neighbour()
        ears = await self.open(other)
        await self.join(other, ears.channel, "conformance.member")
        await other.send("conformance", {"type": "old"})
        await layer.flush()
        await layer.group_send("group", {"type": "old"})
        await self.assert_nothing_waits(other, "conformance", "conformance.member")
        await layer.send(ears.channel, {"type": "new"})
        await self.assert_heard(ears, [{"type": "new"}])

    @sent_both_ways
    async def test_clocks_of_machines_need_not_agree(self) -> None:
        """V34: nothing is reordered or expires because a machine's clock is wrong."""
        layer = self.layer("groups")
        self.need(isinstance(layer, QueueLayer), "a clock that can be set")
        early = self.neighbour(clock=lambda: clock.monotonic() - SKEW_S)
        late = self.neighbour(clock=lambda: clock.monotonic() + SKEW_S)
        machines: list[Any] = [late, layer, early]
        names = [await layer.new_channel(), "conformance"]
        await layer.group_add("group", names[0])
        for number in range(6):
            for name in names:
                await self.send(machines[number % 3], name, {"type": "n", "n": number})
        for name, receiver in ((names[0], layer), ("conformance", late)):
            got = await self.numbers(receiver, name, 6)
            self.assertEqual(sorted(got), list(range(6)))
            for start in range(3):  # of one sender
                self.assertLess(got.index(start), got.index(start + 3))

    # Gaps

    async def test_after_a_lost_connection_members_are_told_once_and_hear_what_comes_then(self) -> None:
        layer = self.layer("groups")
        member, stranger = await self.open(layer), await self.open(layer)
        for group in ("group", "other"):
            await layer.group_add(group, member.channel)
        before = layer.gap_count
        await self.lose_connection(layer)
        await self.until(lambda: member.heard, "the member was told of no gap")
        # Everything is subscribed again by now: a machine that has seen nothing of it is heard at once.
        late = self.neighbour()
        for group in ("group", "other"):
            await late.group_send(group, {"type": group})
        await self.until(lambda: len(member.heard) >= 3, f"only {member.heard} was heard")
        await asyncio.sleep(self.quiet_s)
        self.assertEqual(sum(str(heard).startswith("gap: ") for heard in member.heard), 1)
        self.assertEqual(layer.gap_count - before, 1)
        self.assertEqual(stranger.heard, [])
        await layer.send(stranger.channel, {"type": "n"})
        await self.assert_heard(stranger, [{"type": "n"}])
