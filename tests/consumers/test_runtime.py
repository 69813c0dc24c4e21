"""The life of a connection: in order, one at a time, and always cleaned up."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from raceway import Channel, Group
from raceway.consumers import AsyncJsonWebsocketConsumer, AsyncWebsocketConsumer, handlers, runtime
from raceway.errors import (
    AcceptConnection,
    ChannelFull,
    ClientDisconnected,
    DenyConnection,
    InvalidChannelLayerError,
    InvalidMessage,
    StopConsumer,
)
from raceway.layers.memory import MemoryLayer
from raceway.signals import message_dropped
from tests.consumers.conftest import Open
from tests.consumers.driver import Socket, channels, members, settle
from tests.waiting import until


class Recorder(AsyncWebsocketConsumer):
    """Notes what happens in a list of its own class."""

    log: list[Any]
    groups = ["room"]
    disconnect_grace_s = 0.0

    def __init_subclass__(cls) -> None:
        cls.log = []

    async def receive(self, text_data=None, bytes_data=None):
        self.log.append(text_data or bytes_data)

    async def disconnect(self, code):
        self.log.append(("disconnect", code))


# Connecting


async def test_the_default_accepts(open_socket: Open) -> None:
    socket = open_socket(AsyncWebsocketConsumer)
    assert await socket.connect() == {"type": "websocket.accept"}
    await socket.goodbye()


@pytest.mark.parametrize("given", [[(b"x-a", b"b")], {"X-A": "b"}, [("x-a", "b")]])
async def test_accept_with_subprotocol_and_headers(open_socket: Open, given: Any) -> None:
    class Picky(AsyncWebsocketConsumer):
        async def connect(self):
            await self.accept("v2", headers=given)

    assert await open_socket(Picky).connect() == {
        "type": "websocket.accept",
        "subprotocol": "v2",
        "headers": [(b"x-a", b"b")],
    }


async def test_a_handshake_that_connect_leaves_open_is_told_of_once(
    open_socket: Open, caplog: pytest.LogCaptureFixture
) -> None:
    class Forgetful(AsyncWebsocketConsumer):
        async def connect(self):
            pass

    class Later(AsyncWebsocketConsumer):
        groups = ["room"]

        async def connect(self):
            await self.group_send("room", {"type": "welcome"})

        async def welcome(self, event):
            await self.accept()

    for _ in range(2):
        socket = open_socket(Forgetful).start()
        await settle()
        await socket.goodbye()
    assert await open_socket(Later).connect() == {"type": "websocket.accept"}
    told = [record.getMessage() for record in caplog.records if "without accept()" in record.getMessage()]
    assert [text.partition(".connect()")[0].rpartition(".")[2] for text in told] == ["Forgetful", "Later"]


@pytest.mark.parametrize("code", [1005, 1006, 999, 5000, "4000"])
async def test_a_close_code_that_cannot_be_sent_is_an_error_where_it_is_given(
    open_socket: Open, code: Any
) -> None:
    class Closing(AsyncWebsocketConsumer):
        async def connect(self):
            await self.accept()
            await self.close(code)

    socket = open_socket(Closing)
    await socket.connect()
    with pytest.raises(InvalidMessage, match="not a close code"):
        await socket.end()


async def test_connect_can_refuse_and_disconnect_runs(open_socket: Open, layer: MemoryLayer) -> None:
    class Refusing(Recorder):
        async def connect(self):
            assert len(members(layer)) == 1
            await self.close()

    socket = open_socket(Refusing)
    assert await socket.connect() == {"type": "websocket.close"}
    await socket.end()
    assert Refusing.log == [("disconnect", 1006)]
    assert members(layer) == []


@pytest.mark.parametrize(
    ("steering", "answer"), [(AcceptConnection, "websocket.accept"), (DenyConnection, "websocket.close")]
)
async def test_connect_can_raise_its_answer(open_socket: Open, steering: Any, answer: str) -> None:
    class Steering(AsyncWebsocketConsumer):
        async def connect(self):
            raise steering

    assert await open_socket(Steering).connect() == {"type": answer}


async def test_the_instance_knows_its_connection(open_socket: Open, layer: MemoryLayer) -> None:
    class Curious(AsyncWebsocketConsumer):
        greeting = "hello"

        async def connect(self):
            assert self.channel_layer is layer
            assert self.scope["path"] == "/here"
            await self.accept()
            await self.send(f"{self.greeting} {self.channel_name}")

    application = Curious.as_asgi()
    assert application.consumer_class is Curious
    assert application.consumer_initkwargs == {}
    first, second = open_socket(application, path="/here"), open_socket(application, path="/here")
    await first.connect()
    await second.connect()
    texts = {await first.text(), await second.text()}
    assert len(texts) == 2


async def test_the_user_is_the_scopes_until_a_consumer_assigns_one(open_socket: Open) -> None:
    seen: list[Any] = []

    class Curious(AsyncWebsocketConsumer):
        async def connect(self):
            seen.append(self.user)
            self.user = "bender"
            seen.append(self.user)
            await self.accept()

    await open_socket(Curious, user="leela").connect()
    assert seen == ["leela", "bender"]
    socket = open_socket(Curious)
    socket.start()
    with pytest.raises(AttributeError, match="The scope has no 'user': middleware puts it there"):
        await socket.end()


def test_initkwargs_that_no_instance_takes_are_named_where_they_are_given() -> None:
    class Greeter(AsyncWebsocketConsumer):
        def __init__(self, greeting: str) -> None: ...

    with pytest.raises(TypeError, match=r"Greeter\.as_asgi\(\): missing a required argument: 'greeting'"):
        Greeter.as_asgi()
    with pytest.raises(TypeError, match=r"AsyncWebsocketConsumer\.as_asgi\(\): got an unexpected .*'gruops'"):
        AsyncWebsocketConsumer.as_asgi(gruops=["a"])


async def test_initkwargs_reach_each_instance(open_socket: Open) -> None:
    class Greeter(AsyncWebsocketConsumer):
        def __init__(self, greeting):
            self.greeting = greeting

        async def connect(self):
            await self.accept(self.greeting)

    assert (await open_socket(Greeter.as_asgi(greeting="hey")).connect())["subprotocol"] == "hey"


async def test_a_client_that_leaves_before_it_was_greeted(open_socket: Open) -> None:
    class Unused(Recorder): ...

    socket = open_socket(Unused)
    socket.put({"type": "websocket.disconnect", "code": 1006})
    socket.start()
    await socket.end()
    assert Unused.log == []  # connect() never ran, so neither does disconnect()


async def test_groups_need_a_layer(open_socket: Open) -> None:
    class Homeless(Recorder):
        channel_layer_alias = "missing"

    socket = open_socket(Homeless)
    socket.start()
    with pytest.raises(InvalidChannelLayerError, match="needs the channel layer 'missing'"):
        await socket.end()


async def test_without_groups_no_layer_is_needed(open_socket: Open) -> None:
    class Alone(AsyncWebsocketConsumer):
        channel_layer_alias = "missing"

    socket = open_socket(Alone)
    await socket.connect()
    await socket.goodbye()


async def test_a_layer_that_fails_leaves_no_task(
    open_socket: Open, layer: MemoryLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(layer, "open", fail)
    before = asyncio.all_tasks()
    socket = open_socket(AsyncWebsocketConsumer)
    socket.start()
    with pytest.raises(ZeroDivisionError):
        await socket.end()
    assert asyncio.all_tasks() == before


async def test_groups_is_not_one_name(open_socket: Open) -> None:
    class Mistaken(AsyncWebsocketConsumer):
        groups = "room"

    socket = open_socket(Mistaken)
    socket.start()
    with pytest.raises(TypeError, match="groups is a list of names, not 'room'"):
        await socket.end()


async def test_groups_are_names_of_groups(open_socket: Open) -> None:
    class Mistaken(AsyncWebsocketConsumer):
        groups = ["my room"]

    socket = open_socket(Mistaken)
    socket.start()
    with pytest.raises(TypeError, match=r"Group name must be .*, not 'my room'"):
        await socket.end()


async def test_groups_can_be_a_property(open_socket: Open) -> None:
    class Rooms(AsyncWebsocketConsumer):
        @property
        def groups(self):
            return [self.scope["path"].strip("/")]

    socket = open_socket(Rooms, path="/kitchen/")
    await socket.connect()
    await Group("kitchen").abroadcast("tea")
    assert await socket.text() == "tea"


async def test_it_serves_websockets_only(open_socket: Open) -> None:
    socket = open_socket(AsyncWebsocketConsumer)
    socket.scope["type"] = "udp"
    socket.start()
    with pytest.raises(ValueError, match="does not serve 'udp' connections"):
        await socket.end()


async def test_a_browser_at_its_address_is_told() -> None:
    sent: list[Any] = []

    async def send(event: Any) -> None:
        sent.append(event)

    async def receive() -> Any:
        raise AssertionError("nothing to receive")

    await AsyncWebsocketConsumer.as_asgi()({"type": "http"}, receive, send)
    assert sent[0]["status"] == 426
    assert (b"upgrade", b"websocket") in sent[0]["headers"]
    assert b"WebSocket" in sent[1]["body"]


# Messages


async def test_messages_are_handled_in_order_one_at_a_time(open_socket: Open) -> None:
    class Slow(Recorder):
        async def receive(self, text_data=None, bytes_data=None):
            self.log.append(f"begin {text_data or bytes_data!r}")
            await asyncio.sleep(0)
            self.log.append("end")

    socket = open_socket(Slow)
    await socket.connect()
    socket.say("a")
    socket.say(b"b")
    socket.say("")
    await until(lambda: len(Slow.log) == 6)
    assert Slow.log == ["begin 'a'", "end", "begin b'b'", "end", "begin None", "end"]


async def test_empty_messages_are_messages(open_socket: Open) -> None:
    class Empty(Recorder):
        async def receive(self, text_data=None, bytes_data=None):
            self.log.append((text_data, bytes_data))
            await self.send(text_data=text_data, bytes_data=bytes_data)

    socket = open_socket(Empty)
    await socket.connect()
    socket.say("")
    assert await socket.next() == {"type": "websocket.send", "text": ""}
    socket.say(b"")
    assert await socket.next() == {"type": "websocket.send", "bytes": b""}
    assert Empty.log == [("", None), (None, b"")]


async def test_send_wants_something_to_send(open_socket: Open) -> None:
    class Silent(AsyncWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None):
            await self.send()

    socket = open_socket(Silent)
    await socket.connect()
    socket.say("x")
    with pytest.raises(ValueError, match="takes text_data or bytes_data"):
        await socket.end()


async def test_sends_act_without_await(open_socket: Open) -> None:
    class Hasty(AsyncWebsocketConsumer):
        async def connect(self):
            self.accept()
            self.send("1")
            self.group_send("room", {"type": "said", "n": 3})
            await self.send("2")

        groups = ["room"]

        async def said(self, event):
            self.send(str(event["n"]))
            self.close(4000, "enough")

    socket = open_socket(Hasty)
    await socket.connect()
    assert [await socket.text() for _ in range(3)] == ["1", "2", "3"]
    assert await socket.next() == {"type": "websocket.close", "code": 4000, "reason": "enough"}
    await socket.end()


async def test_send_can_close_behind_its_message(open_socket: Open) -> None:
    class Last(Recorder):
        async def receive(self, text_data=None, bytes_data=None):
            await self.send("bye", close=4001 if text_data == "code" else True)

    for word, code in (("code", 4001), ("plain", None)):
        socket = open_socket(Last)
        await socket.connect()
        socket.say(word)
        assert await socket.text() == "bye"
        assert (await socket.next()).get("code") == code
        await socket.end()
    assert Last.log == [("disconnect", 4001), ("disconnect", 1000)]


async def test_after_close_nothing_more_is_handled_and_sends_raise(open_socket: Open) -> None:
    class Closing(Recorder):
        async def receive(self, text_data=None, bytes_data=None):
            self.log.append(text_data)
            self.close()
            assert self.closed
            with pytest.raises(ClientDisconnected):
                self.send("too late")

    socket = open_socket(Closing)
    await socket.connect()
    socket.say("1")
    socket.say("2")
    await socket.end()
    assert Closing.log == ["1", ("disconnect", 1000)]


async def test_what_comes_after_close_is_not_handled_either(open_socket: Open) -> None:
    go_on = asyncio.Event()

    class Closing(Recorder):
        async def receive(self, text_data=None, bytes_data=None):
            self.log.append(text_data)
            self.close()
            await go_on.wait()

        async def ping(self, event):
            self.log.append("ping")

    socket = open_socket(Closing)
    await socket.connect()
    socket.say("1")
    await until(lambda: Closing.log)
    socket.say("2")
    await Group("room").asend({"type": "ping"})
    await settle()
    go_on.set()
    await socket.end()
    assert Closing.log == ["1", ("disconnect", 1000)]


async def test_stop_consumer_ends_it_quietly(open_socket: Open) -> None:
    class Stopping(Recorder):
        async def receive(self, text_data=None, bytes_data=None):
            raise StopConsumer

    socket = open_socket(Stopping)
    await socket.connect()
    socket.say("x")
    await socket.end()
    assert Stopping.log == [("disconnect", 1000)]


async def test_low_level_handlers_can_be_overridden(open_socket: Open) -> None:
    class Low(Recorder):
        async def websocket_receive(self, event):
            self.log.append(event["type"])
            await super().websocket_receive(event)

        async def websocket_disconnect(self, event):
            self.log.append(event["code"])
            await super().websocket_disconnect(event)

    socket = open_socket(Low)
    await socket.connect()
    socket.say("x")
    await until(lambda: len(Low.log) == 2)
    await socket.goodbye(1001)
    assert Low.log == ["websocket.receive", "x", 1001, ("disconnect", 1001)]


# The end


async def test_disconnect_runs_once_with_the_clients_code(open_socket: Open, layer: MemoryLayer) -> None:
    class Leaving(Recorder):
        async def disconnect(self, code):
            assert self.closed
            assert members(layer) == []
            await super().disconnect(code)

    socket = open_socket(Leaving)
    await socket.connect()
    assert len(members(layer)) == 1
    await socket.goodbye(4321)
    assert Leaving.log == [("disconnect", 4321)]
    assert channels(layer) == []


async def test_a_failing_handler_runs_disconnect_and_leaves_groups(
    open_socket: Open, layer: MemoryLayer
) -> None:
    class Failing(Recorder):
        async def receive(self, text_data=None, bytes_data=None):
            raise ZeroDivisionError

    socket = open_socket(Failing)
    await socket.connect()
    socket.say("x")
    with pytest.raises(ZeroDivisionError):
        await socket.end()
    assert Failing.log == [("disconnect", 1011)]
    assert members(layer) == []


async def test_a_failing_connect_runs_disconnect(open_socket: Open) -> None:
    class Failing(Recorder):
        async def connect(self):
            raise ZeroDivisionError

    socket = open_socket(Failing)
    socket.start()
    with pytest.raises(ZeroDivisionError):
        await socket.end()
    assert Failing.log == [("disconnect", 1011)]


async def test_a_failing_disconnect_still_leaves_everything(open_socket: Open, layer: MemoryLayer) -> None:
    class Failing(Recorder):
        async def disconnect(self, code):
            Group("room").add(self.channel_name)  # even now
            raise ZeroDivisionError

    socket = open_socket(Failing)
    await socket.connect()
    socket.leave()
    with pytest.raises(ZeroDivisionError):
        await socket.end()
    assert members(layer) == []


async def test_the_first_failure_is_the_one_that_is_raised(
    open_socket: Open, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(Recorder):
        async def receive(self, text_data=None, bytes_data=None):
            raise ZeroDivisionError

        async def disconnect(self, code):
            raise KeyError(code)

    socket = open_socket(Failing)
    await socket.connect()
    socket.say("x")
    with pytest.raises(ZeroDivisionError):
        await socket.end()
    assert "KeyError: 1011" in caplog.text


async def test_a_cancelled_connection_runs_disconnect(open_socket: Open, layer: MemoryLayer) -> None:
    class Cancelled(Recorder): ...

    socket = open_socket(Cancelled)
    await socket.connect()
    await settle()
    socket.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await socket.task
    assert Cancelled.log == [("disconnect", 1006)]
    assert members(layer) == []


async def test_a_disconnect_overtakes_a_handler(open_socket: Open) -> None:
    class Stuck(Recorder):
        async def receive(self, text_data=None, bytes_data=None):
            self.log.append("began")
            try:
                await asyncio.Event().wait()
            finally:
                self.log.append(("cancelled", self.closed))

    socket = open_socket(Stuck)
    await socket.connect()
    socket.say("1")
    socket.say("2")
    await until(lambda: Stuck.log)
    await socket.goodbye()
    assert Stuck.log == ["began", ("cancelled", True), ("disconnect", 1001)]


async def test_a_handler_has_a_grace_to_finish(open_socket: Open) -> None:
    go_on = asyncio.Event()

    class Busy(Recorder):
        disconnect_grace_s = 60

        async def receive(self, text_data=None, bytes_data=None):
            self.log.append(text_data)
            await go_on.wait()
            assert self.closed
            await self.send("nobody hears this")  # raises, and ends the handler quietly
            self.log.append("not reached")

    socket = open_socket(Busy)
    await socket.connect()
    socket.say("1")
    socket.say("2")
    await until(lambda: Busy.log)
    socket.leave()
    await settle()
    assert Busy.log == ["1"]
    go_on.set()
    await socket.end()
    assert Busy.log == ["1", "2", ("disconnect", 1001)]  # what it said before it left was still heard


async def test_a_handler_that_goes_on_behind_its_own_close_has_a_grace_too(open_socket: Open) -> None:
    class Stuck(Recorder):
        async def receive(self, text_data=None, bytes_data=None):
            await self.close(4000)
            await asyncio.Event().wait()

    socket = open_socket(Stuck)
    await socket.connect()
    socket.say("x")
    await socket.next()
    if socket.lane:
        socket.leave(4000)  # the client answers the close; the pump has stopped asking for that
    await socket.end()
    assert Stuck.log == [("disconnect", 4000)]


async def test_sends_raise_once_the_client_has_gone(open_socket: Open) -> None:
    seen: list[Any] = []

    class Talking(Recorder):
        async def disconnect(self, code):
            for act in (lambda: self.send("x"), self.close, self.accept):
                with pytest.raises(ClientDisconnected):
                    act()
                seen.append(code)

    socket = open_socket(Talking)
    await socket.connect()
    await socket.goodbye()
    assert len(seen) == 3


async def test_events_from_the_layer_are_dropped_after_the_client_left(open_socket: Open) -> None:
    class Busy(Recorder):
        disconnect_grace_s = 60
        go_on: asyncio.Event

        async def receive(self, text_data=None, bytes_data=None):
            await self.go_on.wait()

        async def ping(self, event):
            self.log.append("ping")

    Busy.go_on = asyncio.Event()
    socket = open_socket(Busy)
    await socket.connect()
    socket.say("x")
    await settle()
    await Group("room").asend({"type": "ping"})
    socket.leave()
    await Group("room").asend({"type": "ping"})
    Busy.go_on.set()
    await socket.end()
    assert Busy.log == [("disconnect", 1001)]


def test_a_loop_that_ends_in_the_middle_leaves_no_member(layer: MemoryLayer) -> None:
    class Abandoned(Recorder): ...

    loop = asyncio.new_event_loop()

    async def begin() -> Socket:
        socket = Socket(Abandoned.as_asgi(), lane=True)
        await socket.connect()
        return socket

    socket = loop.run_until_complete(begin())
    part = next(layer._live_parts())
    coroutine = socket.task.get_coro()
    socket.task._log_destroy_pending = False  # type: ignore[attr-defined]
    coroutine.close()  # what the interpreter does to it at the end
    loop.close()
    assert part.registry.channels("room") == []


# Errors


async def test_on_error_can_let_the_connection_go_on(open_socket: Open) -> None:
    class Forgiving(Recorder):
        async def receive(self, text_data=None, bytes_data=None):
            raise ValueError(text_data)

        async def on_error(self, error, event):
            self.log.append((repr(error), event["text"]))

    socket = open_socket(Forgiving)
    await socket.connect()
    socket.say("1")
    socket.say("2")
    await until(lambda: len(Forgiving.log) == 2)
    await socket.goodbye()
    assert Forgiving.log == [("ValueError('1')", "1"), ("ValueError('2')", "2"), ("disconnect", 1001)]


async def test_a_bad_message_of_a_client_that_has_gone_is_no_failure(open_socket: Open) -> None:
    class Json(AsyncJsonWebsocketConsumer):
        async def receive(self, *args, **kwargs):
            await gone.wait()
            super().receive(*args, **kwargs)

        async def disconnect(self, code):
            codes.append(code)

    gone = asyncio.Event()
    codes: list[int] = []
    socket = open_socket(Json)
    await socket.connect()
    socket.say("no JSON")
    await settle()
    socket.leave(4002)
    await settle()
    gone.set()
    await socket.end()
    assert codes == [4002]


async def test_a_disconnect_overtakes_on_error_too(open_socket: Open) -> None:
    class Slow(Recorder):
        async def receive(self, text_data=None, bytes_data=None):
            raise ValueError

        async def on_error(self, error, event):
            self.log.append("error")
            await asyncio.Event().wait()

    socket = open_socket(Slow)
    await socket.connect()
    socket.say("1")
    await until(lambda: Slow.log)
    await socket.goodbye()
    assert Slow.log == ["error", ("disconnect", 1001)]


async def test_a_handler_that_goes_on_after_its_client_is_cancelled_again(
    open_socket: Open, layer: MemoryLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raceway.consumers.runtime.CANCEL_AGAIN_S", 0.001)

    class Stubborn(Recorder):
        async def receive(self, text_data=None, bytes_data=None):
            for _ in range(3):
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    self.log.append(members(layer))

    socket = open_socket(Stubborn)
    await socket.connect()
    socket.say("x")
    await settle()
    await socket.goodbye()
    assert Stubborn.log == [[], [], [], ("disconnect", 1001)]


async def test_a_cancellation_from_outside_counts_even_while_overtaken(open_socket: Open) -> None:
    class Stubborn(Recorder):
        async def receive(self, text_data=None, bytes_data=None):
            self.log.append("began")
            try:
                await asyncio.Event().wait()
            finally:
                asyncio.current_task().cancel()

    socket = open_socket(Stubborn)
    await socket.connect()
    socket.say("1")
    await until(lambda: Stubborn.log)
    socket.leave()
    with pytest.raises(asyncio.CancelledError):
        await socket.end()
    assert Stubborn.log == ["began", ("disconnect", 1001)]


async def test_on_error_sees_events_of_the_layer(open_socket: Open) -> None:
    class Forgiving(Recorder):
        def ping(self, event):
            raise ValueError

        def on_error(self, error, event):
            self.log.append(event)

    socket = open_socket(Forgiving)
    await socket.connect()
    await Group("room").asend({"type": "ping", "n": 1})
    await until(lambda: Forgiving.log)
    assert Forgiving.log == [{"type": "ping", "n": 1}]


async def test_what_the_server_says_of_a_send_ends_the_connection(open_socket: Open) -> None:
    class Sending(Recorder):
        async def receive(self, text_data=None, bytes_data=None):
            self.send("x")
            await asyncio.Event().wait()

    socket = open_socket(Sending)
    await socket.connect()
    socket.send_error = ZeroDivisionError()
    socket.say("x")
    if not socket.lane:  # it was not awaited, so the connection learns of it when the handler is done
        await settle()
        socket.leave()
    with pytest.raises(ZeroDivisionError):
        await socket.end()


# Events from the layer


async def test_events_call_handlers_by_name(open_socket: Open) -> None:
    class Chat(Recorder):
        async def chat_message(self, event):
            self.log.append(event)
            event["list"].append("spoilt")

    sockets = [open_socket(Chat), open_socket(Chat)]
    for socket in sockets:
        await socket.connect()
    await Group("room").asend({"type": "chat.message", "list": [1, (2,)]})
    await until(lambda: len(Chat.log) == 2)
    await Group("room").asend({"type": "chat_message", "list": []})
    await until(lambda: len(Chat.log) == 4)
    assert Chat.log[0] is not Chat.log[1]  # each has a copy of its own
    assert Chat.log[2]["list"] == ["spoilt"]


@pytest.mark.parametrize(
    "kind",
    [
        *("close", "send", "accept", "connect", "disconnect", "receive", "group_send"),
        *("websocket.receive", "websocket.disconnect", "http.request", "lifespan.startup", "raceway.join"),
        *(".private", "_private", "nobody", 3),
    ],
)
async def test_a_message_cannot_call_anything_else_and_kills_nobody(
    open_socket: Open, kind: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handlers, "_unknown_types", set())

    class Robust(Recorder):
        async def http_request(self, event):
            raise AssertionError

        async def raceway_join(self, event):
            raise AssertionError

        async def _private(self, event):
            raise AssertionError

        async def ping(self, event):
            self.log.append("ping")

    socket = open_socket(Robust)
    await socket.connect()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            await Group("room").asend({"type": kind})
        await Group("room").asend({})
        await Group("room").asend({"type": "ping"})
        await until(lambda: Robust.log)
    assert Robust.log == ["ping"]
    assert socket.sent == []
    assert len([record for record in caplog.records if repr(kind) in record.getMessage()]) == 1


@pytest.mark.parametrize(
    ("message", "says"),
    [
        ({"type": "chat.message"}, "of type 'chat.message', no method chat_message: they"),
        ({"type": "send"}, "of type 'send': they"),
        ({"order": 5}, "of type None, which is what names a handler: they"),
    ],
)
async def test_a_dropped_message_says_what_would_handle_it(
    open_socket: Open,
    message: dict[str, Any],
    says: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(handlers, "_unknown_types", set())

    class Mistyped(Recorder):
        async def chat_mesage(self, event): ...

    await open_socket(Mistyped).connect()
    await Group("room").asend(message)
    await settle()
    assert says in caplog.text


async def test_a_full_mailbox_drops_the_newest_and_says_so_once(
    open_socket: Open, layer: MemoryLayer, caplog: pytest.LogCaptureFixture
) -> None:
    layer.capacity = 3

    class Busy(Recorder):
        async def number(self, event):
            self.log.append(event["n"])

        async def own_name(self, event): ...

    socket = open_socket(Busy)
    await socket.connect()
    await settle()
    name = members(layer)[0]
    for number in range(5):
        await Group("room").asend({"type": "number", "n": number})
    with pytest.raises(ChannelFull):
        await Channel(name).asend({"type": "number", "n": 9})
    await until(lambda: len(Busy.log) == 3)
    assert Busy.log == [0, 1, 2]
    assert len([r for r in caplog.records if "mailbox" in r.getMessage()]) == 1
    await Channel(name).asend({"type": "number", "n": 10})
    await until(lambda: len(Busy.log) == 4)


async def test_each_dropped_message_is_signalled(open_socket: Open, layer: MemoryLayer) -> None:
    layer.capacity = 1
    dropped: list[Any] = []

    class Busy(Recorder):
        async def number(self, event): ...

    def note(sender: Any, channel: str, capacity: int, **kwargs: Any) -> None:
        dropped.append((sender, channel, capacity))

    socket = open_socket(Busy)
    await socket.connect()
    await settle()
    message_dropped.connect(note, sender=Busy)
    try:
        for _ in range(3):
            await Group("room").asend({"type": "number"})
        await until(lambda: len(dropped) == 2)
    finally:
        message_dropped.disconnect(note, sender=Busy)
    assert dropped == [(Busy, members(layer)[0], 1)] * 2


# Client messages from groups


async def test_client_messages_pass_by_a_busy_handler(open_socket: Open) -> None:
    class Busy(Recorder):
        async def receive(self, text_data=None, bytes_data=None):
            await asyncio.Event().wait()

    socket = open_socket(Busy)
    await socket.connect()
    socket.say("x")
    await settle()
    await Group("room").abroadcast("hello")
    await Group("room").asend({"type": "websocket.close", "code": 4000, "reason": "bye"})
    pushed = await socket.next()
    if socket.lane:
        assert pushed == ("push", "hello", "close", "room")
    else:
        assert pushed == {"type": "websocket.send", "text": "hello"}
    assert await socket.next() == {"type": "websocket.close", "code": 4000, "reason": "bye"}


async def test_a_close_from_the_group_ends_an_idle_consumer(open_socket: Open) -> None:
    class Idle(Recorder): ...

    socket = open_socket(Idle)
    await socket.connect()
    await settle()
    await Group("room").asend({"type": "websocket.close", "code": 4000})
    await socket.end()
    assert Idle.log == [("disconnect", 4000)]


async def test_the_reason_of_a_close_is_as_long_as_its_frame_can_be() -> None:
    """Raceway's own server cuts it there; others break the connection without a code."""

    class Member(AsyncWebsocketConsumer):
        groups = ["room"]

    socket = Socket(Member.as_asgi(), lane=False)
    await socket.connect()
    await settle()
    await Group("room").asend({"type": "websocket.close", "code": 4000, "reason": "é" * 100})
    assert await socket.next() == {"type": "websocket.close", "code": 4000, "reason": "é" * 61}
    await socket.end()


