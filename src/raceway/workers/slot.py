"""One place of a worker: an application, and the message that it has in its hands."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Final, Protocol

from raceway.backoff import Backoff
from raceway.errors import LayerUnavailable
from raceway.layers import decode_event
from raceway.layers.front import ChannelLayer, Work
from raceway.threads import enter_threads
from raceway.types import ASGIApplication, Event, Scope

logger = logging.getLogger("raceway.workers")

FIRST_RETRY_S: Final = 0.1
LONGEST_RETRY_S: Final = 5.0
"""Between these, about, what has failed is tried again."""


class Watch(Protocol):
    """Who is told what happens in a slot."""

    def received(self) -> None: ...
    def unreachable(self, error: BaseException) -> None: ...
    def failed(self, channel: str, error: BaseException) -> None: ...
    def handled(self) -> None: ...
    def drained(self) -> None: ...


class Slot:
    """Have one message of a channel at a time handled by an application of its own (ASGI, scope type ``channel``).

    A message is taken only when the application asks for one, which says that it is done with the one before.
    """

    def __init__(self, application: ASGIApplication, channel: str, layer: ChannelLayer, watch: Watch) -> None:
        self.channel = channel
        self._application = application
        self._layer = layer
        self._watch = watch
        self._taking: asyncio.Task[Work] | None = None
        self._work: Work | None = None
        """What the application has in its hands."""
        self._returned: Work | None = None
        """What was taken for an application that ended in this very moment; the next one has it first."""
        self._is_draining = False
        self._backoff = Backoff(FIRST_RETRY_S, LONGEST_RETRY_S)

    @property
    def is_idle(self) -> bool:
        """It has nothing in its hands, and does not ask for anything."""
        return self._work is None and self._taking is None

    @property
    def waits(self) -> bool:
        """Its application has asked for a message, and there is none."""
        return self._taking is not None and not self._taking.done()

    @property
    def has_message(self) -> bool:
        """A message is lost if this ends now."""
        return self._work is not None or self._returned is not None

    async def run(self) -> None:
        """Have messages handled until this is cancelled."""
        enter_threads()  # this task's own; an application may enter others
        while True:
            await self._run_application()
            if self._is_draining:
                return
            await asyncio.sleep(self._backoff.failed(random.random()))

    def drain(self) -> None:
        """Take nothing more; what is in hand is finished."""
        self._is_draining = True
        if self._taking is not None:
            self._taking.cancel()

    async def _run_application(self) -> None:
        scope: Scope = {
            "type": "channel",
            "channel": self.channel,
            "asgi": {"version": "3.0"},
            "extensions": {},
        }
        try:
            await self._application(scope, self._receive, self._send)
        except GeneratorExit:  # the loop has gone
            raise
        except BaseException as error:  # a handler's sys.exit(), or something cancelled that it waited for
            if self._was_cut():
                raise
            if self._work is None and isinstance(error, LayerUnavailable):
                self._watch.unreachable(error)
            else:
                self._watch.failed(self.channel, error)
        finally:
            if not self._was_cut():
                self._finish()

    def _was_cut(self) -> bool:
        """The worker has ended this with a message in hand, which is not done."""
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0

    async def _receive(self) -> Event:
        """The application is done with the message before, and wants the next one."""
        self._finish()
        if self._is_draining:
            await _for_ever()
        work, self._returned = self._returned, None
        self._work = work = work or await self._take()
        self._backoff.succeeded()
        return decode_event(work.encoded)

    async def _take(self) -> Work:
        # A task, so that a drain can end the wait without ending the application.
        taking = self._taking = asyncio.get_running_loop().create_task(self._take_patiently())
        try:
            work = await taking
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling() == 0:  # it is a drain
                self._taking = None
                self._watch.drained()
                await _for_ever()
            if taking.done() and not taking.cancelled() and taking.exception() is None:
                self._give_back(taking.result())
            raise
        finally:
            self._taking = None
        return work

    async def _take_patiently(self) -> Work:
        """The next message; as long as the layer cannot be reached, it is tried again."""
        backoff = Backoff(FIRST_RETRY_S, LONGEST_RETRY_S)
        while True:
            try:
                work = await self._layer.take_work(self.channel)
            except (
                Exception,
                asyncio.CancelledError,
            ) as error:  # some layers cancel what they wait for themselves
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    raise
                self._watch.unreachable(error)
                await asyncio.sleep(backoff.failed(random.random()))
            else:
                self._watch.received()
                return work

    def _give_back(self, work: Work) -> None:
        """Nobody has done anything with it."""
        if work.put_back is not None:
            work.put_back()
        else:
            self._returned = work

    def _finish(self) -> None:
        work, self._work = self._work, None
        if work is not None:
            work.done()
            self._watch.handled()

    async def _send(self, event: Event) -> None:
        raise RuntimeError(
            f"The channel {self.channel!r} has no client to send to; use Channel(name).send() or Group(name).send()."
        )


async def _for_ever() -> None:
    """Until the worker ends this task."""
    await asyncio.get_running_loop().create_future()
