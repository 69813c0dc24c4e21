"""All sockets of one user, from anywhere; and the names of the groups that a signed-in connection is in."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Final

from raceway.layers.group import Group

HASH_DIGITS: Final = 32

_PLAIN_PK = re.compile(r"(?![0-9a-f]{32}$)[A-Za-z0-9\-_.]{1,80}")
"""Keys that stand in a name as they are; one that looks like a hash is hashed too, so that nobody can choose a key
whose name is another's."""


class User(Group):
    """Send to every socket of a user, in whatever process: ``User(request.user).broadcast({"unread": 3})``.

    ``user`` is a user or a primary key. ``AuthMiddleware`` and ``TokenAuthMiddleware`` make each socket of a
    signed-in user a member. Raises ``ValueError`` for a user without a key, such as ``AnonymousUser``.
    """

    def __init__(self, user: object, alias: str = "default") -> None:
        super().__init__(user_group_name(getattr(user, "pk", user)), alias)

    def __repr__(self) -> str:
        return f"User({self.name.removeprefix('raceway.user.')!r})"


def user_group_name(pk: object) -> str:
    """The group of a user's sockets. Raises ``ValueError`` if ``pk`` is ``None``."""
    if pk is None:
        raise ValueError("This user has no primary key: it is AnonymousUser, or has not been saved.")
    text = str(pk)
    return f"raceway.user.{text if _PLAIN_PK.fullmatch(text) else _hash(text)}"


def session_group_name(session_key: str) -> str:
    """The group of the sockets that a session signed in. A key opens the session, so the name does not show it."""
    return f"raceway.session.{_hash(session_key)}"


def _hash(text: str) -> str:
    return sha256(text.encode(errors="surrogatepass")).hexdigest()[:HASH_DIGITS]
