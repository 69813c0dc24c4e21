"""Sessions and users of message consumers: what the decorators put on a ``Message``.

Each decorator works on functions and methods, ``def`` and ``async def``. A consumer sees one message at a time, so what
it wants to remember of a socket goes into the ``channel_session``, which is kept in Django's session store from the
first message of the socket to the last.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import cache, wraps
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, TypeVar, cast, overload
from urllib.parse import parse_qs

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib import auth
from django.contrib.sessions.backends.base import CreateError, SessionBase, UpdateError
from django.utils.crypto import salted_hmac

from raceway.auth.membership import anonymous
from raceway.auth.session import Handshake
from raceway.conf import django_setting, on_change
from raceway.errors import ConfigurationError
from raceway.messaging.message import Message
from raceway.messaging.routing import CONNECT, DISCONNECT, HTTP_DISCONNECT, HTTP_REQUEST, RECEIVE
from raceway.sessions import cookies_of, read_session, session_store
from raceway.threads import is_coroutine_callable

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser
    from django.contrib.auth.models import AnonymousUser

__all__ = [
    "channel_and_http_session",
    "channel_and_http_session_user_from_http",
    "channel_session",
    "channel_session_user",
    "channel_session_user_from_http",
    "enforce_ordering",
    "http_session",
    "http_session_user",
    "transfer_user",
]

C = TypeVar("C", bound=Callable[..., Any])

Attach: TypeAlias = Callable[[Message], AbstractContextManager[None]]
"""Puts something on a message for as long as its consumer runs; uses the database."""

LAST_MESSAGES: Final = (DISCONNECT, HTTP_REQUEST, HTTP_DISCONNECT)
"""After these a connection need have no more messages, and so has no channel session."""

CONNECTION_MESSAGES: Final = (CONNECT, RECEIVE)
"""After these there is one more, by which the session is forgotten at the latest."""

HTTP_SESSION_KEY: Final = "_raceway_http_session"
"""Where a channel session remembers which session of Django's its socket came with."""

AUTH_KEYS: Final = (auth.SESSION_KEY, auth.BACKEND_SESSION_KEY, auth.HASH_SESSION_KEY)


def _decorator(attach: Attach) -> Callable[[C], C]:
    """What has ``attach(message)`` around each call of a consumer."""

    def decorate(consumer: C) -> C:
        require_function(consumer)

        @wraps(consumer)
        def call(*args: Any, **kwargs: Any) -> Any:
            with attach(message_in(args)):
                return consumer(*args, **kwargs)

        @wraps(consumer)
        async def acall(*args: Any, **kwargs: Any) -> Any:
            attached = attach(message_in(args))
            await sync_to_async(attached.__enter__)()
            try:
                return await consumer(*args, **kwargs)
            finally:
                await sync_to_async(attached.__exit__)(None, None, None)

        return cast(C, acall if is_coroutine_callable(consumer) else call)

    return decorate


def require_function(consumer: object) -> None:
    """Raise ``TypeError`` for a class of consumers: one would be made, and its methods never called."""
    if isinstance(consumer, type) and hasattr(consumer, "dispatch"):
        raise TypeError(
            f"{consumer.__qualname__} is a class: decorate its methods, or set its attributes channel_session, "
            "channel_session_user, http_user or http_user_and_session."
        )


def message_in(args: tuple[Any, ...]) -> Message:
    """The message that a function or a method is called with."""
    for argument in args[:2]:
        if isinstance(argument, Message):
            return argument
    raise TypeError("A decorated consumer takes a Message as its first argument.")


# The session of a socket


class ChannelSession(SessionBase):
    """What makes a session store keep a session under the key of its socket, from the first time it is saved."""

    _is_new = False

    def load(self) -> dict[str, Any]:
        key = self.session_key
        data: dict[str, Any] = super().load()
        if self.session_key is None:  # how a store says that it has none of that key
            self._session_key = key
            self._is_new = True
        return data

    def save(self, must_create: bool = False) -> None:
        try:
            super().save(must_create=self._is_new)
        except (CreateError, UpdateError):  # it had expired and is there still, or has been cleared away
            super().save(must_create=not self._is_new)
        self._is_new = False

    async def asave(self, must_create: bool = False) -> None:
        await sync_to_async(self.save)()

    def flush(self) -> None:
        """Forget everything; the key is the socket's, and stays."""
        self.clear()
        self.delete(self.session_key)
        self._is_new = True

    async def aflush(self) -> None:
        await sync_to_async(self.flush)()

    def cycle_key(self) -> None:
        """Nothing: no client knows the key."""

    async def acycle_key(self) -> None:
        """Nothing: no client knows the key."""


