"""The user whom a token or ticket proves, put into the scope."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import parse_qs

from asgiref.sync import iscoroutinefunction, sync_to_async

from raceway.auth.membership import anonymous, sign_in
from raceway.auth.tokens import Proof, redeem_ticket, verify_token
from raceway.clock import now
from raceway.errors import DenyConnection
from raceway.routing import ConnectMiddleware
from raceway.types import ASGIApplication, Scope

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser

    Answer: TypeAlias = AbstractBaseUser | tuple[AbstractBaseUser, float | None] | None
    Verify: TypeAlias = Callable[[str], Answer | Awaitable[Answer]]

logger = logging.getLogger("raceway.auth")

BEARER: Final = "bearer"
"""The scheme of the header (RFC 6750 section 2.1), and the subprotocol that a token follows."""

TICKET: Final = "ticket"
"""The parameter of the query string."""


class TokenAuthMiddleware(ConnectMiddleware):
    """``scope["user"]``: whom a token or ticket belongs to. Alone, or inside ``AuthMiddlewareStack``.

    A client brings one of these, and the first of them counts:

    - ``Authorization: Bearer <token>``, which native clients can send;
    - a token as the subprotocol after ``bearer``: ``new WebSocket(url, ["bearer", token])`` in a browser. The
      consumer accepts ``bearer`` unless it names another of the client's subprotocols: without any, browsers
      give up. The token itself is taken out of ``scope["subprotocols"]``;
    - ``?ticket=``: what ``make_ticket`` made, good for one connection. Tokens are not looked for in an address.

    ``verify`` is for other tokens than those of ``make_token``, such as a JWT: ``def`` or ``async def``, it takes
    the token, which is never empty, and returns a user, or a user and when that ends (seconds since 1970), or ``None``.

    What proves nothing is refused with 403, whatever the session says; who brings nothing is left as found, or is
    ``AnonymousUser``. When the token expires the socket is closed with 4401.
    """

    def __init__(self, inner: ASGIApplication, verify: Verify | None = None) -> None:
        super().__init__(inner)
        chosen: Any = verify_token if verify is None else verify
        self._verify = chosen if iscoroutinefunction(chosen) else sync_to_async(chosen)

    async def prepare(self, scope: Scope) -> None:
        offered = _take_from_subprotocols(scope)
        token = _token_in_header(scope)
        if token is None:
            token = offered
        if token is not None:
            proof = as_proof(await self._verify(token)) if token else None
        else:
            ticket = _ticket_in_query(scope)
            if ticket is None:
                scope.setdefault("user", anonymous())
                return
            proof = as_proof(await _redeem(ticket))
        if proof is None:
            logger.info("Refused %s: its token or ticket is no good.", ascii(scope["path"]))
            raise DenyConnection("The token or ticket is no good.")
        sign_in(scope, proof.user, proof.session_group)
        if proof.until is not None:
            scope["raceway.expires_at"] = proof.until


_redeem = sync_to_async(redeem_ticket)


def as_proof(answer: Answer | Proof) -> Proof | None:
    """What ``verify`` or ``redeem_ticket`` answered, if it lets somebody in now."""
    if answer is None:
        return None
    proof = Proof(*answer) if isinstance(answer, tuple) else Proof(answer)
    if not proof.user.is_authenticated or not proof.user.is_active:
        return None
    return None if proof.until is not None and proof.until <= now() else proof


# What a client brings: ``None`` if nothing, "" if something that is no proof


def _token_in_header(scope: Scope) -> str | None:
    values = [value.decode("latin-1") for name, value in scope["headers"] if name == b"authorization"]
    tokens = [
        token.strip()
        for scheme, _, token in (value.partition(" ") for value in values)
        if scheme.lower() == BEARER
    ]
    return None if not tokens else tokens[0] if len(tokens) == 1 else ""


def _take_from_subprotocols(scope: Scope) -> str | None:
    """Take the token out, so that nobody answers with it or logs it, and say what to accept instead."""
    offered: list[str] = list(scope.get("subprotocols", ()))
    if BEARER not in offered:
        return None
    place = offered.index(BEARER) + 1
    token = offered.pop(place) if place < len(offered) else ""
    scope["subprotocols"] = offered
    scope["raceway.subprotocol"] = BEARER
    return token


def _ticket_in_query(scope: Scope) -> str | None:
    query: bytes = scope.get("query_string", b"")
    if b"ticket" not in query:
        return None
    tickets = parse_qs(query.decode("latin-1"), keep_blank_values=True).get(TICKET)
    return None if tickets is None else tickets[0] if len(tickets) == 1 else ""