async def test_a_class_that_intercepts_sees_them_first(open_socket: Open) -> None:
    class Intercepting(Recorder):
        async def websocket_send(self, event):
            await self.send(event["text"].upper())

    socket = open_socket(Intercepting)
    await socket.connect()
    await Group("room").abroadcast("hello")
    assert await socket.next() == {"type": "websocket.send", "text": "HELLO"}


async def test_a_client_message_with_more_keys_is_sent_too(open_socket: Open) -> None:
    class Plain(Recorder): ...

    socket = open_socket(Plain)
    await socket.connect()
    await Group("room").asend({"type": "websocket.send", "text": "x", "sender": "leela"})
    assert await socket.text() == "x"


async def test_middleware_that_wraps_send_sees_every_message(open_socket: Open) -> None:
    class Plain(Recorder):
        async def receive(self, text_data=None, bytes_data=None):
            await self.send(text_data)

    seen: list[str] = []

    async def middleware(scope, receive, send):
        async def watch(event):
            seen.append(event.get("text", event["type"]))
            await send(event)

        await Plain.as_asgi()(scope, receive, watch)

    socket = open_socket(middleware)
    await socket.connect()
    await Group("room").abroadcast("broadcast")
    await socket.text()
    socket.say("own")
    await socket.text()
    assert seen == ["websocket.accept", "broadcast", "own"]