@cache
def channel_session_store() -> type[Any]:
    """The class of channel sessions, in the store that ``CHANNEL_SESSION_ENGINE`` names, or else ``SESSION_ENGINE``.

    Raises ``ConfigurationError`` for signed cookies, which only a client could keep.
    """
    engine = django_setting("CHANNEL_SESSION_ENGINE", None) or settings.SESSION_ENGINE
    if engine == "django.contrib.sessions.backends.signed_cookies":
        raise ConfigurationError(
            "Channel sessions cannot be kept in signed cookies: a socket sets none. Set CHANNEL_SESSION_ENGINE to a "
            "store of the server's, such as 'django.contrib.sessions.backends.cache' or "
            "'django.contrib.sessions.backends.db'."
        )
    store = import_module(engine).SessionStore
    return type("ChannelSessionStore", (ChannelSession, store), {"__module__": __name__})


on_change("CHANNEL_SESSION_ENGINE", channel_session_store.cache_clear)
on_change("SESSION_ENGINE", channel_session_store.cache_clear)

_kept: Final[set[str]] = set()
"""The reply channels of this process's connections that may have a channel session in the store."""


def end_channel_session(reply_channel: str) -> None:
    """Forget the channel session of a connection that has ended, if it may have one. Uses the database then."""
    if reply_channel in _kept:
        _kept.discard(reply_channel)
        _channel_session_of(reply_channel).delete()


def has_channel_session(reply_channel: str) -> bool:
    """Whether ``end_channel_session`` has something to do."""
    return reply_channel in _kept


def _channel_session_of(reply_channel: str) -> Any:
    # Not to be guessed by who knows the channel: the store may be that of Django's own sessions.
    key = salted_hmac("raceway.messaging.channel_session", reply_channel, algorithm="sha256").hexdigest()
    return channel_session_store()(f"chn{key[:29]}")


@contextmanager
def _channel_session(message: Message) -> Iterator[None]:
    if _has(message, "channel_session"):
        yield
        return
    if message.reply_channel is None:
        raise ValueError(
            f"A message to {message.channel_name!r} has no reply channel, and so no channel session: "
            "@channel_session is for consumers of connections."
        )
    name = message.reply_channel.name
    session = _channel_session_of(name)
    session._get_session()
    message.channel_session = session
    if message.channel_name in CONNECTION_MESSAGES:
        _kept.add(name)
    try:
        yield
    finally:
        if message.channel_name in LAST_MESSAGES:
            _kept.discard(name)
            session.delete(session.session_key)
        elif session.modified:
            session.save()


# Django's session of a client


@contextmanager
def _http_session(message: Message) -> Iterator[None]:
    with _http_session_of(message, _session_key_in(message)):
        yield


@contextmanager
def _channel_and_http_session(message: Message) -> Iterator[None]:
    with _channel_session(message):
        key = _session_key_in(message)
        if key is None:
            key = message.channel_session.get(HTTP_SESSION_KEY)
        with _http_session_of(message, key):
            if _is_handshake(message) and message.http_session is not None:
                message.channel_session[HTTP_SESSION_KEY] = key
            yield


@contextmanager
def _http_session_of(message: Message, key: str | None) -> Iterator[None]:
    if _has(message, "http_session"):
        yield
        return
    session = _load(key)
    message.http_session = session
    try:
        yield
    finally:
        if session is not None and session.modified:
            _save_http_session(session)


def _load(key: str | None) -> Any:
    """The session of that key; ``None`` if there is none any more."""
    if key is None:
        return None
    session = session_store()(key)
    read_session(session)
    session._get_session()
    return None if session.session_key is None else session


def _save_http_session(session: Any) -> None:
    if settings.SESSION_ENGINE == "django.contrib.sessions.backends.signed_cookies":
        warnings.warn(
            "What a consumer changed in http_session is lost: with sessions in signed cookies only a response to the "
            "client can change them.",
            RuntimeWarning,
            stacklevel=2,
        )
        return
    with suppress(UpdateError):  # it has ended meanwhile: it is not to come back
        session.save()


def _is_handshake(message: Message) -> bool:
    """Whether it has what the client said first: only that has headers."""
    return "headers" in message.content


def _session_key_in(message: Message) -> str | None:
    """The key in the cookie, or else in the address, for clients that have no cookies."""
    key = cookies_of(message.content).get(settings.SESSION_COOKIE_NAME)
    if key:
        return key
    query: Any = message.content.get("query_string") or b""
    text: str = query.decode("latin-1") if isinstance(query, bytes) else query
    keys = parse_qs(text).get("session_key")
    return keys[0] if keys else None


# Users


@contextmanager
def _http_session_user(message: Message) -> Iterator[None]:
    with _http_session(message):
        _set_user(message, message.http_session)
        yield


@contextmanager
def _channel_session_user(message: Message) -> Iterator[None]:
    with _channel_session(message):
        _set_user(message, message.channel_session)
        yield


