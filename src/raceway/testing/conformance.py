"""The tests that every channel layer passes: ours, and those of third parties.

::

    from unittest import IsolatedAsyncioTestCase
    from raceway.testing.conformance import LayerConformance

    class TestMine(LayerConformance, IsolatedAsyncioTestCase):
        def make_layer(self, **options):
            return MyLayer(hosts=["localhost"], **options)

It needs no pytest, and runs under pytest and Django's runner as well. ``LayerConformance`` asks for what the channel
layer specification promises; ``FrontConformance`` asks for that and for what a subclass of
``raceway.layers.ChannelLayer`` gives beyond it.
"""

# ruff: noqa: PT009, PT027  (pytest is not needed to run it)
from __future__ import annotations

import asyncio
import re
import unittest
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from unittest import mock

from asgiref.sync import async_to_sync

from raceway.layers import Channel, Group, channel_layers, decode_event
from raceway.layers.roster import presence_group
from raceway.prepared import PreparedMessage
from raceway.registry import Closing

if TYPE_CHECKING:
    TestCase = unittest.IsolatedAsyncioTestCase
else:
    TestCase = object

T = TypeVar("T")

TURNS = 10
"""Turns of the event loop after which a task that needs no I/O has begun to wait."""


class LayerConformance(TestCase):
    """What the channel layer specification promises, as tests. Mix it into ``IsolatedAsyncioTestCase``.

    Override ``make_layer``; ``end_layer``, if more than ``flush`` and ``close`` is needed; ``pass_time``, if the layer
    has a clock that can be moved. The attributes say how long things may take, in seconds, and what the layer does
    not claim to do: those tests are skipped, as are those of ``groups`` and ``flush`` if its ``extensions`` lack them.
    """

    arrival_s: ClassVar[float] = 5.0
    """A message that was sent arrives in this time."""
    quiet_s: ClassVar[float] = 0.2
    """A message that has not arrived in this time never will."""
    expiry_s: ClassVar[float] = 1
    """The shortest expiry that the layer can keep."""

    refuses_at_capacity: ClassVar[bool] = True
    """``ChannelFull`` is raised when ``capacity`` messages wait."""
    expires_messages: ClassVar[bool] = True
    """A message that nobody receives goes after ``expiry``, a membership after ``group_expiry``."""
    receives_by_prefix: ClassVar[bool] = True
    """``receive("prefix!")`` receives for all channels with that prefix."""
    crosses_loops: ClassVar[bool] = True
    """One layer object serves several event loops, in several threads."""

    # What a layer's tests say of it

    def make_layer(self, **options: Any) -> Any:
        """A new, empty layer. ``options``: ``capacity``, ``channel_capacity``, ``expiry``, ``group_expiry``."""
        raise NotImplementedError(
            f"{type(self).__name__} needs make_layer(self, **options), which returns a layer."
        )

    async def end_layer(self, layer: Any) -> None:
        """Leave nothing of ``layer`` behind."""
        if "flush" in layer.extensions:
            await layer.flush()
        close = getattr(layer, "aclose", None) or getattr(layer, "close", None)
        if close is not None:
            await close()

    async def pass_time(self, seconds: float) -> None:
        """Let so much time pass for the layer."""
        await asyncio.sleep(seconds)

    # What the tests are made of

    def layer(self, *extensions: str, **options: Any) -> Any:
        """A layer for this test; skips the test if it lacks one of ``extensions``."""
        layer = self.make_layer(**options)
        self.addAsyncCleanup(self.end_layer, layer)
        for extension in extensions:
            self.need(extension in layer.extensions, f"the extension {extension!r}")
        return layer

    def need(self, has_it: bool, what: str) -> None:
        if not has_it:
            self.skipTest(f"The layer does not claim {what}.")

    async def soon(self, awaitable: Awaitable[T]) -> T:
        """What ``awaitable`` gives, within ``arrival_s``."""
        return await asyncio.wait_for(awaitable, self.arrival_s)

    async def received(self, layer: Any, channel: str, count: int) -> list[Any]:
        """The next ``count`` messages of a channel."""
        return [await self.soon(layer.receive(channel)) for _ in range(count)]

    async def numbers(self, layer: Any, channel: str, count: int) -> list[int]:
        """The numbers of the next ``count`` messages of a channel."""
        return [message["n"] for message in await self.received(layer, channel, count)]

    async def join(self, layer: Any, *channels: str) -> None:
        """Add ``channels`` to the group called "group"."""
        for channel in channels:
            await layer.group_add("group", channel)

    async def assert_nothing_waits(self, layer: Any, *channels: str) -> None:
        tasks = [asyncio.ensure_future(layer.receive(channel)) for channel in channels]
        await self.turn()
        done, waiting = await asyncio.wait(tasks, timeout=self.quiet_s)
        await self.cancel(waiting)
        self.assertEqual([task.result() for task in done], [], "nothing should have been received")

    async def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait until ``condition()`` holds, at most ``arrival_s``."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.arrival_s
        while not condition():
            if loop.time() > deadline:
                self.fail(f"In {self.arrival_s} seconds: {what}")
            await asyncio.sleep(0)

    async def turn(self) -> None:
        for _ in range(TURNS):
            await asyncio.sleep(0)

    async def cancel(self, tasks: Iterable[asyncio.Future[Any]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def in_thread(self, function: Callable[..., T], *args: Any) -> T:
        """What ``function(*args)`` returns in a thread that has no event loop."""
        with ThreadPoolExecutor(1) as pool:
            return await asyncio.get_running_loop().run_in_executor(pool, partial(function, *args))

    # Channels

    async def test_it_names_its_exceptions_and_extensions(self) -> None:
        layer = self.layer()
        self.assertTrue(issubclass(layer.ChannelFull, Exception))
        self.assertTrue(issubclass(layer.MessageTooLarge, Exception))
        self.assertIsInstance(list(layer.extensions), list)

    async def test_messages_come_in_the_order_in_which_they_were_sent(self) -> None:
        layer = self.layer()
        for number in range(20):
            await layer.send("conformance", {"type": "n", "n": number})
        self.assertEqual(await self.numbers(layer, "conformance", 20), list(range(20)))

    async def test_each_message_is_received_once(self) -> None:
        layer = self.layer()
        for number in range(3):
            await layer.send("conformance", {"type": "n", "n": number})
        await self.received(layer, "conformance", 3)
        await self.assert_nothing_waits(layer, "conformance")

    async def test_who_waits_gets_what_is_sent_later(self) -> None:
        layer = self.layer()
        waiting = asyncio.ensure_future(layer.receive("conformance"))
        await self.turn()
        await layer.send("conformance", {"type": "n"})
        self.assertEqual(await self.soon(waiting), {"type": "n"})

    async def test_several_receivers_share_the_messages(self) -> None:
        layer = self.layer()
        waiting = [asyncio.ensure_future(layer.receive("conformance")) for _ in range(5)]
        await self.turn()
        for number in range(5):
            await layer.send("conformance", {"type": "n", "n": number})
        got = await self.soon(asyncio.gather(*waiting))
        self.assertEqual(sorted(message["n"] for message in got), list(range(5)))
        await self.assert_nothing_waits(layer, "conformance")

    async def test_channels_do_not_mix(self) -> None:
        layer = self.layer()
        await layer.send("conformance.a", {"type": "a"})
        await layer.send("conformance.b", {"type": "b"})
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

    # Messages

    async def test_what_is_changed_after_sending_was_sent_as_it_was(self) -> None:
        layer = self.layer()
        message: dict[str, Any] = {"type": "n", "list": [1], "dict": {"a": 1}}
        await layer.send("conformance", message)
        message["list"].append(2)
        message["dict"]["a"] = 2
        message["new"] = True
        got = await self.received(layer, "conformance", 1)
        self.assertEqual(got, [{"type": "n", "list": [1], "dict": {"a": 1}}])

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
        await layer.send("conformance", message)
        got = (await self.received(layer, "conformance", 1))[0]
        self.assertEqual(got, message)
        self.assertEqual([type(value) for value in got["bools"]], [bool, bool])
        self.assertEqual(type(got["bytes"]), bytes)

    async def test_a_message_may_have_a_mebibyte(self) -> None:
        layer = self.layer()
        for data in ("ü" * (512 * 1024), b"\xff" * (1024 * 1024)):
            message = {"type": "large", "data": data}
            await layer.send("conformance", message)
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

    async def test_a_new_channel_keeps_the_order(self) -> None:
        layer = self.layer()
        name = await layer.new_channel()
        for number in range(20):
            await layer.send(name, {"type": "n", "n": number})
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

    async def test_a_full_channel_refuses(self) -> None:
        self.need(self.refuses_at_capacity, "to refuse at capacity")
        layer = self.layer(capacity=3)
        for number in range(3):
            await layer.send("conformance", {"type": "n", "n": number})
        with self.assertRaises(layer.ChannelFull):
            await layer.send("conformance", {"type": "n", "n": 99})
        await layer.send("conformance.other", {"type": "other"})
        self.assertEqual(await self.numbers(layer, "conformance", 1), [0])
        await layer.send("conformance", {"type": "n", "n": 3})
        self.assertEqual(await self.numbers(layer, "conformance", 3), [1, 2, 3])

    async def test_capacity_by_pattern(self) -> None:
        self.need(self.refuses_at_capacity, "to refuse at capacity")
        layer = self.layer(capacity=3, channel_capacity={"small.*": 1, re.compile("large"): 5})
        for name, capacity in (("small.one", 1), ("large", 5), ("conformance", 3)):
            for _ in range(capacity):
                await layer.send(name, {"type": "n"})
            with self.assertRaises(layer.ChannelFull, msg=name):
                await layer.send(name, {"type": "n"})

    async def test_messages_expire(self) -> None:
        self.need(self.expires_messages, "to expire messages")
        layer = self.layer(expiry=self.expiry_s, capacity=1)
        await layer.send("conformance", {"type": "old"})
        await self.pass_time(self.expiry_s * 1.5)
        await self.assert_nothing_waits(layer, "conformance")
        await layer.send("conformance", {"type": "old"})
        await self.pass_time(self.expiry_s * 1.5)
        await layer.send("conformance", {"type": "new"})  # there is room again
        self.assertEqual(await self.received(layer, "conformance", 1), [{"type": "new"}])

    # Groups

    async def test_a_group_message_reaches_each_member_once(self) -> None:
        layer = self.layer("groups")
        names = [f"conformance.{number}" for number in range(20)]
        await self.join(layer, *names, *names)  # once is enough
        await layer.group_add("other", "conformance.outside")
        await layer.group_send("group", {"type": "n"})
        for name in names:
            self.assertEqual(await self.received(layer, name, 1), [{"type": "n"}])
        await self.assert_nothing_waits(layer, *names, "conformance.outside")

    async def test_members_by_new_channel(self) -> None:
        layer = self.layer("groups")
        names = [await layer.new_channel() for _ in range(3)]
        await self.join(layer, *names)
        await layer.group_send("group", {"type": "n"})
        for name in names:
            self.assertEqual(await self.received(layer, name, 1), [{"type": "n"}])

    async def test_who_was_discarded_hears_nothing(self) -> None:
        layer = self.layer("groups")
        await self.join(layer, "conformance.stays", "conformance.goes")
        await layer.group_discard("group", "conformance.goes")
        await layer.group_discard("group", "conformance.goes")  # a second time does nothing
        await layer.group_discard("nobody", "conformance.goes")
        await layer.group_send("group", {"type": "n"})
        self.assertEqual(await self.received(layer, "conformance.stays", 1), [{"type": "n"}])
        await self.assert_nothing_waits(layer, "conformance.goes")

    async def test_who_joins_hears_what_comes_after(self) -> None:
        layer = self.layer("groups")
        await layer.group_send("group", {"type": "before"})  # to nobody
        await layer.group_add("group", "conformance")
        await layer.group_send("group", {"type": "after"})
        self.assertEqual(await self.received(layer, "conformance", 1), [{"type": "after"}])
        await self.assert_nothing_waits(layer, "conformance")

    async def test_group_messages_keep_their_order(self) -> None:
        layer = self.layer("groups")
        await self.join(layer, "conformance.a", "conformance.b")
        for number in range(20):
            await layer.group_send("group", {"type": "n", "n": number})
        for name in ("conformance.a", "conformance.b"):
            self.assertEqual(await self.numbers(layer, name, 20), list(range(20)))

    async def test_each_member_has_its_own_copy(self) -> None:
        layer = self.layer("groups")
        await self.join(layer, "conformance.a", "conformance.b")
        message: dict[str, Any] = {"type": "n", "list": [1]}
        await layer.group_send("group", message)
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

    async def test_a_group_passes_over_a_full_member(self) -> None:
        layer = self.layer("groups", capacity=1)
        await self.join(layer, "conformance.full", "conformance.free")
        await layer.send("conformance.full", {"type": "first"})
        await layer.group_send("group", {"type": "n"})  # raises no ChannelFull
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


class Ears:
    """An open channel, and what it has been handed."""

    def __init__(self, layer: Any, *, room: bool = True, pushes: bool = True) -> None:
        self.heard: list[Any] = []
        self.room = room
        self.channel: str = layer.new_channel_name()
        layer.open(
            self.channel,
            self.deliver,
            self.push if pushes else None,
            self.heard.append if pushes else None,
            self.gap,
        )

    def deliver(self, encoded: bytes) -> bool:
        if self.room:
            self.heard.append(decode_event(encoded))
        return self.room

    def push(self, message: PreparedMessage, policy: str, key: object) -> None:
        self.heard.append((message.payload, message.is_text, policy))

    def gap(self, reason: str) -> None:
        self.heard.append(f"gap: {reason}")


class FrontConformance(LayerConformance):
    """What a subclass of ``raceway.layers.ChannelLayer`` gives beyond the specification, as tests.

    Tests of the extensions ``members``, ``statistics`` and ``presence`` are skipped if the layer does not offer them.
    """

    alias: ClassVar[str] = "conformance"
    """The alias under which ``Group`` and ``Channel`` find the layer during a test."""

    def named_layer(self, *extensions: str) -> Any:
        """A layer that ``Group`` and ``Channel`` find."""
        layer = self.layer(*extensions)
        channel_layers.set(self.alias, layer)
        self.addCleanup(channel_layers.set, self.alias, None)
        return layer

    async def assert_heard(self, ears: Ears, expected: list[Any]) -> None:
        await self.until(lambda: len(ears.heard) >= len(expected), f"{ears.heard} was heard, not {expected}")
        await self.turn()
        self.assertEqual(ears.heard, expected)

    # Messages

    async def test_a_message_may_be_too_large(self) -> None:
        layer = self.layer("groups", max_message_bytes=100)
        for message in ({"type": "n", "data": b"x" * 100}, {"type": "websocket.send", "text": "ü" * 51}):
            with self.assertRaises(layer.MessageTooLarge):
                await layer.send("conformance", message)
            with self.assertRaises(layer.MessageTooLarge):
                await layer.group_send("group", message)
        await layer.send("conformance", {"type": "n", "data": b"x" * 50})
        await self.received(layer, "conformance", 1)

    async def test_what_no_layer_carries_is_named(self) -> None:
        layer = self.layer("groups")
        with self.assertRaisesRegex(TypeError, re.escape("message['a'][0] is of type object")):
            await layer.send("conformance", {"type": "n", "a": [object()]})
        with self.assertRaisesRegex(TypeError, "more than 64 bits"):
            await layer.group_send("group", {"type": "n", "a": 2**63})

    async def test_keys_may_be_ints(self) -> None:
        layer = self.layer()
        await layer.send("conformance", {"type": "users", "users": {1: "leela"}})
        self.assertEqual(
            await self.received(layer, "conformance", 1), [{"type": "users", "users": {1: "leela"}}]
        )

    async def test_each_connection_has_its_capacity_for_itself(self) -> None:
        layer = self.layer(capacity=1)
        names = [await layer.new_channel() for _ in range(20)]
        for name in names:
            await layer.send(name, {"type": "n"})
        for name in names:
            self.assertEqual(await self.received(layer, name, 1), [{"type": "n"}])

    # Open channels

    async def test_an_open_channel_is_handed_its_messages_in_order(self) -> None:
        layer = self.layer("groups")
        ears = Ears(layer)
        await layer.group_add("group", ears.channel)
        for number in range(5):
            await layer.send(ears.channel, {"type": "n", "n": number})
        await self.assert_heard(ears, [{"type": "n", "n": number} for number in range(5)])
        for number in range(5, 10):
            await layer.group_send("group", {"type": "n", "n": number})
        await self.assert_heard(ears, [{"type": "n", "n": number} for number in range(10)])

    async def test_client_messages_are_pushed(self) -> None:
        layer = self.layer("groups")
        ears, plain = Ears(layer), Ears(layer, pushes=False)
        await self.join(layer, ears.channel, plain.channel)
        messages = [
            {"type": "websocket.send", "text": "ü"},
            {"type": "websocket.send", "bytes": b"\xff"},
            {"type": "websocket.close", "code": 4000, "reason": "enough"},
        ]
        for message in messages:
            await layer.group_send("group", message)
        await self.assert_heard(
            ears, [("ü".encode(), True, "close"), (b"\xff", False, "close"), Closing(4000, "enough")]
        )
        await self.assert_heard(plain, messages)

    async def test_a_closed_channel_hears_nothing(self) -> None:
        layer = self.layer("groups")
        ears = Ears(layer)
        await layer.group_add("group", ears.channel)
        layer.close(ears.channel)
        layer.close(ears.channel)
        await layer.group_send("group", {"type": "n"})
        await layer.send(ears.channel, {"type": "n"})
        await asyncio.sleep(self.quiet_s)
        self.assertEqual(ears.heard, [])

    async def test_a_channel_is_open_or_received_from(self) -> None:
        layer = self.layer()
        ears = Ears(layer)
        with self.assertRaisesRegex(RuntimeError, "is open"):
            await layer.receive(ears.channel)
        with self.assertRaisesRegex(ValueError, "open already"):
            layer.open(ears.channel, ears.deliver)

    async def test_what_waits_is_handed_over_at_opening(self) -> None:
        layer = self.layer()
        ears = Ears(layer)
        for number in range(3):
            await layer.send("conformance", {"type": "n", "n": number})
        layer.open("conformance", ears.deliver)
        await self.assert_heard(ears, [{"type": "n", "n": number} for number in range(3)])
        await layer.send("conformance", {"type": "n", "n": 3})
        await self.assert_heard(ears, [{"type": "n", "n": number} for number in range(4)])

    async def test_a_full_mailbox_is_told_to_who_shares_its_process(self) -> None:
        layer = self.layer("groups")
        full, free = Ears(layer, room=False), Ears(layer)
        await self.join(layer, full.channel, free.channel)
        with self.assertRaises(layer.ChannelFull):
            await layer.send(full.channel, {"type": "n"})
        await layer.group_send("group", {"type": "n"})
        await self.assert_heard(free, [{"type": "n"}])

    async def test_a_connection_that_joins_twice_leaves_twice(self) -> None:
        layer = self.layer("groups")
        ears = Ears(layer)
        await self.join(layer, ears.channel, ears.channel)
        await layer.group_send("group", {"type": "n", "n": 1})
        await layer.group_discard("group", ears.channel)
        await layer.group_send("group", {"type": "n", "n": 2})
        await layer.group_discard("group", ears.channel)
        await layer.group_send("group", {"type": "n", "n": 3})
        await layer.send(ears.channel, {"type": "n", "n": 4})
        await self.assert_heard(ears, [{"type": "n", "n": number} for number in (1, 2, 4)])

    async def test_one_member_can_be_left_out(self) -> None:
        self.named_layer("groups")
        layer = channel_layers[self.alias]
        one, other = Ears(layer), Ears(layer)
        group = Group("group", self.alias)
        await self.join(layer, one.channel, other.channel)
        await group.abroadcast("both")
        await group.abroadcast({"a": 1}, exclude=other.channel, policy="latest")
        await group.abroadcast(b"both")
        both = [(b"both", True, "close"), (b"both", False, "close")]
        await self.assert_heard(one, [both[0], (b'{"a":1}', True, "latest"), both[1]])
        await self.assert_heard(other, both)

    async def test_flush_leaves_open_channels_open(self) -> None:
        layer = self.layer("groups", "flush")
        ears = Ears(layer)
        await layer.group_add("group", ears.channel)
        await layer.flush()
        await layer.group_send("group", {"type": "n", "n": 1})
        await layer.send(ears.channel, {"type": "n", "n": 2})
        await self.assert_heard(ears, [{"type": "n", "n": 2}])

    async def test_a_layer_can_be_closed_and_used_again(self) -> None:
        layer = self.layer()
        ears = Ears(layer)
        waiting = asyncio.ensure_future(layer.receive("conformance"))
        await self.turn()
        await layer.aclose()
        await self.until(waiting.cancelled, "who waits to receive goes on waiting")
        await layer.send("conformance", {"type": "n"})
        self.assertEqual(await self.received(layer, "conformance", 1), [{"type": "n"}])
        self.assertEqual(ears.heard, [])

    async def test_members_are_told_of_a_gap_once(self) -> None:
        layer = self.layer("groups")
        member, stranger = Ears(layer), Ears(layer)
        await self.join(layer, member.channel)
        await layer.group_add("other", member.channel)
        before = layer.gap_count
        layer.tell_gap("lost")
        await self.assert_heard(member, ["gap: lost"])
        self.assertEqual((stranger.heard, layer.gap_count - before), ([], 1))

    # Threads without an event loop

    async def test_threads_send_in_order_and_make_no_loop(self) -> None:
        layer = self.named_layer("groups")
        ears = Ears(layer)

        def work() -> None:
            group, channel = Group("group", self.alias), Channel(ears.channel, self.alias)
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
        self.named_layer()
        channel = Channel("conformance", self.alias)

        def work() -> None:
            with self.assertRaises(TypeError):
                channel.send({"type": object()})
            for _ in range(100):
                channel.send({"type": "n"})
            with self.assertRaises(channel_layers[self.alias].ChannelFull):
                channel.send({"type": "n"})

        await self.in_thread(work)

    async def test_many_threads_lose_nothing(self) -> None:
        layer = self.named_layer("groups")
        ears = Ears(layer)
        await layer.group_add("group", ears.channel)

        def work(thread: int) -> None:
            for number in range(50):
                Group("group", self.alias).send({"type": "n", "thread": thread, "n": number})

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
            ears = Ears(layer)
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
        layer = self.named_layer("groups", "members")
        group = Group("group", self.alias)
        self.assertEqual((await layer.group_channels("group"), await layer.group_count("group")), ([], 0))
        ears = [Ears(layer) for _ in range(3)]
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
        laptop, phone, other = Ears(layer), Ears(layer), Ears(layer)
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
        watcher, one, again = Ears(layer), Ears(layer), Ears(layer)
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
        back = Ears(layer)
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
        full = Ears(layer, room=False)
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
