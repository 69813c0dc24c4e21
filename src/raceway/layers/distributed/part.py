"""What a distributed layer keeps for one loop."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any

from raceway.layers.distributed.attending import Attending
from raceway.layers.distributed.carrier import EVERYBODY, group_address
from raceway.layers.distributed.ears import LoopEars
from raceway.layers.distributed.frames import Reply, encode
from raceway.layers.distributed.outcomes import ended, told
from raceway.layers.distributed.receiving import Receiving
from raceway.layers.front import LoopPart

if TYPE_CHECKING:
    from raceway.layers.distributed.layer import DistributedLayer


class Asking:
    """A question, until so many have answered as have heard it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.answers: list[Any] = []
        self.heard_by: int | None = None
        self.done: asyncio.Future[None] = loop.create_future()

    def answer(self, value: Any) -> None:
        self.answers.append(value)
        self._check()

    def expect(self, heard_by: int) -> None:
        self.heard_by = heard_by
        self._check()

    @property
    def missing(self) -> int:
        return 0 if self.heard_by is None else max(0, self.heard_by - len(self.answers))

    def _check(self) -> None:
        if self.heard_by is not None and not self.missing and not self.done.done():
            self.done.set_result(None)


class DistributedPart(LoopPart):
    """What a distributed layer keeps for one loop: its carrier, what it waits for, and its tasks."""

    def __init__(self, loop: asyncio.AbstractEventLoop, layer: DistributedLayer) -> None:
        super().__init__(loop)
        self.ears = LoopEars(layer, self)
        self.carrier = layer.make_carrier(loop, self.ears)
        self.reply_to = f"r:{secrets.token_hex(8)}"
        self.asking: dict[int, Asking] = {}
        self._hears_answers = False
        self._pending: dict[str, asyncio.Future[Any]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._pumps: dict[str, asyncio.Task[Any]] = {}
        self._hears_everybody = False
        self._next_question = layer._asks
        self.attending = Attending(self, layer, layer._clock)
        self.receiving = Receiving(self)

    # Subscriptions

    def appeared(self, group: str) -> None:
        self.subscribe(group_address(group))

    def vanished(self, group: str) -> None:
        self.unsubscribe(group_address(group))

    def subscribe(self, address: str) -> asyncio.Future[Any] | None:
        """Ends when it is in force; ``None`` if it is. Whoever hears anything hears what is for everybody."""
        if not self._hears_everybody:
            self._hears_everybody = True
            self.subscribe(EVERYBODY)
        waited_for = [self.carrier.subscribe(address), self._pending.get(EVERYBODY)]
        pendings = [pending for pending in waited_for if pending is not None]
        if not pendings:
            return None
        pending = self._pending[address] = asyncio.gather(*pendings)
        pending.add_done_callback(partial(self._subscribed, address))
        return pending

    def unsubscribe(self, address: str) -> None:
        self._pending.pop(address, None)
        self.carrier.unsubscribe(address)

    def pending(self, address: str) -> asyncio.Future[Any] | None:
        """Ends when a subscription that was begun is in force; ``None`` if it is."""
        return self._pending.get(address)

    def _subscribed(self, address: str, pending: asyncio.Future[Any]) -> None:
        if self._pending.get(address) is pending:
            del self._pending[address]
        if not pending.cancelled():
            pending.exception()  # it stands, and who waits for it has been told

    async def hear_answers(self) -> None:
        """Wait until answers are heard, before anything is asked. Raises ``LayerUnavailable``."""
        if not self._hears_answers:
            self._hears_answers = True
            self.subscribe(self.reply_to)
        pending = self.pending(self.reply_to)
        if pending is not None:
            await ended(pending)

    def expect_answer(self, wait_s: float) -> tuple[int, asyncio.Future[bool]]:
        """A number for a question to one carrier, and whether it answers within ``wait_s``; its answer is not kept."""
        n = next(self._next_question)
        asking = self.asking[n] = Asking(self.loop)
        asking.expect(1)
        answered: asyncio.Future[bool] = self.loop.create_future()

        def settle(_: object = None) -> None:
            timer.cancel()
            self.asking.pop(n, None)
            if not answered.done():
                answered.set_result(bool(asking.answers))

        timer = self.loop.call_later(wait_s, settle)
        asking.done.add_done_callback(settle)
        return n, answered

    def cast(self, address: str, frame: bytes, what: str) -> None:
        """Carry something whose failure is only told in the log."""
        told(what, self.carrier.cast(address, frame))

    def reply(self, address: str, reply: Reply) -> None:
        if address == self.reply_to:
            self.answered(reply)
        else:
            self.cast(address, encode(reply), "An answer")

    def answered(self, reply: Reply) -> None:
        asking = self.asking.get(reply.n)
        if asking is not None:
            asking.answer(reply.value)

    # Tasks

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """A task of this loop that ends with the layer."""
        task = self.loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def pump(self, channel: str, coroutine: Coroutine[Any, Any, None]) -> None:
        self._pumps[channel] = self.run(coroutine)

    def stop_pump(self, channel: str) -> None:
        task = self._pumps.pop(channel, None)
        if task is not None:
            task.cancel()

    def forsake(self) -> None:
        self.carrier.forsake()

    async def aclose(self) -> None:
        await self.attending.aclose()
        self.receiving.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.carrier.aclose()