async def test_middleware_that_wraps_receive_sees_every_message(open_socket: Open) -> None:
    class Plain(Recorder): ...

    seen: list[str] = []

    async def middleware(scope, receive, send):
        async def watch():
            event = await receive()
            seen.append(event["type"])
            return event

        if "raceway.push" in scope["extensions"]:
            scope["extensions"]["raceway.push"]["receive"] = receive
        await Plain.as_asgi()(scope, watch, send)

    socket = open_socket(middleware)
    await socket.connect()
    socket.say("x")
    await until(lambda: Plain.log)
    await socket.goodbye()
    assert seen == ["websocket.connect", "websocket.receive", "websocket.disconnect"]


# Back-pressure


async def test_reading_stops_while_handlers_are_behind(open_socket: Open) -> None:
    class Busy(Recorder):
        go_on: asyncio.Event

        async def receive(self, text_data=None, bytes_data=None):
            self.log.append(text_data)
            await self.go_on.wait()

    Busy.go_on = asyncio.Event()
    socket = open_socket(Busy)
    await socket.connect()
    await settle()
    drained = socket.drained
    for number in range(100):
        socket.say(str(number))
    await settle()
    if socket.lane:
        assert socket.drained == drained  # the server counts, and is told when all is done
    else:
        assert socket._queue.qsize() >= 100 - runtime.PUMPED_EVENTS
    Busy.go_on.set()
    await until(lambda: len(Busy.log) == 100)
    await settle()
    if socket.lane:
        assert socket.drained == drained + 1


