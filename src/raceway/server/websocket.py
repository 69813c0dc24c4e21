"""WebSocket connections: between the engine, the application and everyone who pushes (ASGI WebSocket 2.5)."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Hashable
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from raceway.close_codes import ABNORMAL, INTERNAL_ERROR, NO_CODE, NORMAL, RESTARTING, require_close_code
from raceway.errors import ClientDisconnected, InvalidMessage
from raceway.prepared import PLAIN, PreparedMessage, Pushed
from raceway.registry import TOO_SLOW
from raceway.registry.policy import POLICIES, Policy, PushQueue, Verdict
from raceway.server.connection import JOIN_BYTES, Connection
from raceway.server.deadlines import NEVER
from raceway.server.handshake import Handshake
from raceway.server.scopes import base_scope
from raceway.server.tasks import start_task
from raceway.types import Event, Receive, Send
from raceway.wire.events import Request
from raceway.wire.limits import (
    COMPRESS_INLINE_BYTES,
    END_GRACE_S,
    READ_TURN_BYTES,
    SLOW_CLIENT_S,
    UNAWAITED_BYTES,
)
from raceway.wire.websocket import (
    Close,
    Deflate,
    Engine,
    Incoming,
    Ping,
    Upgrade,
    Violation,
    close_frame,
    encode,
    encode_data,
    ping_frame,
    pong_frame,
    text_frame,
)

if TYPE_CHECKING:
    from raceway.server.http import HttpConnection

logger = logging.getLogger("raceway.server")


class State(IntEnum):
    """Where a connection is. It moves downwards only."""

    CONNECTING = 0  # the application has not answered the handshake
    OPEN = 1
    CLOSING = 2  # we sent a close frame and wait for the client's
    ENDED = 3  # both sides are done, or the transport is gone


CONNECTING, OPEN, CLOSING, ENDED = State


class WebSocketConnection(Connection):
    """Take over the transport of an HTTP connection whose request asks for a WebSocket.

    Client messages go to whoever ``receive``s, or straight to a listener (``listen``); three ways lead out:
    ``send`` (ASGI), ``send_now`` (the same, acting when called) and ``push`` (a prepared message, never waits).
    ``ending`` is how the connection ends for the application, once that is known: the code and reason of its
    ``websocket.disconnect``. It comes after the messages that the client sent before.
    """

    __slots__ = (
        "backlog",
        "backlog_bytes",
        "clear",
        "compressing",
        "counted_address",
        "ending",
        "engine",
        "form",
        "greeted",
        "handshake",
        "heard",
        "incoming",
        "last_words",
        "latest_ping",
        "listener",
        "pinged",
        "pushes",
        "read_paused",
        "receiver",
        "state",
        "task",
        "turn_due",
    )

    def __init__(self, http: HttpConnection, request: Request, upgrade: Upgrade, early: bytes) -> None:
        super().__init__(http.shared)
        self.transport = http.transport
        self.client, self.server = http.client, http.server
        self.secure, self.trusts_peer, self.paused = http.secure, http.trusts_peer, http.paused
        self.counted_address = http.hand_over()
        self.handshake: Handshake | None = Handshake(self, request, upgrade, early)
        self.engine: Engine | None = None
        self.state = CONNECTING
        self.clear = False  # open, and nothing keeps a push from being written at once
        self.compressing: PreparedMessage | None = None  # a push that is being compressed in a thread
        self.form = PLAIN
        self.greeted = False
        self.incoming: deque[Event] | None = None
        self.backlog = 0
        self.backlog_bytes = 0
        self.read_paused = False
        self.turn_due = False
        self.receiver: asyncio.Future[Event] | None = None
        self.listener: Callable[[Event], None] | None = None
        self.ending: tuple[int, str] | None = None
        self.last_words: bytes | None = None  # the close frame that is due when the application gets there
        self.latest_ping: bytes | None = None
        self.heard = False
        self.pinged = False
        self.pushes: PushQueue[bytes] | None = None

        self._start(request, upgrade.subprotocols)

    def _start(self, request: Request, subprotocols: list[str]) -> None:
        shared = self.shared
        shared.connections.add(self)
        self.transport.set_protocol(self)
        scope = base_scope("websocket", request, self)
        scope["subprotocols"] = subprotocols
        assert self.handshake is not None
        self.handshake.client = scope["client"]
        receive, send = self.receive, self.send
        scope["extensions"] = {
            "websocket.http.response": {},
            "raceway.push": {
                "push": self.push,
                "send": send,
                "receive": receive,
                "send_now": self.send_now,
                "listen": self.listen,
            },
        }
        self.expect_read(shared.limits.ws_open_timeout_s)
        shared.running.add(self)
        self.task = start_task(self._run(scope, receive, send), loop=shared.loop, name="raceway-websocket")

    async def _run(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        shared = self.shared
        try:
            await shared.application(scope, receive, send)
        except ClientDisconnected:
            self._application_done(NORMAL)
        except BaseException as error:  # also sys.exit(), which must not end the server
            if isinstance(error, asyncio.CancelledError) and shared.draining:
                self._application_done(RESTARTING)
            else:
                logger.error("The application raised in the WebSocket %s.", _target(scope), exc_info=error)
                shared.counters["application_errors"] += 1
                self._application_done(INTERNAL_ERROR)
        else:
            if self.state is CONNECTING:
                logger.error("The application returned without answering the WebSocket %s.", _target(scope))
                shared.counters["application_errors"] += 1
            self._application_done(NORMAL)
        finally:
            shared.running.discard(self)

    def _application_done(self, code: int) -> None:
        """Nobody receives any more: end with ``code``, unless the client has ended the connection before."""
        self.listener = _nobody
        self.incoming = None
        if self.handshake is not None:
            self.handshake.refuse(503 if code == RESTARTING else 500, "The application did not answer.")
        elif self.last_words is not None:
            self._say_last_words()
        elif self.state is OPEN:
            self.close(code)
        self._resume()

    # From the client

    def data_received(self, data: bytes) -> None:
        self.heard = True
        engine = self.engine
        if engine is None:
            if self.handshake is not None:
                self.handshake.data_received(data)
            return
        for item in engine.receive_data(data):
            if type(item) is str:
                event: Event = {"type": "websocket.receive", "text": item}
            elif type(item) is bytes:
                event = {"type": "websocket.receive", "bytes": item}
            else:
                self._control(item)
                continue
            receiver = self.receiver
            if receiver is not None and self.state is OPEN and not receiver.done():
                self.receiver = None
                receiver.set_result(event)
            else:
                self._deliver(event, len(item))
        unread = engine.deflate is not None and engine.has_more
        if (unread or len(data) >= READ_TURN_BYTES) and not self.read_paused:
            self.pause_reading()
            self._take_turns()

    def _take_turns(self) -> None:
        """Go on in the next pass, behind everyone else who has something to do."""
        if not self.turn_due:
            self.turn_due = True
            self.shared.loop.call_soon(self._next_turn)

    def _next_turn(self) -> None:
        self.turn_due = False
        engine = self.engine
        if self.read_paused or engine is None:
            return  # the application is behind: it says when to go on
        if engine.has_more:
            self.data_received(b"")
        if not self.turn_due and not self.read_paused:
            self.resume_reading()

    def _deliver(self, event: Event, size_bytes: int) -> None:
        """Nobody waits for ``event``: hand it to the listener, or keep it until somebody receives."""
        if self.state is not OPEN:
            return  # sent before the client saw our close frame (RFC 6455 section 5.5.1)
        self.backlog += 1
        self.backlog_bytes += size_bytes
        limits = self.shared.limits
        if (
            self.backlog >= limits.ws_receive_queue_messages
            or self.backlog_bytes > limits.ws_max_message_bytes
        ):
            self.pause_for_application()
        if self.listener is not None:
            self.listener(event)
        elif self.incoming is None:
            self.incoming = deque((event,))
        else:
            self.incoming.append(event)

    def _control(self, item: Incoming) -> None:
        if isinstance(item, Ping):
            if self.paused:
                self.latest_ping = item.payload  # a client that does not read gets one pong, for the latest
            elif self.state is OPEN:
                self.write(pong_frame(item.payload))
        elif isinstance(item, Close):
            if self.state is CLOSING:
                self._end(item.code, item.reason)
            elif self.state is OPEN:
                self._approach_end(item.code, item.reason, NORMAL if item.code == NO_CODE else item.code, "")
        elif isinstance(item, Violation):
            self.shared.counters["websocket_violations"] += 1
            if self.state is CLOSING:
                self._end(item.code, item.reason)
            elif self.state is OPEN:
                self._approach_end(item.code, item.reason, item.code, item.reason)

    def eof_received(self) -> bool:
        self.half_closed = True
        self.flush()
        # Without a close frame the connection is lost, and connection_lost follows; with one, the answer is due.
        return self.last_words is not None and not self.secure

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        address, self.counted_address = self.counted_address, None
        if address is not None:
            self.shared.release_address(address)
        self.handshake = self.last_words = None
        self.engine = self.pushes = self.compressing = None
        self._end(ABNORMAL, "")
        self._release(ClientDisconnected("The client has gone."))

    # To the application

    async def receive(self) -> Event:
        """The next event, in the client's order: connect, messages, and disconnect for ever after."""
        if not self.greeted:
            self.greeted = True
            return {"type": "websocket.connect"}
        if self.listener is not None:
            raise RuntimeError("Events of this connection go to the callable given to listen().")
        incoming = self.incoming
        if incoming:
            event: Event = incoming.popleft()
            if not incoming:
                self.incoming = None
                self._resume()
            return event
        if self.last_words is not None:
            self._say_last_words()
        if self.ending is not None:
            return self._disconnect_event()
        if self.receiver is not None and not self.receiver.done():
            raise RuntimeError("receive() is already waiting in another task.")
        receiver: asyncio.Future[Event] = self.shared.loop.create_future()
        self.receiver = receiver
        try:
            return await receiver
        except asyncio.CancelledError:
            if receiver.done() and not receiver.cancelled():  # it came just when we were cancelled: keep it
                self.incoming = self.incoming or deque()
                self.incoming.appendleft(receiver.result())
            raise

    def listen(self, put: Callable[[Event], None]) -> Callable[[], None]:
        """Hand every event to ``put`` from now on, in the loop's thread, instead of keeping it for ``receive``.

        Returns ``drained``, which the listener calls when it has handled all that it was given: reading pauses
        while too much is on its way, and the answer to a client's close waits for it.
        """
        if self.listener is not None:
            raise RuntimeError("This connection has a listener already.")
        incoming, self.incoming = self.incoming, None
        self.listener = put
        for event in incoming or ():
            put(event)
        if self.ending is not None:
            if not incoming:
                self._say_last_words()
            put(self._disconnect_event())
        return self._drained

    def pause_for_application(self) -> None:
        """Too much waits for the application."""
        if not self.read_paused:
            self.read_paused = True
            self.pause_reading()

    def _drained(self) -> None:
        self.backlog = self.backlog_bytes = 0  # as ``_resume`` does; its call would be felt here
        if self.read_paused:
            self._resume()
        if self.last_words is not None:
            self._say_last_words()

    def _resume(self) -> None:
        """The application has caught up."""
        self.backlog = self.backlog_bytes = 0
        if self.read_paused:
            self.read_paused = False
            if self.engine is not None and self.engine.has_more:
                self._take_turns()
            else:
                self.resume_reading()

    def _disconnect_event(self) -> Event:
        assert self.ending is not None
        code, reason = self.ending
        return {"type": "websocket.disconnect", "code": code, "reason": reason}

    # From the application

    async def send(self, message: Event) -> None:
        """Take one message; wait while the client is behind (ASGI WebSocket 2.5)."""
        room = self.send_now(message)
        if room is not None:
            await room

    def send_now(self, message: Event) -> asyncio.Future[None] | None:
        """Do what ``send`` does at once, and return what to wait for before sending more, if anything.

        Raises ``ClientDisconnected`` when the connection has ended, ``InvalidMessage`` for a message that is
        not allowed now.
        """
        kind = message.get("type")
        if kind == "websocket.send" and (self.clear or self._may_send()):
            text = message.get("text")
            data = message.get("bytes")
            if data is None and isinstance(text, str):
                try:
                    payload = text.encode()
                except UnicodeEncodeError as error:
                    raise InvalidMessage(f"'text' cannot be sent as UTF-8: {error}.") from None
                frame = text_frame(payload) if self.form == PLAIN else self._own_frame(payload, True)
            elif text is None and isinstance(data, bytes | bytearray | memoryview):
                frame = self._own_frame(bytes(data), False)
            else:
                raise InvalidMessage(
                    "websocket.send takes 'text' (str) or 'bytes' (bytes), and only one of them."
                )
            out = self.out  # as ``write`` does; its call would be felt here
            out.append(frame)
            if len(out) == 1:
                self.shared.flusher.mark(self)
            self.out_bytes += len(frame)
            if self.out_bytes > JOIN_BYTES:
                self.flush()
            return self.room() if self.paused else None
        self._handle(kind, message)
        return self.room() if self.paused and not self.lost else None

    def _may_send(self) -> bool:
        """Whether messages may be sent, slow as the client may be; what was pushed before goes first."""
        self._release_compressing()
        if self.paused and self.state is OPEN:
            added_bytes = self.transport.get_write_buffer_size() + self.out_bytes - self.unsent_bytes
            if added_bytes > UNAWAITED_BYTES:  # whoever sends does not wait for room
                self.shared.counters["slow_clients_closed"] += 1
                self._give_up_slow_client()
        return self.state is OPEN

    def _own_frame(self, payload: bytes, is_text: bool) -> bytes:
        """Frame one message for this client alone; compressing a large one would hold up everybody else."""
        return encode_data(payload, is_text, self.form if len(payload) <= COMPRESS_INLINE_BYTES else PLAIN)

    def _handle(self, kind: object, message: Event) -> None:
        """Every message but the common one."""
        if self.handshake is not None:
            self.handshake.answer(kind, message)
        elif self.state is not OPEN:
            raise ClientDisconnected("The WebSocket is closed.")
        elif kind == "websocket.close":
            code = message.get("code")
            self.close(NORMAL if code is None else code, message.get("reason") or "")
        else:
            raise InvalidMessage(
                f"{kind!r} is not allowed on an open WebSocket; expected websocket.send or websocket.close."
            )

    def opened(self, deflate: Deflate | None, early: bytes) -> None:
        """The handshake was accepted; what was pushed meanwhile goes out, what the client sent comes in."""
        limits = self.shared.limits
        self.handshake = None
        self.engine = Engine(limits.ws_max_message_bytes, deflate)
        self.form = PLAIN if deflate is None else deflate.form
        self.state = OPEN
        self.clear = not self.paused
        self.read_deadline = NEVER
        if limits.ws_ping_interval_s:
            self.expect_read(limits.ws_ping_interval_s)
        self._write_pushes()
        self._resume()
        if early:
            self.data_received(early)

    def refused(self) -> None:
        """The handshake was answered with a response; nothing follows it."""
        self.handshake = None
        self._end(ABNORMAL, "")
        self.finish()

    # Pushes

    def push(self, message: PreparedMessage, policy: Policy = "close", key: Hashable = None) -> Pushed:
        """Write a prepared message in this pass, without waiting; to be called in the loop's thread.

        While the client is slow it waits in a bounded queue; ``policy`` says who pays when that is full, and
        ``key`` which waiting push this one replaces (``latest``).
        """
        if self.clear:
            frame = message.forms.get(self.form)
            if frame is None:
                if self.form != PLAIN and len(message.payload) > COMPRESS_INLINE_BYTES:
                    self._compress_apart(message)
                    return Pushed.ACCEPTED
                frame = message.form(self.form, encode)
            out = self.out
            out.append(frame)
            if len(out) == 1:
                self.shared.flusher.mark(self)
            self.out_bytes += len(frame)
            if self.out_bytes > JOIN_BYTES:
                self.flush()
            return Pushed.ACCEPTED
        if self.state > OPEN:
            return Pushed.CLOSED
        if self.compressing is not None:
            self._release_compressing()
            return self.push(message, policy, key)
        return self._queue_push(message, policy, key)

    def _compress_apart(self, message: PreparedMessage) -> None:
        """Have a large message compressed in a thread; whatever else is sent meanwhile makes it go out plain."""
        self.compressing = message
        self.clear = False
        self.shared.compress(message, self.form).add_done_callback(
            lambda _: self._release_compressing(message)
        )

    def _release_compressing(self, compressed: PreparedMessage | None = None) -> None:
        message = self.compressing
        if message is None or (compressed is not None and compressed is not message):
            return
        self.compressing = None
        if self.state is OPEN:
            self.clear = not self.paused
            self.write(message.form(PLAIN if compressed is None else self.form, encode))

    def _queue_push(self, message: PreparedMessage, policy: Policy, key: Hashable) -> Pushed:
        if policy not in POLICIES:
            raise ValueError(f"{policy!r} is no policy for slow clients; choose from {', '.join(POLICIES)}.")
        queue = self.pushes
        if queue is None:
            queue = self.pushes = PushQueue(self.shared.limits.push_queue_bytes)
        form = self.form
        if self.handshake is not None and self.handshake.upgrade.deflate is not None:
            form = self.handshake.upgrade.deflate.form
        if len(message.payload) > COMPRESS_INLINE_BYTES and form not in message.forms:
            form = PLAIN
        verdict = queue.offer(message.form(form, encode), policy, key)
        counters = self.shared.counters
        if queue.dropped_oldest or queue.replaced:
            counters["pushes_dropped_oldest"] += queue.dropped_oldest
            counters["pushes_replaced"] += queue.replaced
            queue.dropped_oldest = queue.replaced = 0
        if verdict is Verdict.QUEUED:
            return Pushed.ACCEPTED
        if verdict is Verdict.OVERFLOWED and self.state is OPEN:
            counters["slow_clients_closed"] += 1
            self._give_up_slow_client()
            return Pushed.CLOSED
        counters["pushes_dropped_newest"] += 1
        return Pushed.DROPPED

    def _give_up_slow_client(self) -> None:
        self.pushes = None
        self.write(close_frame(*TOO_SLOW))
        self.flush()
        self._leave_open(CLOSING)
        self.ending = TOO_SLOW
        self.expect(self.shared.loop.time() + SLOW_CLIENT_S, self.write_deadline)
        self._tell_application()

    def _write_pushes(self) -> None:
        pushes, self.pushes = self.pushes, None
        if pushes is not None and self.state is OPEN:
            for frame in pushes.take():
                self.write(frame)

    def pause_writing(self) -> None:
        self.clear = False
        super().pause_writing()

    def resume_writing(self) -> None:
        self.paused = False
        self.clear = self.state is OPEN and self.compressing is None
        if self.latest_ping is not None and self.state is OPEN:
            self.write(pong_frame(self.latest_ping))
        self.latest_ping = None
        self._write_pushes()
        if not self.paused:
            super().resume_writing()

    # Time

    def on_read_deadline(self) -> None:
        limits = self.shared.limits
        if self.state is ENDED:
            self.lingered()
        elif self.state is CLOSING:
            self.abort()
        elif self.handshake is not None:
            self.handshake.refuse(503, "The application did not answer in time.")
        elif self.last_words is not None:
            self._say_last_words()
        elif self.heard or self.read_paused or self.transport.get_write_buffer_size():
            # Behind what waits to be written no ping arrives in time: then taking some of it is the sign of life.
            if self.transport.get_write_buffer_size():
                if self.write_deadline == NEVER:
                    self._expect_taking()
            elif self.read_paused:  # that the client has gone shows in writing alone
                self.write(ping_frame(b""))
            self.heard = self.pinged = False
            self.expect_read(limits.ws_ping_interval_s)
        elif self.pinged:
            self.shared.counters["ping_timeouts"] += 1
            self.abort()
        else:
            self.pinged = True
            self.write(ping_frame(b""))
            self.expect_read(limits.ws_ping_timeout_s)

    # The end

    def close(self, code: int, reason: str = "") -> None:
        """Begin the closing handshake (RFC 6455 section 7.1.2)."""
        require_close_code(code)
        if not isinstance(reason, str):
            raise InvalidMessage(f"The 'reason' of a close is a str, not {reason!r}.")
        self._release_compressing()
        self._write_pushes()
        self.write(close_frame(code, reason))
        self._leave_open(CLOSING)
        self.last_words = None
        self.expect(self.shared.loop.time() + self.shared.limits.ws_close_timeout_s, self.write_deadline)
        self._resume()  # the application takes no more messages; the client's close frame is still to be read

    def _approach_end(self, code: int, reason: str, answer_code: int, answer_reason: str) -> None:
        """The client's last frame is in: answer it when the messages before it have been handled."""
        self.ending = (code, reason)
        self.last_words = close_frame(answer_code, answer_reason)
        busy = self.backlog > 0 or self.receiver is None or self.receiver.done()
        if self.listener is not None:
            busy = self.backlog > 0 and self.listener is not _nobody
        if busy:
            self.expect_read(END_GRACE_S)
        else:
            self._say_last_words()
        self._tell_application()

    def _say_last_words(self) -> None:
        words, self.last_words = self.last_words, None
        if words is not None:
            self._release_compressing()
            self.write(words)
            self._leave_open(ENDED)
            self.finish()

    def _end(self, code: int, reason: str) -> None:
        """The connection is over, and the application is to know how."""
        if self.ending is None:
            self.ending = (code, reason)
            self._tell_application()
        was = self.state
        self._leave_open(ENDED)
        if was is CLOSING and not self.lost:
            self.finish()

    def _leave_open(self, state: State) -> None:
        self.state = state
        self.clear = False

    def _tell_application(self) -> None:
        """Let whoever waits know of the end; messages that were received before come first."""
        receiver, self.receiver = self.receiver, None
        if self.listener is not None:
            self.listener(self._disconnect_event())
        elif receiver is not None and not receiver.done():
            receiver.set_result(self._disconnect_event())

    # Draining

    @property
    def is_stream(self) -> bool:
        return True

    def drain(self) -> None:
        if self.handshake is not None:
            self.handshake.refuse(503, "The server is stopping.")
        elif self.state is OPEN and self.last_words is None:
            self.close(RESTARTING, "server is restarting")


def _target(scope: dict[str, Any]) -> str:
    """The path for a log record: undecoded, it has no line ends."""
    raw_path: bytes = scope["raw_path"]
    return raw_path.decode("ascii", "backslashreplace")


def _nobody(event: Event) -> None:
    """The listener of a connection whose application has returned."""
