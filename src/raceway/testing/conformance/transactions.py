"""What is sent inside a database transaction goes out if and only if that commits."""

# ruff: noqa: PT009  (pytest is not needed to run it)
from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from raceway.testing.conformance.ears import HASTE_S, FrontSuite


class RolledBack(Exception):
    """Ends a transaction."""


class Transactions(FrontSuite):
    """Transactions on every layer. They belong to a thread, so their senders do."""

    def begin(self) -> Any:
        """A transaction in this thread."""
        transaction = self.transaction()
        self.need(transaction is not None, "a database (transaction)")
        return transaction

    @asynccontextmanager
    async def in_open_transaction(
        self, work: Callable[[], object], *, rolls_back: bool = False
    ) -> AsyncIterator[None]:
        """In the body, a thread has done ``work`` in a transaction that is open; after it, that ends."""
        from django.db import connections

        self.begin()  # skips, if there is none
        loop = asyncio.get_running_loop()
        begun, may_end = asyncio.Event(), threading.Event()

        def run() -> None:
            try:
                with suppress(RolledBack), self.begin():
                    work()
                    loop.call_soon_threadsafe(begun.set)
                    may_end.wait()
                    if rolls_back:
                        raise RolledBack
            finally:
                connections.close_all()
                loop.call_soon_threadsafe(begun.set)

        there = asyncio.ensure_future(self.in_sender(run))
        try:
            await begun.wait()
            yield
        finally:
            may_end.set()
            await there

    async def test_messages_wait_for_the_commit(self) -> None:
        layer = self.layer("groups")
        member, one = await self.open(layer), await self.open(layer)
        await layer.group_add("group", member.channel)

        def work() -> None:
            for number in range(10):
                self.group(layer).send({"type": "n", "n": number})
                self.channel(layer).send({"type": "n", "n": number})
            self.channel(layer, one.channel).send({"type": "to.one"})
            with self.begin():
                self.group(layer).broadcast("text")

        async with self.in_open_transaction(work):
            await self.assert_nothing_waits(layer, "conformance")
            self.assertEqual((member.heard, one.heard), ([], []))
        events = [{"type": "n", "n": number} for number in range(10)]
        await self.assert_heard(member, [*events, (b"text", True, "close")])
        await self.assert_heard(one, [{"type": "to.one"}])
        self.assertEqual(await self.received(layer, "conformance", 10), events)

    async def test_what_is_rolled_back_is_never_sent(self) -> None:
        layer = self.layer("groups")
        ears = await self.open(layer)
        await self.join(layer, ears.channel, "conformance")

        def work() -> None:
            self.group(layer).send({"type": "never"})
            self.channel(layer).send({"type": "never"})

        async with self.in_open_transaction(work, rolls_back=True):
            pass
        await asyncio.sleep(self.quiet_s)
        await layer.group_send("group", {"type": "after"})
        await self.assert_heard(ears, [{"type": "after"}])
        self.assertEqual(await self.received(layer, "conformance", 1), [{"type": "after"}])

    async def test_a_savepoint_that_is_rolled_back_takes_its_messages_along(self) -> None:
        layer = self.layer("groups")
        ears = await self.open(layer)
        await layer.group_add("group", ears.channel)

        def work() -> None:
            self.group(layer).send({"type": "kept"})
            with suppress(RolledBack), self.begin():
                self.group(layer).send({"type": "never"})
                raise RolledBack
            self.group(layer).send({"type": "kept.too"})

        async with self.in_open_transaction(work):
            pass
        await self.assert_heard(ears, [{"type": "kept"}, {"type": "kept.too"}])

    async def test_what_is_immediate_waits_for_nothing(self) -> None:
        layer = self.layer("groups")
        ears = await self.open(layer)
        await layer.group_add("group", ears.channel)

        def work() -> None:
            self.group(layer).send({"type": "now"}, immediate=True)
            self.channel(layer).send({"type": "now"}, immediate=True)

        async with self.in_open_transaction(work, rolls_back=True):
            await self.assert_heard(ears, [{"type": "now"}])
            self.assertEqual(await self.received(layer, "conformance", 1), [{"type": "now"}])

    async def test_delayed_messages_wait_for_the_commit_too(self) -> None:
        layer = self.layer("delay")

        def work() -> None:
            self.channel(layer).send({"type": "later"}, delay=HASTE_S)

        async with self.in_open_transaction(work, rolls_back=True):
            await asyncio.sleep(2 * HASTE_S)
        await self.assert_nothing_waits(layer, "conformance")
        async with self.in_open_transaction(work):
            await asyncio.sleep(2 * HASTE_S)
            await self.assert_nothing_waits(layer, "conformance")
        self.assertEqual(await self.received(layer, "conformance", 1), [{"type": "later"}])
