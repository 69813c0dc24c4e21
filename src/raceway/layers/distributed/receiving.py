"""How the receivers of one loop get what waits in named channels."""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from raceway.errors import LayerUnavailable
from raceway.layers.distributed.carrier import Carrier, Popped, channel_address
from raceway.layers.mailroom import forget_receiver, wake

if TYPE_CHECKING:
    from raceway.layers.distributed.part import DistributedPart

LOOK_S: Final = 5.0
"""A receiver that hears nothing looks so often whether something waits."""

LINGER_S: Final = 5.0
"""A loop hears of a named channel for so long after its last receiver has gone with a message: most come back."""

LINGERING_CHANNELS: Final = 1000
"""Of so many at most; of more it is not worth it."""


class Receiving:
    """Receivers that hear when a named channel has something, and pop; all methods belong to the loop's thread."""

    def __init__(self, part: DistributedPart) -> None:
        self._part = part
        self._listening: dict[str, int] = {}
        self._lingering: dict[str, float] = {}
        """Until when an address stays subscribed to that nobody listens to, the earliest first."""
        self._linger_timer: asyncio.TimerHandle | None = None

    async def pop(self, channel: str, *, hold: bool) -> Popped:
        """Wait for the next message of a named channel; a cancelled wait loses none."""
        part = self._part
        woken = self._wait(channel)
        pending = self._listen(channel)
        has_message = False
        try:
            if pending is not None:
                await asyncio.shield(pending)
            while True:
                if woken.cancelled():  # the layer was closed meanwhile
                    raise asyncio.CancelledError
                popped = await self._pop_now(channel, hold)
                if popped.entry is not None:
                    has_message = True
                    return popped
                wait_s = LOOK_S if popped.wait_s is None else min(popped.wait_s, LOOK_S)
                timer = part.loop.call_later(wait_s, wake, woken)
                try:
                    await woken
                finally:
                    timer.cancel()
                forget_receiver(part, channel, woken)
                woken = self._wait(channel)
        except LayerUnavailable:
            if woken.cancelled():  # it was closed with the layer
                raise asyncio.CancelledError from None
            raise
        finally:
            forget_receiver(part, channel, woken)
            self._unlisten(channel, linger=has_message)
            self._wake_one(channel)  # there may be more, or what this one was woken for

    def _wait(self, channel: str) -> asyncio.Future[None]:
        part = self._part
        woken: asyncio.Future[None] = part.loop.create_future()
        part.receivers.setdefault(channel, deque()).append(woken)
        return woken

    async def _pop_now(self, channel: str, hold: bool) -> Popped:
        carrier = self._part.carrier
        popping = carrier.pop(channel, hold)
        try:
            return await asyncio.shield(popping)
        except asyncio.CancelledError:
            popping.add_done_callback(partial(put_back, carrier))
            raise

    def wake_for(self, address: str) -> None:
        """Let one receiver look, who lets the next; all those of a prefix, as what came may be another's."""
        for channel in list(self._part.receivers):
            if channel_address(channel) == address:
                self._wake_one(channel)

    def _wake_one(self, channel: str) -> None:
        for woken in self._part.receivers.get(channel, ()):
            if not woken.done():
                woken.set_result(None)
                return

    def wake_all(self) -> None:
        for receivers in self._part.receivers.values():
            for woken in receivers:
                wake(woken)

    def close(self) -> None:
        if self._linger_timer is not None:
            self._linger_timer.cancel()

    # Subscriptions

    def _listen(self, channel: str) -> asyncio.Future[Any] | None:
        """Hear when a named channel has something; as often as it is said, ``_unlisten`` takes it back."""
        address = channel_address(channel)
        self._listening[address] = self._listening.get(address, 0) + 1
        if self._lingering.pop(address, None) is None and self._listening[address] == 1:
            self._part.subscribe(address)
        return self._part.pending(address)

    def _unlisten(self, channel: str, *, linger: bool) -> None:
        address = channel_address(channel)
        self._listening[address] -= 1
        if self._listening[address]:
            return
        del self._listening[address]
        if not linger or len(self._lingering) >= LINGERING_CHANNELS:
            self._part.unsubscribe(address)
            return
        self._lingering[address] = self._part.loop.time() + LINGER_S
        if self._linger_timer is None:
            self._linger_timer = self._part.loop.call_later(LINGER_S, self._end_lingering)

    def _end_lingering(self) -> None:
        self._linger_timer = None
        now = self._part.loop.time()
        for address, until in list(self._lingering.items()):
            if until > now:
                self._linger_timer = self._part.loop.call_at(until, self._end_lingering)
                return
            del self._lingering[address]
            self._part.unsubscribe(address)


def put_back(carrier: Carrier, popping: asyncio.Future[Popped]) -> None:
    if not popping.cancelled() and popping.exception() is None and popping.result().entry is not None:
        carrier.put_back(popping.result())
