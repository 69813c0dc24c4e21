"""What the channel layer specification promises, as tests."""

# ruff: noqa: PT009, PT027  (pytest is not needed to run it)
from __future__ import annotations

import asyncio
import re
from typing import Any

from asgiref.sync import async_to_sync

from raceway.testing.conformance.machines import SharedNetwork
from raceway.testing.conformance.suite import sent_both_ways


class LayerConformance(SharedNetwork):
    """What the channel layer specification promises, as tests. Mix it into ``IsolatedAsyncioTestCase``."""

    # Channels

    async def test_it_names_its_exceptions_and_extensions(self) -> None:
        layer = self.layer()
        self.assertTrue(issubclass(layer.ChannelFull, Exception))
        self.assertTrue(issubclass(layer.MessageTooLarge, Exception))
        self.assertIsInstance(list(layer.extensions), list)

    @sent_both_ways
    async def test_messages_come_in_the_order_in_which_they_were_sent(self) -> None:
        layer = self.layer()
        for number in range(20):
            await self.send(layer, "conformance", {"type": "n", "n": number})
        self.assertEqual(await self.numbers(layer, "conformance", 20), list(range(20)))

    @sent_both_ways
    async def test_each_message_is_received_once(self) -> None:
        layer = self.layer()
        for number in range(3):
            await self.send(layer, "conformance", {"type": "n", "n": number})
        await self.received(layer, "conformance", 3)
        await self.assert_nothing_waits(layer, "conformance")

    @sent_both_ways
    async def test_who_waits_gets_what_is_sent_later(self) -> None:
        layer = self.layer()
        waiting = asyncio.ensure_future(layer.receive("conformance"))
        await self.turn()
        await self.send(layer, "conformance", {"type": "n"})
        self.assertEqual(await self.soon(waiting), {"type": "n"})

    @sent_both_ways
    async def test_several_receivers_share_the_messages(self) -> None:
        layer = self.layer()
        waiting = [asyncio.ensure_future(layer.receive("conformance")) for _ in range(5)]
        await self.turn()
        for number in range(5):
            await self.send(layer, "conformance", {"type": "n", "n": number})
        got = await self.soon(asyncio.gather(*waiting))
        self.assertEqual(sorted(message["n"] for message in got), list(range(5)))
        await self.assert_nothing_waits(layer, "conformance")

    @sent_both_ways
    async def test_channels_do_not_mix(self) -> None:
        layer = self.layer()
        await self.send(layer, "conformance.a", {"type": "a"})
        await self.send(layer, "conformance.b", {"type": "b"})
        self.assertEqual(await self.received(layer, "conformance.b", 1), [{"type": "b"}])
        self.assertEqual(await self.received(layer, "conformance.a", 1), [{"type": "a"}])

    async def test_a_receiver_that_is_cancelled_leaves_no_hole(self) -> None:
        layer = self.layer()
        waiting = asyncio.ensure_future(layer.receive("conformance"))
        await self.turn()
        await self.cancel([waiting])
        await layer.send("conformance", {"type": "n"})
        self.assertEqual(await self.received(layer, "conformance", 1), [{"type": "n"}])

    async def test_a_receiver_that_is_cancelled_as_a_message_comes_loses_none(self) -> None:
        layer = self.layer()
        for number in range(20):
            waiting = asyncio.ensure_future(layer.receive("conformance"))
            await self.turn()
            await layer.send("conformance", {"type": "n", "n": number})
            for _ in range(number):  # each time a little later
                await asyncio.sleep(0)
            waiting.cancel()
            try:
                got = await waiting
            except asyncio.CancelledError:
                got = await self.soon(layer.receive("conformance"))
            self.assertEqual(got["n"], number)
        await self.assert_nothing_waits(layer, "conformance")

    async def test_a_receiver_that_is_cancelled_leaves_its_message_to_another(self) -> None:
        await self._cancel_one_of_two(cancel_first=False)

    async def test_a_message_passes_over_a_receiver_that_is_being_cancelled(self) -> None:
        await self._cancel_one_of_two(cancel_first=True)

    async def _cancel_one_of_two(self, *, cancel_first: bool) -> None:
        layer = self.layer()
        first, second = (asyncio.ensure_future(layer.receive("conformance")) for _ in range(2))
        await self.turn()
        if cancel_first:
            first.cancel()
        await layer.send("conformance", {"type": "n"})
        first.cancel()
        await self.until(
            lambda: second.done() or (first.done() and not first.cancelled()), "nobody got the message"
        )
        await self.cancel([first, second])  # the first may take a moment to end
        results = [task.result() for task in (first, second) if not task.cancelled()]
        self.assertEqual(results, [{"type": "n"}])

    async def test_the_messages_of_each_sender_keep_their_order(self) -> None:
        layer = self.layer()

        async def send(sender: int) -> None:
            for number in range(20):
                await layer.send("conformance", {"type": "n", "sender": sender, "n": number})

        await asyncio.gather(*(send(sender) for sender in range(4)))
        got = await self.received(layer, "conformance", 80)
        for sender in range(4):
            self.assertEqual([one["n"] for one in got if one["sender"] == sender], list(range(20)))

    # Messages

    @sent_both_ways
    async def test_what_is_changed_after_sending_was_sent_as_it_was(self) -> None:
        layer = self.layer()
        message: dict[str, Any] = {"type": "n", "list": [1], "dict": {"a": 1}}
        await self.send(layer, "conformance", message)
        message["list"].append(2)
        message["dict"]["a"] = 2
        message["new"] = True
        got = await self.received(layer, "conformance", 1)
        self.assertEqual(got, [{"type": "n", "list": [1], "dict": {"a": 1}}])

    @sent_both_ways
    async def test_all_types_of_the_specification_arrive(self) -> None:
        layer = self.layer()
        message = {
            "type": "all.types",
            "none": None,
            "bools": [True, False],
            "ints": [0, -1, 2**63 - 1, -(2**63)],
            "floats": [0.5, -1e300, 5e-324],
            "text": "",
            "unicode": "žluťoučký \U0001f600 \x00 \u2028",
            "bytes": b"\x00\xff\xfe",
            "nested": {"list": [[], {}, [{"a": [1]}]]},
        }
        await self.send(layer, "conformance", message)
        got = (await self.received(layer, "conformance", 1))[0]
        self.assertEqual(got, message)
        self.assertEqual([type(value) for value in got["bools"]], [bool, bool])
        self.assertEqual(type(got["bytes"]), bytes)

    @sent_both_ways
    async def test_a_message_may_have_a_mebibyte(self) -> None:
        layer = self.layer()
        for data in ("ü" * (512 * 1024), b"\xff" * (1024 * 1024)):
            message = {"type": "large", "data": data}
            await self.send(layer, "conformance", message)
            self.assertEqual(await self.received(layer, "conformance", 1), [message])

    # Names

    async def test_new_channels_differ_and_work(self) -> None:
        layer = self.layer()
        names = [await layer.new_channel() for _ in range(50)]
        self.assertEqual(len(set(names)), 50)
        for name in names:
            self.assertRegex(name, re.compile(r"[A-Za-z0-9\-_.]+![A-Za-z0-9\-_.]+\Z"))
            self.assertLess(len(name), 100)
        await layer.send(names[0], {"type": "first"})
        await layer.send(names[1], {"type": "second"})
        self.assertEqual(await self.received(layer, names[1], 1), [{"type": "second"}])
        self.assertEqual(await self.received(layer, names[0], 1), [{"type": "first"}])

    @sent_both_ways
    async def test_no_message_to_many_new_channels_is_lost(self) -> None:
        """V30: who sends and who receives choose different shards."""
        layer = self.layer()
        names = [await layer.new_channel() for _ in range(40)]
        for number, name in enumerate(names):
            await self.send(layer, name, {"type": "n", "n": number})
        for number, name in enumerate(names):
            self.assertEqual(await self.numbers(layer, name, 1), [number])

    @sent_both_ways
    async def test_a_new_channel_keeps_the_order(self) -> None:
        layer = self.layer()
        name = await layer.new_channel()
        for number in range(20):
            await self.send(layer, name, {"type": "n", "n": number})
        self.assertEqual(await self.numbers(layer, name, 20), list(range(20)))

    async def test_a_new_channel_takes_a_prefix(self) -> None:
        layer = self.layer()
        self.assertTrue((await layer.new_channel("upload")).startswith("upload"))

    async def test_names_may_have_99_characters(self) -> None:
        layer = self.layer()
        name = "-_.aZ9" + "x" * 93
        await layer.send(name, {"type": "n"})
        self.assertEqual(await self.received(layer, name, 1), [{"type": "n"}])

    async def test_impossible_names_of_channels_are_a_type_error(self) -> None:
        layer = self.layer()
        for name in ("", "a b", "ü", "a:b", "a!b!c", "x" * 200, None, 1, b"a"):
            with self.subTest(name=name):
                with self.assertRaises(TypeError):
                    await layer.send(name, {"type": "n"})
                with self.assertRaises(TypeError):
                    await self.soon(layer.receive(name))

    async def test_impossible_names_of_groups_are_a_type_error(self) -> None:
        layer = self.layer("groups")
        for name in ("", "a b", "ü", "a:b", "a!b", "x" * 200, None, 1, b"a"):
            with self.subTest(name=name):
                with self.assertRaises(TypeError):
                    await layer.group_add(name, "conformance")
                with self.assertRaises(TypeError):
                    await layer.group_discard(name, "conformance")
                with self.assertRaises(TypeError):
                    await layer.group_send(name, {"type": "n"})
        with self.assertRaises(TypeError):
            await layer.group_add("group", "a b")

    async def test_receiving_by_prefix(self) -> None:
        """V28."""
        self.need(self.receives_by_prefix, "to receive by prefix")
        layer = self.layer()
        sent = ["process!a", "process!b", "process!b", "process!a", "process!c"]
        for number, name in enumerate(sent):
            await layer.send(name, {"type": "n", "n": number})
        await layer.send("other!a", {"type": "n", "n": 99})
        got = await self.received(layer, "process!", 5)
        self.assertEqual([message["n"] for message in got], [0, 1, 2, 3, 4])
        self.assertEqual([message["__asgi_channel__"] for message in got], sent)
        waiting = asyncio.ensure_future(layer.receive("process!"))
        await self.turn()
        await layer.send("process!d", {"type": "n", "n": 5})
        self.assertEqual((await self.soon(waiting))["n"], 5)

    # Capacity and expiry

    @sent_both_ways
    async def test_a_full_channel_refuses(self) -> None:
        """And keeps what it has (V32)."""
        self.need(self.refuses_at_capacity, "to refuse at capacity")
        layer = self.layer(capacity=3)
        for number in range(3):
            await self.send(layer, "conformance", {"type": "n", "n": number})
        with self.assertRaises(layer.ChannelFull):
            await self.send(layer, "conformance", {"type": "n", "n": 99})
        await self.send(layer, "conformance.other", {"type": "other"})
        self.assertEqual(await self.numbers(layer, "conformance", 1), [0])
        await self.send(layer, "conformance", {"type": "n", "n": 3})
        self.assertEqual(await self.numbers(layer, "conformance", 3), [1, 2, 3])

    @sent_both_ways
    async def test_capacity_by_pattern(self) -> None:
        self.need(self.refuses_at_capacity, "to refuse at capacity")
        patterns = {
            "small.*": 1,
            "small.two": 4,
            re.compile("large"): 5,
        }  # V26; the first that matches counts
        layer = self.layer(capacity=3, channel_capacity=patterns)
        for name, capacity in (("small.one", 1), ("small.two", 1), ("large", 5), ("conformance", 3)):
            for _ in range(capacity):
                await self.send(layer, name, {"type": "n"})
            with self.assertRaises(layer.ChannelFull, msg=name):
                await self.send(layer, name, {"type": "n"})

    @sent_both_ways
    async def test_messages_expire(self) -> None:
        self.need(self.expires_messages, "to expire messages")
        layer = self.layer(expiry=self.expiry_s, capacity=1)
        await self.send(layer, "conformance", {"type": "old"})
        await self.pass_time(self.expiry_s * 1.5)
        await self.assert_nothing_waits(layer, "conformance")
        await self.send(layer, "conformance", {"type": "old"})
        await self.pass_time(self.expiry_s * 1.5)
        await self.send(layer, "conformance", {"type": "new"})  # there is room again
        self.assertEqual(await self.received(layer, "conformance", 1), [{"type": "new"}])

    # Groups

    @sent_both_ways
    async def test_a_group_message_reaches_each_member_once(self) -> None:
        layer = self.layer("groups")
        names = [f"conformance.{number}" for number in range(20)]
        await self.join(layer, *names, *names)  # once is enough
        await layer.group_add("other", "conformance.outside")
        await self.group_send(layer, "group", {"type": "n"})
        for name in names:
            self.assertEqual(await self.received(layer, name, 1), [{"type": "n"}])
        await self.assert_nothing_waits(layer, *names, "conformance.outside")

    @sent_both_ways
    async def test_members_by_new_channel(self) -> None:
        layer = self.layer("groups")
        names = [await layer.new_channel() for _ in range(3)]
        await self.join(layer, *names)
        await self.group_send(layer, "group", {"type": "n"})
        for name in names:
            self.assertEqual(await self.received(layer, name, 1), [{"type": "n"}])

    @sent_both_ways
    async def test_who_was_discarded_hears_nothing(self) -> None:
        layer = self.layer("groups")
        await self.join(layer, "conformance.stays", "conformance.goes")
        await layer.group_discard("group", "conformance.goes")
        await layer.group_discard("group", "conformance.goes")  # a second time does nothing
        await layer.group_discard("nobody", "conformance.goes")
        await self.group_send(layer, "group", {"type": "n"})
        self.assertEqual(await self.received(layer, "conformance.stays", 1), [{"type": "n"}])
        await self.assert_nothing_waits(layer, "conformance.goes")

    async def test_a_receiver_that_is_cancelled_stays_a_member(self) -> None:
        """V37."""
        layer = self.layer("groups")
        name = await layer.new_channel()
        await layer.group_add("group", name)
        waiting = asyncio.ensure_future(layer.receive(name))
        await self.turn()
        await self.cancel([waiting])
        await layer.group_send("group", {"type": "n"})
        self.assertEqual(await self.received(layer, name, 1), [{"type": "n"}])

    async def test_who_joins_hears_what_comes_after(self) -> None:
        layer = self.layer("groups")
        await layer.group_send("group", {"type": "before"})  # to nobody
        await layer.group_add("group", "conformance")
        await layer.group_send("group", {"type": "after"})
        self.assertEqual(await self.received(layer, "conformance", 1), [{"type": "after"}])
        await self.assert_nothing_waits(layer, "conformance")

    @sent_both_ways
    async def test_group_messages_keep_their_order(self) -> None:
        layer = self.layer("groups")
        await self.join(layer, "conformance.a", "conformance.b")
        for number in range(20):
            await self.group_send(layer, "group", {"type": "n", "n": number})
        for name in ("conformance.a", "conformance.b"):
            self.assertEqual(await self.numbers(layer, name, 20), list(range(20)))

    @sent_both_ways
    async def test_each_member_has_its_own_copy(self) -> None:
        layer = self.layer("groups")
        await self.join(layer, "conformance.a", "conformance.b")
        message: dict[str, Any] = {"type": "n", "list": [1]}
        await self.group_send(layer, "group", message)
        message["list"].append(2)
        first = (await self.received(layer, "conformance.a", 1))[0]
        first["list"].append(3)
        self.assertEqual(await self.received(layer, "conformance.b", 1), [{"type": "n", "list": [1]}])

    async def test_groups_and_channels_may_share_a_name(self) -> None:
        layer = self.layer("groups")
        await layer.group_add("conformance", "conformance.member")
        await layer.send("conformance", {"type": "to.channel"})
        await layer.group_send("conformance", {"type": "to.group"})
        self.assertEqual(await self.received(layer, "conformance.member", 1), [{"type": "to.group"}])
        self.assertEqual(await self.received(layer, "conformance", 1), [{"type": "to.channel"}])

    @sent_both_ways
    async def test_a_group_passes_over_a_full_member(self) -> None:
        layer = self.layer("groups", capacity=1)
        await self.join(layer, "conformance.full", "conformance.free")
        await self.send(layer, "conformance.full", {"type": "first"})
        await self.group_send(layer, "group", {"type": "n"})  # raises no ChannelFull
        self.assertEqual(await self.received(layer, "conformance.full", 1), [{"type": "first"}])
        self.assertEqual(await self.received(layer, "conformance.free", 1), [{"type": "n"}])

    async def test_a_membership_ends_some_time_after_the_last_add(self) -> None:
        self.need(self.expires_messages, "to expire memberships")
        layer = self.layer("groups", group_expiry=self.expiry_s)
        self.assertEqual(layer.group_expiry, self.expiry_s)
        await layer.group_add("group", "conformance.renewed")
        await layer.group_add("group", "conformance.old")
        await self.pass_time(self.expiry_s * 0.6)
        await layer.group_add("group", "conformance.renewed")
        await self.pass_time(self.expiry_s * 0.6)
        await layer.group_send("group", {"type": "n"})
        self.assertEqual(await self.received(layer, "conformance.renewed", 1), [{"type": "n"}])
        await self.assert_nothing_waits(layer, "conformance.old")

    async def test_a_message_that_expires_ends_no_membership(self) -> None:
        """V28, V31: whoever clears away old messages takes room and members along, or leaves the room taken."""
        self.need(self.expires_messages, "to expire messages")
        layer = self.layer("groups", expiry=self.expiry_s, capacity=1)
        names = [await layer.new_channel(), "conformance.member"]
        await self.join(layer, *names)
        await layer.group_send("group", {"type": "old"})
        await asyncio.sleep(self.quiet_s)  # a group message may be on its way for a moment
        await self.pass_time(self.expiry_s * 1.5)
        for number in range(2):
            await layer.group_send("group", {"type": "n", "n": number})
            for name in names:
                self.assertEqual(await self.numbers(layer, name, 1), [number])

    # Flush

    async def test_flush_leaves_nothing(self) -> None:
        layer = self.layer("flush")
        has_groups = "groups" in layer.extensions
        await layer.send("conformance", {"type": "old"})
        if has_groups:
            await layer.group_add("group", "conformance")
        await layer.flush()
        if has_groups:
            await layer.group_send("group", {"type": "old"})
        await self.assert_nothing_waits(layer, "conformance")
        await layer.send("conformance", {"type": "new"})
        self.assertEqual(await self.received(layer, "conformance", 1), [{"type": "new"}])

    # Threads and loops

    async def test_sync_code_sends_to_a_receiver_in_a_loop(self) -> None:
        self.need(self.crosses_loops, "to serve several loops")
        layer = self.layer()
        waiting = asyncio.ensure_future(layer.receive("conformance"))
        await self.turn()
        await self.in_thread(async_to_sync(layer.send), "conformance", {"type": "n"})
        self.assertEqual(await self.soon(waiting), {"type": "n"})

    async def test_sync_code_sends_to_a_group(self) -> None:
        self.need(self.crosses_loops, "to serve several loops")
        layer = self.layer("groups")
        name = await layer.new_channel()
        await layer.group_add("group", name)
        await self.in_thread(async_to_sync(layer.group_send), "group", {"type": "n"})
        self.assertEqual(await self.received(layer, name, 1), [{"type": "n"}])

    async def test_a_receiver_in_another_loop(self) -> None:
        self.need(self.crosses_loops, "to serve several loops")
        layer = self.layer()

        async def receive() -> Any:
            return await self.soon(layer.receive("conformance"))

        there = asyncio.ensure_future(self.in_thread(asyncio.run, receive()))
        await self.turn()
        await layer.send("conformance", {"type": "n"})
        self.assertEqual(await there, {"type": "n"})

    async def test_a_loop_that_ended_leaves_the_layer_as_it_was(self) -> None:
        self.need(self.crosses_loops, "to serve several loops")
        layer = self.layer()

        async def use() -> Any:
            forsaken = asyncio.ensure_future(layer.receive("conformance"))
            await self.turn()
            await layer.send("conformance.own", {"type": "n"})
            return [await self.received(layer, "conformance.own", 1), forsaken.done()]

        for _ in range(2):
            self.assertEqual(await self.in_thread(asyncio.run, use()), [[{"type": "n"}], False])
        await layer.send("conformance", {"type": "n"})
        self.assertEqual(await self.received(layer, "conformance", 1), [{"type": "n"}])
