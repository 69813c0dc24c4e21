"""When a session ends, by whatever logs out, its sockets and tickets end too."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth.signals import user_logged_in, user_logged_out

from raceway.auth.tokens import refuse_tickets_of
from raceway.close_codes import UNAUTHORIZED
from raceway.database import after_commit
from raceway.layers import Group, channel_layers
from raceway.layers.user import session_group_name

logger = logging.getLogger("raceway.auth")


def close_sockets_of_session(session_key: str) -> None:
    """Close every socket that this session signed in with 4401, after the commit; wherever the socket is.

    Logging out does that by itself: by Django's views, its admin, or ``raceway.auth.logout``; so does logging in as
    another user. Tickets that were made for the session are refused from then on.
    """
    with _failures_logged():
        _refuse_tickets(session_key)
    for group in _groups(session_key):
        with _failures_logged():
            group.send(_closing())


async def _aclose_sockets_of_session(session_key: str) -> None:
    with _failures_logged():
        await sync_to_async(_refuse_tickets)(session_key)
    for group in _groups(session_key):
        with _failures_logged():
            await group.asend(_closing())


def _refuse_tickets(session_key: str) -> None:
    refuse = partial(refuse_tickets_of, session_group_name(session_key))
    if not after_commit(refuse):
        refuse()


def _groups(session_key: str) -> list[Group]:
    """The session's group in each layer: a consumer class names its own."""
    return [Group(session_group_name(session_key), alias) for alias in channel_layers]


def _closing() -> dict[str, Any]:
    return {"type": "websocket.close", "code": UNAUTHORIZED, "reason": "logged out"}


@contextmanager
def _failures_logged() -> Iterator[None]:
    """Whoever logs out is to be logged out, also without a broker."""
    try:
        yield
    except Exception:
        logger.exception("The sockets or tickets of a session that has ended could not be ended.")


def _logged_out(*, request: Any = None, **kwargs: Any) -> None:
    """Have the end of the session close its sockets. Django says that somebody logs out before it ends the session: a
    client that is closed then would come back and find it."""
    session = getattr(request, "session", None)
    if session is None or not session.session_key:
        return
    key: str = session.session_key

    def as_before() -> None:
        for name in ("flush", "aflush"):
            vars(session).pop(name, None)

    def flush() -> None:
        as_before()
        session.flush()
        close_sockets_of_session(key)

    async def aflush() -> None:
        as_before()
        await session.aflush()
        await _aclose_sockets_of_session(key)

    vars(session).update(flush=flush, aflush=aflush)


def _logged_in(*, request: Any = None, **kwargs: Any) -> None:
    """Close the sockets of the session that was there before: Django ends that of another user without a word."""
    session = getattr(request, "session", None)
    if session is None or session.session_key is not None:  # it is the same one, or has had its key changed
        return
    key = getattr(request, "COOKIES", {}).get(settings.SESSION_COOKIE_NAME)
    if key:
        close_sockets_of_session(key)


user_logged_out.connect(_logged_out, dispatch_uid="raceway.auth")
user_logged_in.connect(_logged_in, dispatch_uid="raceway.auth")
