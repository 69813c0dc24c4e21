"""What a subclass of ``raceway.layers.ChannelLayer`` gives beyond the specification, as tests."""

# ruff: noqa: PT009, PT027  (pytest is not needed to run it)
from __future__ import annotations

import asyncio
import re
from typing import Any
from unittest import mock

from raceway.layers.roster import presence_group
from raceway.registry import Closing
from raceway.signals import message_dropped
from raceway.testing.conformance.delay import Delay
from raceway.testing.conformance.ears import Ears
from raceway.testing.conformance.processes import Processes
from raceway.testing.conformance.specification import LayerConformance
from raceway.testing.conformance.suite import sent_both_ways
from raceway.testing.conformance.transactions import Transactions


class FrontConformance(Delay, Transactions, Processes, LayerConformance):
    """``LayerConformance``, and what a subclass of ``raceway.layers.ChannelLayer`` gives beyond the specification.

    Tests of the extensions ``members``, ``statistics``, ``delay`` and ``presence`` are skipped if the layer does not
    offer them.
    """

    # Messages

    @sent_both_ways
    async def test_a_message_may_be_too_large(self) -> None:
        layer = self.layer("groups", max_message_bytes=100)
        too_large: list[dict[str, Any]] = [
            {"type": "n", "data": b"x" * 100},
            {"type": "websocket.send", "text": "ü" * 51},
        ]
        for message in too_large:
            with self.assertRaises(layer.MessageTooLarge):
                await self.send(layer, "conformance", message)
            with self.assertRaises(layer.MessageTooLarge):
                await self.group_send(layer, "group", message)
        await self.send(layer, "conformance", {"type": "n", "data": b"x" * 50})
        await self.received(layer, "conformance", 1)

    @sent_both_ways
    async def test_what_no_layer_carries_is_named(self) -> None:
        layer = self.layer("groups")
        with self.assertRaisesRegex(TypeError, re.escape("message['a'][0] is of type object")):
            await self.send(layer, "conformance", {"type": "n", "a": [object()]})
        with self.assertRaisesRegex(TypeError, "more than 64 bits"):
            await self.group_send(layer, "group", {"type": "n", "a": 2**63})

    @sent_both_ways
    async def test_keys_may_be_ints(self) -> None:
        """V35."""
        layer = self.layer("groups")
        ears = await self.open(layer)
        await layer.group_add("group", ears.channel)
        users = {"type": "users", "users": {1: "leela", -5: {2**63 - 1: ["fry"]}, "7": "amy"}}
        await self.send(layer, "conformance", users)
        await self.group_send(layer, "group", users)
        self.assertEqual(await self.received(layer, "conformance", 1), [users])
        await self.assert_heard(ears, [users])

    @sent_both_ways
    async def test_keys_of_other_types_are_named(self) -> None:
        layer = self.layer("groups")
        for key in (None, True, 0.5, b"a", (1, 2), 2**63):
            with self.subTest(key=key):
                message = {"type": "n", "a": [{key: "value"}]}
                with self.assertRaisesRegex(TypeError, re.escape(f"message['a'][0] has the key {key!r}")):
                    await self.send(layer, "conformance", message)
                with self.assertRaisesRegex(TypeError, re.escape(repr(key))):
                    await self.group_send(layer, "group", message)

    @sent_both_ways
    async def test_each_connection_has_its_capacity_for_itself(self) -> None:
        """V33."""
        layer = self.layer(capacity=1)
        names = [await layer.new_channel() for _ in range(20)]
        for name in names:
            await self.send(layer, name, {"type": "n"})
        for name in names:
            self.assertEqual(await self.received(layer, name, 1), [{"type": "n"}])

    # Open channels

    @sent_both_ways
    async def test_an_open_channel_is_handed_its_messages_in_order(self) -> None:
        layer = self.layer("groups")
        ears = await self.open(layer)
        await layer.group_add("group", ears.channel)
        for number in range(5):
            await self.send(layer, ears.channel, {"type": "n", "n": number})
        await self.assert_heard(ears, [{"type": "n", "n": number} for number in range(5)])
        for number in range(5, 10):
            await self.group_send(layer, "group", {"type": "n", "n": number})
        await self.assert_heard(ears, [{"type": "n", "n": number} for number in range(10)])

    @sent_both_ways
    async def test_direct_and_group_messages_each_keep_their_order(self) -> None:
        layer = self.layer("groups")
        ears = await self.open(layer)
        await layer.group_add("group", ears.channel)
        for number in range(20):
            await self.send(layer, ears.channel, {"type": "direct", "n": number})
            await self.group_send(layer, "group", {"type": "group", "n": number})
        await self.until(lambda: len(ears.heard) >= 40, f"{len(ears.heard)} of 40 messages were heard")
        for kind in ("direct", "group"):
            self.assertEqual([one["n"] for one in ears.heard if one["type"] == kind], list(range(20)))

    @sent_both_ways
    async def test_client_messages_are_pushed(self) -> None:
        layer = self.layer("groups")
        ears, plain = await self.open(layer), await self.open(layer, pushes=False)
        await self.join(layer, ears.channel, plain.channel)
        messages: list[dict[str, Any]] = [
            {"type": "websocket.send", "text": "ü"},
            {"type": "websocket.send", "bytes": b"\xff"},
            {"type": "websocket.close", "code": 4000, "reason": "enough"},
        ]
        for message in messages:
            await self.group_send(layer, "group", message)
        await self.assert_heard(
            ears, [("ü".encode(), True, "close"), (b"\xff", False, "close"), Closing(4000, "enough")]
        )
        await self.assert_heard(plain, messages)

    async def test_a_closed_channel_hears_nothing(self) -> None:
        layer = self.layer("groups")
        ears = await self.open(layer)
        await layer.group_add("group", ears.channel)
        layer.close(ears.channel)
        layer.close(ears.channel)
        await layer.group_send("group", {"type": "n"})
        await layer.send(ears.channel, {"type": "n"})
        await asyncio.sleep(self.quiet_s)
        self.assertEqual(ears.heard, [])

    async def test_a_channel_is_open_or_received_from(self) -> None:
        layer = self.layer()
        ears = await self.open(layer)
        with self.assertRaisesRegex(RuntimeError, "is open"):
            await layer.receive(ears.channel)
        with self.assertRaisesRegex(ValueError, "open already"):
            layer.open(ears.channel, ears.deliver)

    @sent_both_ways
    async def test_what_waits_is_handed_over_at_opening(self) -> None:
        layer = self.layer()
        ears = await self.open(layer)
        for number in range(3):
            await self.send(layer, "conformance", {"type": "n", "n": number})
        layer.open("conformance", ears.deliver)
        await self.assert_heard(ears, [{"type": "n", "n": number} for number in range(3)])
        await self.send(layer, "conformance", {"type": "n", "n": 3})
        await self.assert_heard(ears, [{"type": "n", "n": number} for number in range(4)])

    async def test_a_full_mailbox_is_told_to_who_shares_its_process(self) -> None:
        layer = self.layer("groups")
        full, free = await self.open(layer, room=False), await self.open(layer)
        await self.join(layer, full.channel, free.channel)
        with self.assertRaises(layer.ChannelFull):
            await layer.send(full.channel, {"type": "n"})
        await layer.group_send("group", {"type": "n"})
        await self.assert_heard(free, [{"type": "n"}])

    async def test_a_connection_that_joins_twice_leaves_twice(self) -> None:
        layer = self.layer("groups")
        ears = await self.open(layer)
        await self.join(layer, ears.channel, ears.channel)
        await layer.group_send("group", {"type": "n", "n": 1})
        await layer.group_discard("group", ears.channel)
        await layer.group_send("group", {"type": "n", "n": 2})
        await layer.group_discard("group", ears.channel)
        await layer.group_send("group", {"type": "n", "n": 3})
        await layer.send(ears.channel, {"type": "n", "n": 4})
        await self.assert_heard(ears, [{"type": "n", "n": number} for number in (1, 2, 4)])

    async def test_one_member_can_be_left_out(self) -> None:
        layer = self.layer("groups")
        one, other = await self.open(layer), await self.open(layer)
        group = self.group(layer)
        await self.join(layer, one.channel, other.channel)
        await group.abroadcast("both")
        await group.abroadcast({"a": 1}, exclude=other.channel, policy="latest")
        await group.abroadcast(b"both")
        both = [(b"both", True, "close"), (b"both", False, "close")]
        await self.assert_heard(one, [both[0], (b'{"a":1}', True, "latest"), both[1]])
        await self.assert_heard(other, both)

    async def test_flush_leaves_open_channels_open(self) -> None:
        layer = self.layer("groups", "flush")
        ears = await self.open(layer)
        await layer.group_add("group", ears.channel)
        await layer.flush()
        await layer.group_send("group", {"type": "n", "n": 1})
        await layer.send(ears.channel, {"type": "n", "n": 2})
        await self.assert_heard(ears, [{"type": "n", "n": 2}])

    async def test_a_layer_can_be_closed_and_used_again(self) -> None:
        layer = self.layer()
        ears = await self.open(layer)
        waiting = asyncio.ensure_future(layer.receive("conformance"))
        await self.turn()
        await layer.aclose()
        await self.until(waiting.cancelled, "who waits to receive goes on waiting")
        await layer.send("conformance", {"type": "n"})
        self.assertEqual(await self.received(layer, "conformance", 1), [{"type": "n"}])
        self.assertEqual(ears.heard, [])

    async def test_members_are_told_of_a_gap_once(self) -> None:
        layer = self.layer("groups")
        member, stranger = await self.open(layer), await self.open(layer)
        await self.join(layer, member.channel)
        await layer.group_add("other", member.channel)
        before = layer.gap_count
        layer.tell_gap("lost")
        await self.assert_heard(member, ["gap: lost"])
        self.assertEqual((stranger.heard, layer.gap_count - before), ([], 1))

    # Threads without an event loop

    async def test_threads_send_in_order_and_make_no_loop(self) -> None:
        layer = self.layer("groups")
        ears = await self.open(layer)

        def work() -> None:
            group, channel = self.group(layer), self.channel(layer, ears.channel)
            group.add(channel)
            for number in range(50):
                group.send({"type": "n", "n": number})
            channel.send({"type": "last"})
            group.broadcast("text")
            group.discard(channel)
            group.send({"type": "too.late"})

        made = AssertionError("an event loop was made")
        with (
            mock.patch("asyncio.new_event_loop", side_effect=made),
            mock.patch("asyncio.events.new_event_loop", side_effect=made),
        ):
            await self.in_thread(work)
        expected: list[Any] = [{"type": "n", "n": number} for number in range(50)]
        await self.assert_heard(ears, [*expected, {"type": "last"}, (b"text", True, "close")])

    async def test_a_thread_hears_of_its_mistakes(self) -> None:
        layer = self.layer()
        channel = self.channel(layer)

        def work() -> None:
            with self.assertRaises(TypeError):
                channel.send({"type": object()})
            for _ in range(100):
                channel.send({"type": "n"})
            with self.assertRaises(layer.ChannelFull):
                channel.send({"type": "n"})

        await self.in_thread(work)

    async def test_many_threads_lose_nothing(self) -> None:
        layer = self.layer("groups")
        ears = await self.open(layer)
        await layer.group_add("group", ears.channel)

        def work(thread: int) -> None:
            for number in range(50):
                self.group(layer).send({"type": "n", "thread": thread, "n": number})

        await asyncio.gather(*(self.in_thread(work, thread) for thread in range(4)))
        await self.until(lambda: len(ears.heard) == 200, "some messages are missing")
        for thread in range(4):
            numbers = [message["n"] for message in ears.heard if message["thread"] == thread]
            self.assertEqual(numbers, list(range(50)))

    async def test_a_member_in_another_loop(self) -> None:
        layer = self.layer("groups")
        sent = asyncio.Event()
        loop = asyncio.get_running_loop()

        async def listen() -> list[Any]:
            ears = await self.open(layer)
            await layer.group_add("group", ears.channel)
            loop.call_soon_threadsafe(sent.set)
            await self.until(lambda: ears.heard, "the other loop heard nothing")
            return ears.heard

        there = asyncio.ensure_future(self.in_thread(asyncio.run, listen()))
        await self.soon(sent.wait())
        await layer.group_send("group", {"type": "n"})
        self.assertEqual(await there, [{"type": "n"}])
        await layer.group_send("group", {"type": "n"})  # the loop has ended: nothing happens

    # Members

    async def test_members_and_their_count(self) -> None:
        layer = self.layer("groups", "members")
        group = self.group(layer)
        self.assertEqual((await layer.group_channels("group"), await layer.group_count("group")), ([], 0))
        ears = [await self.open(layer) for _ in range(3)]
        names = {one.channel for one in ears} | {"conformance"}
        await self.join(layer, *names)
        await layer.group_add("other", "conformance.other")
        self.assertEqual(set(await layer.group_channels("group")), names)
        self.assertEqual(len(await group.amembers()), 4)
        self.assertEqual((await layer.group_count("group"), await group.acount()), (4, 4))
        self.assertEqual(set(await self.in_thread(group.members)), names)
        self.assertEqual(await self.in_thread(group.count), 4)
        with self.assertRaisesRegex(RuntimeError, r"await acount\(\) instead"):
            group.count()
        with self.assertRaisesRegex(RuntimeError, r"await amembers\(\) instead"):
            group.members()
        layer.close(ears[0].channel)
        await layer.group_discard("group", "conformance")
        self.assertEqual(set(await layer.group_channels("group")), {ears[1].channel, ears[2].channel})
        with self.assertRaises(TypeError):
            await layer.group_channels("a b")
        with self.assertRaises(TypeError):
            await layer.group_count("a b")

    # Presence

    async def test_people_are_there_as_long_as_they_have_a_connection(self) -> None:
        layer = self.layer("presence")
        laptop, phone, other = await self.open(layer), await self.open(layer), await self.open(layer)
        await layer.start_enter("room", "leela", laptop.channel, {"on": "laptop"}, 0)
        await layer.start_enter("room", "leela", phone.channel, {"on": "phone"}, 0)
        await layer.start_enter("room", "fry", other.channel, {}, 0)
        await layer.start_enter("elsewhere", "amy", other.channel, {}, 0)
        everybody = {"leela": [{"on": "laptop"}, {"on": "phone"}], "fry": [{}]}
        self.assertEqual((await layer.roll("room"), await layer.roll_count("room")), (everybody, 2))
        self.assertEqual(await self.in_thread(layer.roll_from_thread, "room"), everybody)
        self.assertEqual(await self.in_thread(layer.roll_count_from_thread, "room"), 2)
        layer.close(laptop.channel)
        await layer.start_exit("room", other.channel)
        await self.soon(self._until_roll(layer, "room", {"leela": [{"on": "phone"}]}))
        self.assertEqual(await layer.roll("elsewhere"), {"amy": [{}]})
        layer.close(phone.channel)
        layer.close(other.channel)
        await self.soon(self._until_roll(layer, "room", {}))
        await self.soon(self._until_roll(layer, "elsewhere", {}))

    async def test_members_of_a_presence_are_told_who_comes_and_goes(self) -> None:
        layer = self.layer("presence")
        watcher, one, again = await self.open(layer), await self.open(layer), await self.open(layer)
        changes: list[tuple[str, str, str]] = []
        layer.presence_changed = lambda presence, kind, key, metas: changes.append((presence, kind, key))
        await layer.group_add(presence_group("room"), watcher.channel)
        await layer.start_enter("room", "leela", one.channel, {"on": "laptop"}, 0)
        await self._until_told(watcher, {"joined": {"leela": [{"on": "laptop"}]}})
        await layer.start_enter("room", "leela", one.channel, {"on": "phone"}, 0)
        await self._until_told(watcher, {"changed": {"leela": [{"on": "phone"}]}})
        layer.close(one.channel)
        await self._until_told(watcher, {"left": {"leela": [{"on": "phone"}]}})
        await self.until(lambda: len(changes) == 2, f"the changes were {changes}")
        self.assertEqual(changes, [("room", "joined", "leela"), ("room", "left", "leela")])
        # Whoever is back within the grace has never left.
        await layer.start_enter("room", "leela", again.channel, {}, 60)
        layer.close(again.channel)
        self.assertEqual(await layer.roll("room"), {"leela": [{}]})
        back = await self.open(layer)
        await layer.start_enter("room", "leela", back.channel, {"on": "phone"}, 0)
        await self.soon(self._until_roll(layer, "room", {"leela": [{"on": "phone"}]}))
        layer.close(back.channel)
        await self.until(lambda: len(changes) >= 4, f"the changes were {changes}")
        self.assertEqual([kind for _, kind, _ in changes[2:]], ["joined", "left"])

    async def _until_roll(self, layer: Any, presence: str, expected: Any) -> None:
        while await layer.roll(presence) != expected:  # noqa: ASYNC110
            await asyncio.sleep(0)

    async def _until_told(self, watcher: Ears, expected: dict[str, Any]) -> None:
        diff = {"joined": {}, "changed": {}, "left": {}, **expected}
        await self.pass_time(self.expiry_s)  # what a crowd does is told in one diff
        await self.until(lambda: watcher.heard, f"nothing was told, but should be {expected}")
        self.assertEqual(watcher.heard.pop(0), {"type": "presence.diff", "presence": "room", **diff})

    # Statistics

    async def test_statistics(self) -> None:
        layer = self.layer("groups", "statistics", capacity=2, expiry=60)
        before = await layer.global_statistics()
        self.assertEqual((before["messages_pending"], before["messages_max_age"]), (0, 0))
        for _ in range(2):
            await layer.send("conformance", {"type": "n"})
        with self.assertRaises(layer.ChannelFull):
            await layer.send("conformance", {"type": "n"})
        await layer.group_send("group", {"type": "n"})
        full = await self.open(layer, room=False)
        await layer.group_add("group", full.channel)
        await layer.group_send("group", {"type": "n"})
        await self.pass_time(self.expiry_s)
        await layer.receive("conformance")
        after = await layer.global_statistics()
        self.assertEqual(after["messages_count"] - before["messages_count"], 5)
        self.assertEqual(after["channel_full_count"] - before["channel_full_count"], 2)
        self.assertEqual(after["messages_pending"], 1)
        self.assertGreaterEqual(after["messages_max_age"], self.expiry_s)
        self.assertGreater(after["messages_count_per_second"], 0)
        self.assertGreater(after["channel_full_count_per_second"], 0)
        channel = await layer.channel_statistics("conformance")
        self.assertEqual(channel.keys(), after.keys())
        self.assertEqual((channel["messages_count"], channel["channel_full_count"]), (2, 1))
        self.assertEqual(channel["messages_pending"], 1)
        self.assertGreater(channel["messages_count_per_second"], 0)
        unused = await layer.channel_statistics("conformance.unused")
        self.assertEqual(set(unused.values()), {0})
        with self.assertRaises(TypeError):
            await layer.channel_statistics("a b")

    # Resilience

    @sent_both_ways
    async def test_messages_can_be_lost_on_purpose(self) -> None:
        layer = self.layer("groups", drop_share=0.5, capacity=200)
        ears = await self.open(layer)
        await layer.group_add("group", ears.channel)
        told: list[str] = []

        def hear(channel: str, **said: Any) -> None:
            told.append(channel)

        message_dropped.connect(hear, sender=type(layer))
        self.addCleanup(message_dropped.disconnect, hear, sender=type(layer))
        for number in range(100):
            await self.send(layer, "conformance", {"type": "n", "n": number})
            await self.group_send(layer, "group", {"type": "n", "n": number})
        lost = {name: told.count(name) for name in ("conformance", "group")}
        self.assertEqual(layer.dropped_count, len(told))
        self.assertTrue(all(0 < count < 100 for count in lost.values()), lost)
        await self.until(lambda: len(ears.heard) >= 100 - lost["group"], "too many were lost")
        got = await self.numbers(layer, "conformance", 100 - lost["conformance"])
        await self.assert_nothing_waits(layer, "conformance")
        self.assertEqual((got, len(ears.heard)), (sorted(got), 100 - lost["group"]))
