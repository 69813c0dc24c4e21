"""The extension ``delay``: messages that wait for their time, and can be taken back."""

# ruff: noqa: PT009, PT027  (pytest is not needed to run it)
from __future__ import annotations

import asyncio
from typing import Any

from raceway.testing.conformance.ears import HASTE_S, FrontSuite
from raceway.testing.conformance.suite import sent_both_ways


class Delay(FrontSuite):
    """What ``Channel.send(..., delay=seconds)`` promises."""

    async def send_later(self, layer: Any, channel: str, message: dict[str, Any], delay_s: float) -> str:
        """Send in ``delay_s`` seconds; the token with which it can be cancelled."""
        target = self.channel(layer, channel)
        if self.sends_from_thread:
            token = await self.in_sender(lambda: target.send(message, delay=delay_s))
        else:
            token = await target.asend(message, delay=delay_s)
        self.assertIsInstance(token, str)
        return str(token)

    async def cancel_later(self, layer: Any, channel: str, token: str) -> bool:
        target = self.channel(layer, channel)
        return await (
            self.in_sender(target.cancel, token) if self.sends_from_thread else target.acancel(token)
        )

    @sent_both_ways
    async def test_a_delayed_message_comes_when_its_time_has_come(self) -> None:
        layer = self.layer("delay")
        await self.send_later(layer, "conformance", {"type": "later"}, self.expiry_s)
        await self.assert_nothing_waits(layer, "conformance")
        await self.pass_time(self.expiry_s * 1.2)
        self.assertEqual(await self.received(layer, "conformance", 1), [{"type": "later"}])
        await self.assert_nothing_waits(layer, "conformance")  # once

    @sent_both_ways
    async def test_a_delayed_message_comes_to_who_waits_for_it(self) -> None:
        layer = self.layer("delay")
        ears = await self.open(layer)
        waiting = asyncio.ensure_future(layer.receive("conformance"))
        await self.turn()
        await self.send_later(layer, "conformance", {"type": "later"}, HASTE_S)
        await self.send_later(layer, ears.channel, {"type": "later.too"}, HASTE_S)
        self.assertEqual(await self.soon(waiting), {"type": "later"})
        await self.assert_heard(ears, [{"type": "later.too"}])

    @sent_both_ways
    async def test_delayed_messages_come_in_the_order_in_which_they_are_due(self) -> None:
        layer = self.layer("delay")
        for number, delay in ((3, 0.9), (0, 0.3), (1, 0.6), (2, 0.6)):
            await self.send_later(layer, "conformance", {"type": "n", "n": number}, self.expiry_s * delay)
        await self.pass_time(self.expiry_s * 1.2)
        got = await self.numbers(layer, "conformance", 4)
        self.assertEqual((got[0], {got[1], got[2]}, got[3]), (0, {1, 2}, 3))

    async def test_a_delayed_message_expires_after_it_was_due(self) -> None:
        self.need(self.expires_messages, "to expire messages")
        layer = self.layer("delay", expiry=self.expiry_s)
        for name in ("conformance.taken", "conformance.old"):
            await self.send_later(layer, name, {"type": "later"}, self.expiry_s * 1.5)
        await self.pass_time(self.expiry_s * 2)  # longer than the expiry
        self.assertEqual(await self.received(layer, "conformance.taken", 1), [{"type": "later"}])
        await self.pass_time(self.expiry_s)
        await self.assert_nothing_waits(layer, "conformance.old")

    async def test_a_delayed_message_takes_no_room_and_finds_some(self) -> None:
        self.need(self.refuses_at_capacity, "to refuse at capacity")
        layer = self.layer("delay", capacity=1)
        await self.send_later(layer, "conformance", {"type": "n", "n": 1}, self.expiry_s)
        await layer.send("conformance", {"type": "n", "n": 0})
        with self.assertRaises(layer.ChannelFull):
            await layer.send("conformance", {"type": "n", "n": 99})
        await self.pass_time(self.expiry_s * 1.2)
        self.assertEqual(await self.numbers(layer, "conformance", 2), [0, 1])

    @sent_both_ways
    async def test_a_delayed_message_can_be_taken_back(self) -> None:
        layer = self.layer("delay")
        tokens = [
            await self.send_later(layer, "conformance", {"type": "n", "n": number}, self.expiry_s)
            for number in range(3)
        ]
        self.assertEqual(len(set(tokens)), 3)
        self.assertFalse(await self.cancel_later(layer, "conformance.other", tokens[1]))
        self.assertTrue(await self.cancel_later(layer, "conformance", tokens[1]))
        self.assertFalse(await self.cancel_later(layer, "conformance", tokens[1]))
        await self.pass_time(self.expiry_s * 1.2)
        self.assertEqual(sorted(await self.numbers(layer, "conformance", 2)), [0, 2])
        await self.assert_nothing_waits(layer, "conformance")
        self.assertFalse(await self.cancel_later(layer, "conformance", tokens[0]))  # it was due

    @sent_both_ways
    async def test_a_delay_is_a_number_of_seconds(self) -> None:
        layer = self.layer("delay")
        for delay in (-1, float("nan"), float("inf"), "1", None, True):
            with self.subTest(delay=delay), self.assertRaises(ValueError):
                await self.send_later(layer, "conformance", {"type": "later"}, delay)  # type: ignore[arg-type]
        with self.assertRaises(layer.MessageTooLarge):
            await self.send_later(layer, "conformance", {"type": "n", "data": bytes(3 * 1024 * 1024)}, 1)

    async def test_flush_forgets_what_waits_for_its_time(self) -> None:
        layer = self.layer("delay", "flush")
        await self.send_later(layer, "conformance", {"type": "later"}, self.expiry_s)
        await layer.flush()
        await self.pass_time(self.expiry_s * 1.2)
        await self.assert_nothing_waits(layer, "conformance")

    @sent_both_ways
    async def test_another_machine_gets_or_cancels_what_is_delayed(self) -> None:
        layer = self.layer("delay")
        other = self.neighbour()
        waiting = asyncio.ensure_future(other.receive("conformance"))
        await self.turn()
        await self.send_later(layer, "conformance", {"type": "later"}, HASTE_S)
        self.assertEqual(await self.soon(waiting), {"type": "later"})
        token = await self.send_later(layer, "conformance", {"type": "never"}, self.expiry_s)
        self.assertTrue(await self.cancel_later(other, "conformance", token))
        self.assertFalse(await self.cancel_later(layer, "conformance", token))
        await self.pass_time(self.expiry_s * 1.2)
        await self.assert_nothing_waits(layer, "conformance")