async def test_sends_that_failed_do_not_count_as_messages_of_the_client(open_socket: Open) -> None:
    class Failing(Recorder):
        may: asyncio.Semaphore

        async def receive(self, text_data=None, bytes_data=None):
            if text_data == "fail":
                await sync_to_async(self.accept)()  # in a thread: the failure is told behind it
            else:
                await self.may.acquire()
            self.log.append(text_data)

        async def on_error(self, error, event):
            self.log.append(error)

    Failing.may = asyncio.Semaphore(0)
    socket = open_socket(Failing)
    await socket.connect()
    socket.send_error = ValueError("no second accept")
    failures = 200
    for _ in range(failures):
        socket.say("fail")
    await until(lambda: len(Failing.log) == 2 * failures)
    drained = socket.drained
    for number in range(100):
        socket.say(str(number))
    Failing.may.release()
    await until(lambda: "0" in Failing.log)
    await settle()
    if socket.lane:
        assert socket.drained == drained
    else:
        assert socket._queue.qsize() >= 100 - runtime.PUMPED_EVENTS - 1


@pytest.mark.parametrize("where", ["handler", "background"])
async def test_a_client_that_is_too_slow_is_gone(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the fast lane: what is awaited ends, disconnect() runs, and the close comes last."""

    class Slow(AsyncWebsocketConsumer):
        groups = ["news"]
        disconnect_grace_s = 0

        async def receive(self, text_data=None, bytes_data=None):
            sending = asyncio.ensure_future(self.send("own"))
            if where == "handler":
                await sending

        async def disconnect(self, code):
            ended.append((code, self.closed))

    monkeypatch.setattr("raceway.consumers.outbox.SLOW_CLIENT_S", 0)
    ended: list[Any] = []
    socket = Socket(Slow.as_asgi(), lane=False)
    await socket.connect()
    await settle()
    socket.may_send.clear()
    socket.say("x")
    await settle()
    for _ in range(2):
        await Group("news").abroadcast("x" * 200_000)
    await socket.end()
    assert ended == [(1013, True)]
    assert socket.sent == []
