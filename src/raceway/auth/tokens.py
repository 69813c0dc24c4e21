"""Tokens and tickets: signed proofs of who a client is, for clients that bring no session cookie."""

from __future__ import annotations

import logging
import secrets
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.contrib.auth import get_backends, get_user_model
from django.core.cache import caches
from django.core.cache.backends.dummy import DummyCache
from django.core.cache.backends.filebased import FileBasedCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.exceptions import ValidationError
from django.core.signing import BadSignature, Signer
from django.utils.crypto import constant_time_compare

from raceway.clock import now
from raceway.conf import get_settings, on_change
from raceway.errors import ConfigurationError
from raceway.layers.user import session_group_name

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser
    from django.core.cache.backends.base import BaseCache

logger = logging.getLogger("raceway.auth")

TOKEN_AGE_S: Final = 3600.0
TICKET_AGE_S: Final = 30.0
MAX_TICKET_AGE_S: Final = 300.0
"""A ticket travels in an address, and addresses are logged: whoever reads it there is to come too late."""


def make_token(user: AbstractBaseUser, max_age_s: float = TOKEN_AGE_S) -> str:
    """A proof that its bearer is ``user``, for ``max_age_s`` seconds; sockets opened with it are closed then.

    It is good for any number of connections, until the user's password changes. Send it in the
    ``Authorization`` header, or from a browser as a subprotocol: ``new WebSocket(url, ["bearer", token])``.
    Raises ``ValueError`` for a user that is not in the database.
    """
    return _signer("token").sign_object(_claims(user, max_age_s))


def make_ticket(
    user: AbstractBaseUser, max_age_s: float = TICKET_AGE_S, *, session_key: str | None = None
) -> str:
    """A proof that its bearer is ``user``, for one connection that is opened within ``max_age_s`` seconds.

    It may stand in the address: ``new WebSocket(url + "?ticket=" + ticket)``. With ``session_key``
    (``request.session.session_key``), it ends when that session logs out, and so does its socket. The cache that
    ``RACEWAY["TICKET_CACHE"]`` names remembers the used ones.

    Raises ``ValueError`` for more than 300 seconds, and for a user that is not in the database;
    ``ConfigurationError`` if that cache keeps nothing, or keeps it in files.
    """
    if max_age_s > MAX_TICKET_AGE_S:
        raise ValueError(
            f"A ticket lasts at most {MAX_TICKET_AGE_S:.0f} s, not {max_age_s}: it stands in an address, which "
            "others may read. Use make_token() for what lasts."
        )
    _cache_of_used_tickets()
    claims = {**_claims(user, max_age_s), "once": secrets.token_urlsafe(16)}
    if session_key:
        claims["session"] = session_group_name(session_key)
    return _signer("ticket").sign_object(claims)


class Proof(NamedTuple):
    """Who a client is; until when that holds (seconds since 1970); the group of the session that it comes from."""

    user: AbstractBaseUser
    until: float | None = None
    session_group: str | None = None


def verify_token(token: str) -> tuple[AbstractBaseUser, float] | None:
    """Whose token it is, and until when (seconds since 1970); ``None`` if it is forged, expired or revoked."""
    claims = _read("token", token)
    user = None if claims is None else _user_of(claims)
    return None if claims is None or user is None else (user, claims["until"])


def redeem_ticket(ticket: str) -> Proof | None:
    """Whose ticket it is, and of which session; ``None`` if it is forged, expired, revoked, or was used before."""
    claims = _read("ticket", ticket)
    user = None if claims is None else _user_of(claims)
    if claims is None or user is None:
        return None
    cache = _cache_of_used_tickets()
    session_group: str | None = claims.get("session")
    if session_group is not None and cache.get(_ended(session_group)):
        return None
    # It is remembered for longer than it lasts: the cache's clock is not ours.
    left_s = claims["until"] - now()
    if not cache.add(f"raceway.ticket.{claims['once']}", True, left_s + TICKET_AGE_S):
        return None
    return Proof(user, session_group=session_group)


def refuse_tickets_of(session_group: str) -> None:
    """Let nobody in any more by the tickets of a session that has ended."""
    caches[get_settings().ticket_cache].set(_ended(session_group), True, MAX_TICKET_AGE_S + TICKET_AGE_S)


def _ended(session_group: str) -> str:
    return f"raceway.ended.{session_group}"


def _claims(user: AbstractBaseUser, max_age_s: float) -> dict[str, Any]:
    if user.pk is None:
        raise ValueError("This user has no primary key: it is AnonymousUser, or has not been saved.")
    return {
        "user": user._meta.pk.value_to_string(user),
        "until": round(now() + max_age_s, 3),
        "password": _fingerprint(_auth_hash(user)),
    }


def _read(kind: str, text: str) -> dict[str, Any] | None:
    """What a proof claims, if it was signed here for that purpose and is not too old."""
    try:
        claims: dict[str, Any] = _signer(kind).unsign_object(text)
    except (BadSignature, ValueError):
        return None
    return claims if claims["until"] > now() else None


def _user_of(claims: dict[str, Any]) -> AbstractBaseUser | None:
    """The user, if a backend still lets it in and its password is still the same."""
    try:
        pk = get_user_model()._meta.pk.to_python(claims["user"])
    except ValidationError:
        return None
    for backend in get_backends():
        user: AbstractBaseUser | None = backend.get_user(pk)
        if user is not None:
            hashes = [_auth_hash(user), *_fallback_hashes(user)]
            if any(constant_time_compare(claims["password"], _fingerprint(one)) for one in hashes):
                return user
    return None


def _auth_hash(user: Any) -> str:
    return user.get_session_auth_hash() if hasattr(user, "get_session_auth_hash") else ""


def _fallback_hashes(user: Any) -> list[str]:
    """What the hash would be by each of ``SECRET_KEY_FALLBACKS``."""
    fallbacks = getattr(user, "get_session_auth_fallback_hash", None)
    return list(fallbacks()) if fallbacks is not None else []


def _fingerprint(auth_hash: str) -> str:
    """Changes with the password, and tells nothing of the hash that Django's sessions hold."""
    return sha256(f"raceway.auth {auth_hash}".encode()).hexdigest()[:32]


def _signer(kind: str) -> Signer:
    # Not Django's ":" between the parts: the proof is to stand in a header (RFC 9110 section 5.6.2).
    return Signer(sep=".", salt=f"raceway.auth.{kind}")


def _cache_of_used_tickets() -> BaseCache:
    alias = get_settings().ticket_cache
    cache = caches[alias]
    if isinstance(cache, DummyCache):
        raise ConfigurationError(
            f"The cache {alias!r} keeps nothing, so a ticket could be used twice: name another one in "
            "RACEWAY['TICKET_CACHE']."
        )
    if isinstance(cache, FileBasedCache):
        raise ConfigurationError(
            f"The cache {alias!r} is of files, where two may add the same key at once, so a ticket could be used "
            "twice: name another one in RACEWAY['TICKET_CACHE']."
        )
    if isinstance(cache, LocMemCache) and alias not in _told_of:
        _told_of.add(alias)
        logger.info(
            "Used tickets are remembered in the cache %r, which each process has for itself: with several "
            "processes name a shared one in RACEWAY['TICKET_CACHE'].",
            alias,
        )
    return cache


_told_of: Final[set[str]] = set()
on_change("CACHES", _told_of.clear)
