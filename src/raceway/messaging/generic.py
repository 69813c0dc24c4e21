"""Classes of message consumers: one instance for each message, so that what is remembered goes into a session.

The classes of ``raceway.consumers`` have one instance for each connection; projects may have both.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from inspect import Parameter, isawaitable, signature
from typing import Any, ClassVar

from asgiref.sync import iscoroutinefunction, sync_to_async

from raceway.close_codes import INVALID_DATA, UNSUPPORTED_DATA
from raceway.errors import MalformedMessage, SendNotAvailableOnDemultiplexer
from raceway.json import decode_json, encode_json
from raceway.layers import Channel, Group
from raceway.messaging.dispatch import run_consumer
from raceway.messaging.message import Message, tell_once
from raceway.messaging.routing import CONNECT, DISCONNECT, RECEIVE, Route, route_class
from raceway.messaging.sessions import sessions_of


class BaseConsumer:
    """Call a method for each message: ``method_mapping`` says which for which channel."""

    method_mapping: ClassVar[Mapping[str, str]] = {}
    channel_session: ClassVar[bool] = False
    """Messages have a ``channel_session``."""
    channel_session_user: ClassVar[bool] = False
    """Messages have a ``channel_session`` and its ``user``."""
    http_user: ClassVar[bool] = False
    http_user_and_session: ClassVar[bool] = False

    def __init__(self, message: Message, **kwargs: Any) -> None:
        self.message = message
        self.kwargs = kwargs

    @classmethod
    def channel_names(cls) -> set[str]:
        """The channels that it consumes."""
        return set(cls.method_mapping)

    @classmethod
    def as_route(cls, attrs: Mapping[str, Any] | None = None, **filters: str | bytes) -> Route:
        """``route_class`` of it, or of a subclass with other ``attrs``."""
        return route_class(
            type(cls.__name__, (cls,), {"__module__": cls.__module__, **attrs}) if attrs else cls, **filters
        )

    def get_handler(self, message: Message, **kwargs: Any) -> Callable[..., Any]:
        """The method for ``message``, with the sessions that the attributes of the class ask for."""
        handler: Callable[..., Any] = getattr(self, self.method_mapping[message.channel_name])
        if not (
            self.channel_session or self.channel_session_user or self.http_user or self.http_user_and_session
        ):
            return handler
        return sessions_of(
            channel_session=self.channel_session,
            channel_session_user=self.channel_session_user,
            http_user=self.http_user,
            http_user_and_session=self.http_user_and_session,
        )(awaiting(handler) if is_async(type(self)) else handler)  # type: ignore[arg-type]

    def dispatch(self, message: Message, **kwargs: Any) -> Any:
        """Consume ``message``; what a method that is ``async def`` returns is to be awaited."""
        return self.get_handler(message, **kwargs)(message, **kwargs)

    @property
    def user(self) -> Any:
        """``message.user``, where one of the attributes has put it."""
        return self.message.user

    def _reply(self) -> Channel:
        channel = self.message.reply_channel
        if channel is None:
            raise ValueError(f"{self.message!r} came from no client: there is nobody to answer.")
        return channel


class GroupSend:
    """``group_send``, which a class and an instance have; only an instance may leave out the name of the group."""

    def __get__(
        self, consumer: WebsocketConsumer | None, cls: type[WebsocketConsumer]
    ) -> Callable[..., None]:
        return cls._send_to_group if consumer is None else consumer._send_to_groups


class WebsocketConsumer(BaseConsumer):
    """A WebSocket: override ``connect``, ``receive`` and ``disconnect`` as you need them."""

    method_mapping: ClassVar[Mapping[str, str]] = {
        CONNECT: "raw_connect",
        RECEIVE: "raw_receive",
        DISCONNECT: "raw_disconnect",
    }
    groups: ClassVar[Iterable[str] | None] = None
    """The groups that a socket is in from its handshake to its end; or write ``connection_groups``."""
    strict_ordering: ClassVar[bool] = False
    """Changes nothing: the messages of a socket are consumed one after another, in order."""
    slight_ordering: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in ("strict_ordering", "slight_ordering"):
            if vars(cls).get(name):
                warnings.warn(
                    f"{cls.__qualname__}.{name} = True changes nothing: the messages of a socket are consumed one "
                    "after another, in order. Remove it.",
                    UserWarning,
                    stacklevel=2,
                )

    # To override

    def connection_groups(self, **kwargs: Any) -> Iterable[str]:
        """The groups that this socket is in from its handshake to its end."""
        return self.groups or ()

    def connect(self, message: Message, **kwargs: Any) -> Any:
        """The client asks to connect. Raise ``DenyConnection`` to refuse; to return is to accept."""
        return self._reply().send({"accept": True})

    def receive(self, text: str | None = None, bytes: bytes | None = None, **kwargs: Any) -> Any:  # noqa: A002
        """The client sent a message: text or bytes."""

    def disconnect(self, message: Message, **kwargs: Any) -> Any:
        """The connection has ended; ``message["code"]`` says how."""

    # To call

    @property
    def path(self) -> str:
        """The path that the client has connected to."""
        path: str = self.message["path"]
        return path

    def send(self, text: str | None = None, bytes: bytes | None = None, close: bool | int = False) -> None:  # noqa: A002
        """Send text or bytes to the client, and then ``close``, with that code if it is a number."""
        self._reply().send(as_reply(text, bytes, close))

    group_send = GroupSend()
    """Send text or bytes to a group: ``group_send(name, text=None, bytes=None, close=False)``."""

    def close(self, status: bool | int = True) -> None:
        """Close the socket, with the code ``status`` if it is a number."""
        self._reply().send({"close": status})

    # What calls those

    def raw_connect(self, message: Message, **kwargs: Any) -> Any:
        for group in self._groups(kwargs):
            group.add(self._reply())
        return call_with_known(self.connect, message, **kwargs)

    def raw_receive(self, message: Message, **kwargs: Any) -> Any:
        said = {key: message[key] for key in ("text", "bytes") if message.get(key) is not None}
        return call_with_known(self.receive, **said, **kwargs)

    def raw_disconnect(self, message: Message, **kwargs: Any) -> Any:
        for group in self._groups(kwargs):
            group.discard(self._reply())
        return call_with_known(self.disconnect, message, **kwargs)

    def _groups(self, kwargs: dict[str, Any]) -> list[Group]:
        names = call_with_known(self.connection_groups, **kwargs)
        if isinstance(names, str):
            raise TypeError(f"{type(self).__qualname__} is in a list of groups, not in {names!r}")
        return [Group(name, self.message.alias) for name in names or ()]

    @classmethod
    def _send_to_group(
        cls,
        name: str,
        text: str | None = None,
        bytes: bytes | None = None,  # noqa: A002
        close: bool | int = False,
        alias: str = "default",
    ) -> None:
        Group(name, alias).send(as_reply(text, bytes, close))

    def _send_to_groups(self, *args: Any, **kwargs: Any) -> None:
        """``group_send`` of an instance, which knows its groups if it is told none."""
        send = partial(self._send_to_group, alias=self.message.alias)
        if self._names_group(args, kwargs):
            send(*args, **kwargs)
            return
        tell_once(
            f"{type(self).__qualname__} calls group_send() without the name of a group: it was sent to those of "
            "connection_groups(). Write group_send(name, ...)."
        )
        for group in self._groups(self.kwargs):
            send(group.name, *args, **kwargs)

    def _names_group(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        said = {"text", "bytes", "close"} & kwargs.keys()
        return "name" in kwargs or len(args) > 1 or bool(args and said)


class JsonWebsocketConsumer(WebsocketConsumer):
    """A WebSocket that carries JSON: override ``receive(content)``, call ``send(content)``."""

    def receive(self, content: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        """The client sent ``content``. The default calls ``receive_json``, as newer classes name it."""
        return call_with_known(self.receive_json, content, **kwargs)

    def receive_json(self, content: Any, **kwargs: Any) -> Any:
        """The client sent ``content``."""

    def send(self, content: Any, close: bool | int = False) -> None:  # type: ignore[override]
        """Send ``content`` as JSON text, and then ``close``, with that code if it is a number."""
        super().send(text=self.encode_json(content), close=close)

    def send_json(self, content: Any, close: bool | int = False) -> None:
        """``send``, as newer classes name it."""
        self.send(content, close)

    @classmethod
    def encode_json(cls, content: Any) -> str:
        """``content`` as JSON text; override it for another encoder."""
        return encode_json(content).decode()

    @classmethod
    def decode_json(cls, text: str) -> Any:
        """What JSON text says; override it for another decoder. Raises ``ValueError`` for text that says nothing."""
        return decode_json(text)

    def raw_receive(self, message: Message, **kwargs: Any) -> Any:
        text = message.get("text")
        if text is None:
            raise MalformedMessage("No text section for incoming WebSocket frame!", UNSUPPORTED_DATA)
        try:
            content = self.decode_json(text)
        except ValueError as error:
            raise MalformedMessage(f"The message is not JSON: {error}", INVALID_DATA) from error
        return call_with_known(self.receive, content, **kwargs)

    @classmethod
    def _send_to_group(  # type: ignore[override]
        cls, name: str, content: Any, close: bool | int = False, alias: str = "default"
    ) -> None:
        super()._send_to_group(name, text=cls.encode_json(content), close=close, alias=alias)

    def _names_group(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        return "name" in kwargs or len(args) > 1 or bool(args and "content" in kwargs)


class WebsocketMultiplexer:
    """One stream of a socket that carries several: what is sent says to which it belongs."""

    def __init__(self, stream: str, reply_channel: Channel) -> None:
        self.stream = stream
        self.reply_channel = reply_channel

    def send(self, payload: Any) -> None:
        """Send ``payload``, anything that is JSON, to the client."""
        self.reply_channel.send(self.encode(self.stream, payload))

    @classmethod
    def encode_json(cls, content: Any) -> str:
        return encode_json(content).decode()

    @classmethod
    def encode(cls, stream: str, payload: Any) -> dict[str, Any]:
        """``payload`` as a message for a reply channel or a group."""
        return {"text": cls.encode_json({"stream": stream, "payload": payload})}

    @classmethod
    def group_send(cls, name: str, stream: str, payload: Any, close: bool | int = False) -> None:
        """Send ``payload`` in ``stream`` to every member of a group."""
        message = cls.encode(stream, payload)
        Group(name).send({**message, "close": close} if close else message)


class WebsocketDemultiplexer(JsonWebsocketConsumer):
    """A socket that carries several streams, each with a consumer of its own.

    ``{"stream": name, "payload": {...}}`` goes to ``consumers[name]``, a class or a function, which is called with the
    payload as the message's text, and with ``multiplexer``, which answers. All of them see the handshake and the end.
    """

    consumers: ClassVar[Mapping[str, Any]] = {}
    multiplexer_class: ClassVar[type[WebsocketMultiplexer]] = WebsocketMultiplexer

    def receive(self, content: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        stream, payload = self._read(content)
        text = self.encode_json(payload)
        return self._call(
            stream, Message({**self.message.content, "text": text}, RECEIVE, self.message.alias), kwargs
        )

    def connect(self, message: Message, **kwargs: Any) -> Any:
        super().connect(message, **kwargs)
        return self._call_all(message, kwargs)

    def disconnect(self, message: Message, **kwargs: Any) -> Any:
        return self._call_all(message, kwargs)

    def send(self, *args: Any, **kwargs: Any) -> None:
        raise SendNotAvailableOnDemultiplexer(NO_STREAM)

    @classmethod
    def _send_to_group(cls, *args: Any, **kwargs: Any) -> None:
        raise SendNotAvailableOnDemultiplexer(NO_STREAM)

    def _send_to_groups(self, *args: Any, **kwargs: Any) -> None:
        raise SendNotAvailableOnDemultiplexer(NO_STREAM)

    def _read(self, content: Any) -> tuple[str, Any]:
        if not isinstance(content, dict) or "stream" not in content or "payload" not in content:
            raise MalformedMessage(
                "A message of a multiplexed socket has a 'stream' and a 'payload'.", INVALID_DATA
            )
        stream, payload = content["stream"], content["payload"]
        if not isinstance(stream, str) or stream not in self.consumers:
            raise MalformedMessage(f"There is no stream {stream!r}.", INVALID_DATA)
        if not isinstance(payload, dict):
            raise MalformedMessage("The payload of a multiplexed message is a dict.", INVALID_DATA)
        return stream, payload

    def _call(self, stream: str, message: Message, kwargs: dict[str, Any]) -> Any:
        copy_attributes(self.message, message)
        multiplexer = self.multiplexer_class(stream, self._reply())
        return run_consumer(self.consumers[stream], message, {**kwargs, "multiplexer": multiplexer})

    def _call_all(self, message: Message, kwargs: dict[str, Any]) -> Any:
        waiting = [
            result
            for stream in self.consumers
            if isawaitable(
                result := self._call(
                    stream, Message({**message.content}, message.channel_name, message.alias), kwargs
                )
            )
        ]
        return await_all(waiting) if waiting else None


NO_STREAM = (
    "A demultiplexer has no stream of its own: send by the multiplexer that each consumer is called with."
)


@cache
def is_async(cls: type) -> bool:
    """Whether a method of the class may be ``async def``, so that a call has ended only when it was awaited."""
    return any(iscoroutinefunction(getattr(cls, name)) for name in dir(cls) if not name.startswith("_"))


def awaiting(handler: Callable[..., Any]) -> Callable[..., Any]:
    """``handler``, in a thread, and then what it returns."""

    async def handle(message: Message, **kwargs: Any) -> None:
        result = await sync_to_async(handler)(message, **kwargs)
        if isawaitable(result):
            await result

    return handle


async def await_all(waiting: Iterable[Any]) -> None:
    for one in waiting:
        await one


def copy_attributes(source: Message, target: Message) -> None:
    """Let ``target`` have the sessions and the user of ``source``, which decorators have found already."""
    for name in ("channel_session", "http_session", "user"):
        if hasattr(source, name):
            setattr(target, name, getattr(source, name))


def call_with_known(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call ``function`` with those of ``kwargs`` that it takes."""
    known = known_names(getattr(function, "__func__", function))
    if known is not None:
        kwargs = {name: value for name, value in kwargs.items() if name in known}
    return function(*args, **kwargs)


@cache
def known_names(function: Callable[..., Any]) -> frozenset[str] | None:
    """The arguments that ``function`` takes by name; ``None``: any."""
    parameters = signature(function).parameters.values()
    if any(one.kind is Parameter.VAR_KEYWORD for one in parameters):
        return None
    return frozenset(one.name for one in parameters)


def as_reply(text: str | None, data: bytes | None, close: bool | int) -> dict[str, Any]:
    """Text or bytes, and maybe the end, as a message for a reply channel. Raises ``ValueError`` for none of them."""
    if text is None and data is None and close is False:
        raise ValueError("You must pass text, bytes or close.")
    said = {"text": text, "bytes": data, "close": close}
    return {key: value for key, value in said.items() if value is not None and value is not False}
