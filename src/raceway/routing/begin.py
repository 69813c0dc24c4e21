"""How Raceway's own applications call each other: connect-time work leaves the stack.

An ``async def __call__`` that awaits the next application stays on the stack for the life of the connection, and
is resumed for each message. So routers and middleware hand on instead of awaiting: ``raceway_begin`` returns the
innermost coroutine, and takes along, as ``prepares``, what is to be done before the connection begins.
"""

from __future__ import annotations

from collections.abc import Awaitable

from raceway.errors import DenyConnection
from raceway.routing.refuse import refuse
from raceway.threads import enter_threads, leave_threads
from raceway.types import ASGIApplication, Prepare, Receive, Scope, Send


def begin(
    application: ASGIApplication,
    scope: Scope,
    receive: Receive,
    send: Send,
    prepares: tuple[Prepare, ...] = (),
) -> Awaitable[None]:
    """Call ``application``, after ``prepares``; without a frame of our own if it is one of Raceway's."""
    if getattr(
        type(application), "raceway_hands_on", False
    ):  # of its class: wrappers may pass on what they wrap
        begun: Awaitable[None] = application.raceway_begin(scope, receive, send, prepares)  # type: ignore[attr-defined]
        return begun
    if not prepares:
        return application(scope, receive, send)
    return _prepare_and_call(application, scope, receive, send, prepares)


async def _prepare_and_call(
    application: ASGIApplication, scope: Scope, receive: Receive, send: Send, prepares: tuple[Prepare, ...]
) -> None:
    threads = enter_threads()
    try:
        scope = dict(scope)
        for prepare in prepares:
            await prepare(scope)
    except DenyConnection:
        await refuse(scope, receive, send, 403, "Forbidden")
        return
    finally:
        leave_threads(threads)
    await application(scope, receive, send)
