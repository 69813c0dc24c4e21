"""The one runtime under all consumer classes: a mailbox, and the task that empties it."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from threading import get_ident
from typing import TYPE_CHECKING, Any, ClassVar, Final

from raceway.clock import now
from raceway.close_codes import ABNORMAL, INTERNAL_ERROR, NORMAL, UNAUTHORIZED
from raceway.conf import get_settings
from raceway.consumers.handlers import Handlers, drop_unknown
from raceway.consumers.outbox import Outbox
from raceway.done import DONE
from raceway.errors import ClientDisconnected, DenyConnection, StopConsumer
from raceway.layers import decode_event, get_channel_layer
from raceway.layers.handover import handover_of
from raceway.layers.spec import require_group_name
from raceway.registry import TOO_SLOW, Closing
from raceway.signals import message_dropped
from raceway.threads import enter_threads, leave_threads
from raceway.types import Event, Prepare, Receive, Scope, Send
from raceway.wire.limits import CANCEL_AGAIN_S, PUMPED_EVENTS

if TYPE_CHECKING:
    from raceway.consumers.base import Consumer

logger = logging.getLogger("raceway.consumers")

GAP: Final = "raceway.gap"


class Runtime:
    """Feed one consumer with what its client and its layer send, one at a time and in order, until it ends.

    ``put`` (from the client) and ``deliver`` (from the layer) fill the mailbox; ``run`` is the only task and
    empties it. A disconnect overtakes: the consumer is ``closed`` at once, what is in hand has
    ``disconnect_grace_s`` to finish, and the disconnect hook is called exactly once, however it ends.
    """

    outbox_class: ClassVar[type[Outbox]] = Outbox
    takes_pushes: ClassVar = False
    """Client messages of a group are for the client; else they are events, like all others."""
    pumped_events: ClassVar = PUMPED_EVENTS

    __slots__ = (
        "_begun",
        "_client_waiting",
        "_drained",
        "_expiry",
        "_farewell",
        "_gone",
        "_grace",
        "_handlers",
        "_has_dropped",
        "_layer_capacity",
        "_layer_waiting",
        "_loop",
        "_mailbox",
        "_outbox",
        "_overtaken",
        "_pump",
        "_push",
        "_receive",
        "_room",
        "_send",
        "_send_now",
        "_task",
        "_waiter",
        "calls_in_thread",
        "consumer",
        "hooks",
        "scope",
        "thread",
    )

    def __init__(self, handlers: Handlers, scope: Scope, receive: Receive, send: Send) -> None:
        self._handlers = handlers
        self.scope = scope
        self._receive = receive
        self._send = send
        self._farewell = sys.intern(f"{scope['type']}.disconnect")
        self._mailbox: list[Event | bytes | Exception] = []  # short, and an empty deque takes 0.7 KB
        self._client_waiting = 0
        self._layer_waiting = 0
        self._layer_capacity = 0
        self._waiter: asyncio.Future[None] | None = None
        self._has_dropped = False
        self._begun = False
        self._gone: Event | None = None
        self._grace: asyncio.TimerHandle | None = None
        self._expiry: asyncio.TimerHandle | None = None
        self._overtaken = 0
        self._send_now: Callable[[Event], asyncio.Future[None] | None]
        self._push: Callable[..., object]
        self._outbox: Outbox | None = None
        self._pump: asyncio.Task[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._drained: Callable[[], object]
        self._task: asyncio.Task[Any]
        self.calls_in_thread = 0
        self.consumer: Consumer
        self.hooks = handlers.hooks
        self.thread = 0

    async def run(self, make: Callable[[], Consumer], prepares: tuple[Prepare, ...]) -> None:
        """Handle everything that comes, in order, until the connection has ended; then clean up."""
        # One frame for all of it: each frame on the stack is resumed for each message.
        threads = enter_threads()
        try:
            if not await self._open(make, prepares):
                return
            del make, prepares  # this frame lives as long as the connection
            consumer, mailbox, client_hooks = self.consumer, self._mailbox, self._handlers.client
            try:
                try:
                    await self._join_groups()
                except asyncio.CancelledError:
                    if not self._is_overtaken():
                        raise
                while True:
                    if not mailbox:
                        if consumer.closed:
                            break
                        self._waiter = self._loop.create_future()
                        await self._waiter
                        continue
                    item = mailbox.pop(0)
                    try:
                        if isinstance(item, bytes):
                            self._layer_waiting -= 1
                            await self._start_handler(item)
                        elif isinstance(item, Exception):
                            raise item
                        else:
                            await client_hooks[item["type"]](consumer, item)
                    except asyncio.CancelledError:
                        if not self._is_overtaken():
                            raise
                    except Exception as error:
                        await self._failed(error, item)
                    if not isinstance(item, bytes):
                        self._client_waiting -= 1
                        if self._client_waiting <= 0:
                            self._drained()
            except GeneratorExit:
                self._close_channel()
                raise
            except StopConsumer:
                await self._end(NORMAL)
            except BaseException as error:
                await self._end(INTERNAL_ERROR if isinstance(error, Exception) else ABNORMAL, error)
                raise
            else:
                await self._end(self._end_code())
        except GeneratorExit:  # the loop has gone: nothing can be awaited any more
            threads = None
            raise
        finally:
            leave_threads(threads)

    @property
    def awaits_events(self) -> bool:
        """A handler of the class may still be called by the layer."""
        return self.consumer.channel_layer is not None and bool(self._handlers.events)

    # What fills the mailbox, in the loop's thread

    def put(self, event: Event) -> None:
        """Take one event from the server."""
        if event["type"] == self._farewell:
            self._client_gone(event)
            return
        if self.consumer.closed:
            return
        self._client_waiting += 1
        self._mailbox.append(event)
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def deliver(self, encoded: bytes) -> bool:
        """Take one event from the layer; ``False``, and it is lost, if ``capacity`` of them wait already."""
        if self.consumer.closed:
            return True
        if self._layer_waiting >= self._layer_capacity:
            if not self._has_dropped:
                self._has_dropped = True
                logger.warning(
                    "The mailbox of %s is full: %d messages wait for %s. Newer ones are dropped.",
                    self.consumer.channel_name,
                    self._layer_waiting,
                    type(self.consumer).__qualname__,
                )
            message_dropped.send_robust(
                type(self.consumer), channel=self.consumer.channel_name, capacity=self._layer_capacity
            )
            return False
        self._layer_waiting += 1
        self._mailbox.append(encoded)
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)
        return True

    def close(self, closing: Closing) -> None:
        """End as a group message says; it does not wait for handlers."""
        self._client_gone({"type": self._farewell})

    def gap(self, reason: str) -> None:
        """Have the consumer told that messages may have been missed; once, if it has not been yet."""
        if not self.consumer.closed and not any(_is_gap(item) for item in self._mailbox):
            self.put({"type": GAP, "reason": reason})

    def _tell(self, error: Exception) -> None:
        """Have ``error`` treated as if a handler had raised it."""
        if isinstance(error, ClientDisconnected):
            return
        self._client_waiting += 1
        self._mailbox.append(error)
        self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # The end, seen from the client

    def _overloaded(self) -> None:
        """The outbox has given the client up: that it hears of it may take long, so it counts as gone."""
        self._client_gone({"type": self._farewell, **TOO_SLOW._asdict()})

    def _client_gone(self, event: Event) -> None:
        if self._gone is not None:
            return
        self._gone = event
        self.consumer.closed = True
        self._keep_client_events()
        if self._waiter is not None:
            self._wake()
            return
        self._start_grace()

    def _start_grace(self) -> None:
        grace_s = self.consumer.disconnect_grace_s
        if grace_s is None:
            grace_s = self._default_grace_s()
        self._grace = self._loop.call_later(grace_s, self._overtake)

    def _default_grace_s(self) -> float:
        return get_settings().disconnect_grace_s

    def _overtake(self) -> None:
        """The handler in hand has had its time: cancel it, again if it goes on. A thread can only be waited for."""
        self._mailbox[:] = [item for item in self._mailbox if isinstance(item, Exception)]
        if self.consumer.channel_layer is not None:
            self.consumer.channel_layer.leave_all(self.consumer.channel_name)
        if not self.calls_in_thread:
            self._overtaken += 1
            self._task.cancel()
        self._grace = self._loop.call_later(CANCEL_AGAIN_S, self._overtake)

    def _is_overtaken(self) -> bool:
        """Whether a cancellation was ours, and nobody else's."""
        ours, self._overtaken = self._overtaken, 0
        others = self._task.cancelling() - ours
        for _ in range(ours):
            self._task.uncancel()
        return ours > 0 and others == 0

    def _keep_client_events(self) -> None:
        """What the client said before it left is still handled, as far as the grace lasts; layer events are not."""
        self._mailbox[:] = [item for item in self._mailbox if type(item) is not bytes]

    # Calling handlers

    def _start_handler(self, encoded: bytes) -> Awaitable[Any]:
        event = decode_event(encoded)
        kind = event.get("type")
        handler = self._handlers.events.get(kind.replace(".", "_")) if type(kind) is str else None
        if handler is not None:
            return handler(self.consumer, event)
        if kind == "websocket.send":
            return self._forward(event)
        if kind == "raceway.reply":
            return self._obey(event)
        return drop_unknown(self.consumer, event)

    def _forward(self, event: Event) -> Awaitable[Any]:
        """A client message that came as an event, for it carries more than a client message does."""
        return drop_unknown(self.consumer, event)

    def _obey(self, reply: Event) -> Awaitable[Any]:
        """Do what a message of the first generation asks for, if its protocol has that."""
        return drop_unknown(self.consumer, reply)

    async def _failed(self, error: Exception, item: Event | bytes | Exception) -> None:
        """A handler raised ``error``: quiet if its client has gone, else the consumer decides."""
        if isinstance(error, StopConsumer):
            raise error
        if isinstance(error, ClientDisconnected):
            return
        event = decode_event(item) if isinstance(item, bytes) else None if item is error else item
        try:
            with suppress(ClientDisconnected):  # it wanted to tell a client that has gone meanwhile
                await self.hooks["on_error"](self.consumer, error, event)
        except asyncio.CancelledError:
            if not self._is_overtaken():
                raise

    # Sending

    def send(self, event: Event) -> Awaitable[None]:
        """Send now, from any thread; awaiting what is returned waits for room.

        Raises ``ClientDisconnected`` when the connection is closed, and what the server says of ``event``.
        """
        if self.consumer.closed:
            raise ClientDisconnected("The connection is closed.")
        if get_ident() != self.thread:
            handover_of(self._loop)(self._send_handed, self.send, event)
            return DONE
        return self._send_now(event) or DONE

    def _send_handed(self, send: Callable[[Any], object], what: object) -> None:
        if self.consumer.closed:
            return
        try:
            send(what)
        except Exception as error:
            self._tell(error)

    # Opening and ending

    async def _open(self, make: Callable[[], Consumer], prepares: tuple[Prepare, ...]) -> bool:
        """Do all that is done once; ``False`` if the connection was refused."""
        self._loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self.thread = get_ident()
        first = await self._receive_first()
        if prepares:
            self.scope = dict(self.scope)
            try:
                for prepare in prepares:
                    await prepare(self.scope)
            except DenyConnection:
                await self._refuse()
                return False
        self.consumer = consumer = make()
        consumer._runtime = self
        consumer.scope = self.scope
        self._begun = first is not None and first["type"] != self._farewell
        layer = consumer.channel_layer = get_channel_layer(consumer.channel_layer_alias)
        if layer is not None:
            consumer.channel_name = await layer.new_channel()  # a foreign layer may have to ask its broker
        self._open_ways(first)
        try:
            await self._open_channel()
            expires_at: float | None = self.scope.get("raceway.expires_at")
            if expires_at is not None:
                left_s = max(0.0, expires_at - now())
                self._expiry = self._loop.call_later(left_s, self.close, Closing(UNAUTHORIZED, "expired"))
        except BaseException:
            self._close_channel()
            await self._stop_tasks()
            raise
        return True

    async def _receive_first(self) -> Event | None:
        """What a server sends before anything may be sent to it, if its protocol has that."""
        return await self._receive()

    async def _refuse(self) -> None:
        """Tell the client that ``prepare`` has denied the connection, if its protocol has that."""

    def _open_ways(self, first: Event | None) -> None:
        """Find the ways out and in."""
        self._open_outbox()
        if first is not None:
            self.put(first)
        self._start_pump()

    def _open_outbox(self) -> None:
        outbox = self._outbox = self.outbox_class(self._send, self._tell, self._overloaded)
        self._send_now, self._push = outbox.add, outbox.push

    def _start_pump(self) -> None:
        self._drained = self._resume_pump
        self._pump = self._loop.create_task(self._receive_all())

    async def _open_channel(self) -> None:
        consumer = self.consumer
        layer = consumer.channel_layer
        if layer is not None:
            self._layer_capacity = layer.capacity_of(consumer.channel_name)
            push = self._push if self.takes_pushes and not self._handlers.intercepts else None
            layer.open(consumer.channel_name, self.deliver, push, self.close, self.gap)
            self.scope["raceway.channel"] = layer, consumer.channel_name
            for group in self.scope.get("raceway.groups", ()):
                await layer.start_join(group, consumer.channel_name)

    async def _join_groups(self) -> None:
        consumer = self.consumer
        groups = consumer.groups or ()
        if isinstance(groups, str):
            raise TypeError(f"{type(consumer).__qualname__}.groups is a list of names, not {groups!r}")
        for group in map(str, groups):
            require_group_name(group)
            await consumer._require_layer().start_join(group, consumer.channel_name)

    def _close_channel(self) -> None:
        consumer = self.consumer
        if consumer.channel_layer is not None:
            consumer.channel_layer.close(consumer.channel_name)

    async def _receive_all(self) -> None:
        """The pump: what a server without ``listen`` needs."""
        try:
            while self._is_listening():
                self.put(await self._receive())
                if self._client_waiting >= self.pumped_events:
                    self._room = self._loop.create_future()
                    await self._room
        except Exception as error:
            self._tell(error)

    def _is_listening(self) -> bool:
        return self._gone is None

    def _resume_pump(self) -> None:
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)

    async def _end(self, code: int, failure: BaseException | None = None) -> None:
        """Leave the groups, let the consumer know, and let go of everything."""
        consumer = self.consumer
        consumer.closed = True
        if self._grace is not None:
            self._grace.cancel()
        if self._expiry is not None:
            self._expiry.cancel()
        if consumer.channel_layer is not None:
            consumer.channel_layer.leave_all(consumer.channel_name)
        try:
            if self._begun:
                event = self._gone or {"type": self._farewell, "code": code, "reason": ""}
                with suppress(StopConsumer, ClientDisconnected):
                    await self._handlers.client[event["type"]](consumer, event)
                if failure is None:
                    await self.save()
        except Exception:
            if failure is None:
                raise
            logger.exception("%s.disconnect() failed too.", type(consumer).__qualname__)
        finally:
            self._close_channel()
            await self._stop_tasks()
        if failure is None:
            for item in self._mailbox:
                if isinstance(item, Exception):  # a send that nobody awaited failed at the very end
                    raise item

    def _end_code(self) -> int:
        """How the connection ended, if its client did not say."""
        return ABNORMAL

    async def save(self) -> None:
        """Have middleware save what was changed: it has left the stack, and put into the scope what does that."""
        save = self.scope.get("raceway.save")
        if save is not None:
            await save()

    async def _stop_tasks(self) -> None:
        if self._pump is not None:
            self._pump.cancel()
            with suppress(asyncio.CancelledError):
                await self._pump
        if self._outbox is not None:
            await self._outbox.finish(self._is_abandoned())

    def _is_abandoned(self) -> bool:
        """Nobody is there any more for what has not been sent yet."""
        return self._gone is not None


def _is_gap(item: object) -> bool:
    return isinstance(item, dict) and item["type"] == GAP
