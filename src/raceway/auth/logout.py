"""When a session ends, by whatever logs out, its sockets end too."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from django.contrib.auth.signals import user_logged_out

from raceway.layers import Group, channel_layers
from raceway.layers.user import session_group_name

if TYPE_CHECKING:
    from django.contrib.sessions.backends.base import SessionBase

logger = logging.getLogger("raceway.auth")

UNAUTHORIZED: Final = 4401
"""The close code of a socket whose authorization has ended: HTTP's 401."""


def close_sockets_of_session(session_key: str) -> None:
    """Close every socket that this session signed in with 4401, after the commit; wherever the socket is.

    Logging out does that by itself: by Django's views, its admin, or ``raceway.auth.logout``.
    """
    for group in _groups(session_key):
        try:
            group.send(_closing())
        except Exception:  # whoever logs out is to be logged out, also without a broker
            logger.exception("The sockets of a session that has ended could not be closed.")


async def _aclose_sockets_of_session(session_key: str) -> None:
    for group in _groups(session_key):
        try:
            await group.asend(_closing())
        except Exception:
            logger.exception("The sockets of a session that has ended could not be closed.")


def _groups(session_key: str) -> list[Group]:
    """The session's group in each layer: a consumer class names its own."""
    return [Group(session_group_name(session_key), alias) for alias in channel_layers]


def _closing() -> dict[str, Any]:
    return {"type": "websocket.close", "code": UNAUTHORIZED, "reason": "logged out"}


def _logged_out(*, request: Any = None, **kwargs: Any) -> None:
    session = getattr(request, "session", None)
    if session is not None and session.session_key:
        _call_after_flush(session, session.session_key)


def _call_after_flush(session: SessionBase, key: str) -> None:
    """Close the sockets when the session is gone. Django says that somebody logs out before it ends the session:
    a client that is closed then would come back and find it."""

    def flush() -> None:
        _restore(session)
        session.flush()
        close_sockets_of_session(key)

    async def aflush() -> None:
        _restore(session)
        await session.aflush()
        await _aclose_sockets_of_session(key)

    vars(session).update(flush=flush, aflush=aflush)


def _restore(session: SessionBase) -> None:
    functions: dict[str, Callable[..., Any]] = vars(session)
    functions.pop("flush", None)
    functions.pop("aflush", None)


user_logged_out.connect(_logged_out, dispatch_uid="raceway.auth")