@contextmanager
def _channel_session_user_from_http(message: Message) -> Iterator[None]:
    with ExitStack() as stack:
        stack.enter_context(_channel_session(message))
        if _is_handshake(message):
            stack.enter_context(_http_session(message))
            _transfer_if_any(message)
        _set_user(message, message.channel_session)
        yield


@contextmanager
def _channel_and_http_session_user_from_http(message: Message) -> Iterator[None]:
    with _channel_and_http_session(message):
        if _is_handshake(message):
            _transfer_if_any(message)
        _set_user(message, message.channel_session)
        yield


def transfer_user(from_session: SessionBase, to_session: SessionBase) -> None:
    """Let the user of one session be the user of another, until the user's password changes; nobody, if it has none."""
    for key in AUTH_KEYS:
        if key in from_session:
            to_session[key] = from_session[key]
        elif key in to_session:
            del to_session[key]


def _transfer_if_any(message: Message) -> None:
    if message.http_session is not None:
        transfer_user(message.http_session, message.channel_session)


def _set_user(message: Message, session: SessionBase | None) -> None:
    if not _has(message, "user"):
        message.user = _user_of(session)


def _user_of(session: SessionBase | None) -> AbstractBaseUser | AnonymousUser:
    """By Django's own rules: the backend is configured still, and the hash is that of the user's password."""
    if session is None or auth.SESSION_KEY not in session:
        return anonymous()
    return auth.get_user(Handshake(session))  # type: ignore[arg-type]


def _has(message: Message, name: str) -> bool:
    return getattr(message, name, None) is not None


# The decorators


def channel_session(consumer: C) -> C:
    """``message.channel_session``: a session that all messages of one socket have, and no others.

    It is saved if it was changed, also if the consumer raised, and deleted when the socket has ended. Raises
    ``ValueError`` for a message without a reply channel, ``ConfigurationError`` if the store cannot keep it.
    """
    return _decorator(_channel_session)(consumer)


def http_session(consumer: C) -> C:
    """``message.http_session``: Django's session of the client that connects, or ``None`` if it has none.

    Its key is in the client's cookie or, for clients without cookies, in ``?session_key=``. It is saved if it was
    changed; no cookie is set. Later messages of a socket bring no cookie: see ``channel_and_http_session``.
    """
    return _decorator(_http_session)(consumer)


def channel_and_http_session(consumer: C) -> C:
    """Both sessions, and ``message.http_session`` in all messages of the socket: the channel session remembers it."""
    return _decorator(_channel_and_http_session)(consumer)


def http_session_user(consumer: C) -> C:
    """``message.http_session`` and its user as ``message.user``; ``AnonymousUser`` if there is none."""
    return _decorator(_http_session_user)(consumer)


def channel_session_user(consumer: C) -> C:
    """``message.channel_session`` and its user as ``message.user``: whom ``transfer_user`` has put there."""
    return _decorator(_channel_session_user)(consumer)


def channel_session_user_from_http(consumer: C) -> C:
    """``message.user`` in all messages of a socket: at ``websocket.connect`` the user of Django's session is put into
    the channel session, where it is found from then on.
    """
    return _decorator(_channel_session_user_from_http)(consumer)


def channel_and_http_session_user_from_http(consumer: C) -> C:
    """Both sessions and ``message.user``, in all messages of a socket."""
    return _decorator(_channel_and_http_session_user_from_http)(consumer)


class _Ordered(Protocol):
    def __call__(self, consumer: C) -> C: ...


@overload
def enforce_ordering(consumer: C, *, slight: bool = ...) -> C: ...


@overload
def enforce_ordering(*, slight: bool = ...) -> _Ordered: ...


def enforce_ordering(consumer: Any = None, *, slight: bool = False) -> Any:
    """Change nothing: the messages of a socket are always handled one after another, in order. Warns of that."""
    warnings.warn(
        f"@enforce_ordering{'(slight=True)' if slight else ''} changes nothing: the messages of a socket are handled "
        "one after another, in order. Remove it.",
        UserWarning,
        stacklevel=2,
    )
    return _unchanged if consumer is None else consumer


def _unchanged(consumer: C) -> C:
    return consumer


def sessions_of(
    *,
    channel_session: bool = False,
    channel_session_user: bool = False,
    http_user: bool = False,
    http_user_and_session: bool = False,
) -> Callable[[C], C]:
    """The decorator that the attributes of a consumer class of those names ask for."""
    if http_user_and_session:
        return _decorator(_channel_and_http_session_user_from_http)
    if http_user:
        return _decorator(_channel_session_user_from_http)
    if channel_session_user:
        return _decorator(_channel_session_user)
    if channel_session:
        return _decorator(_channel_session)
    return _unchanged
