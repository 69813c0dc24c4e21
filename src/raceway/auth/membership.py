"""Who a connection belongs to decides which groups it is in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from raceway.layers.user import user_group_name
from raceway.types import Scope

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser
    from django.contrib.auth.models import AnonymousUser

_OURS: Final = ("raceway.user.", "raceway.session.")


def sign_in(scope: Scope, user: AbstractBaseUser, session_group: str | None) -> None:
    """Let the connection be ``user``'s, by that session: from its opening on, or from now on if it is open."""
    scope["user"] = user
    _change_groups(
        scope,
        [user_group_name(user.pk)] if session_group is None else [user_group_name(user.pk), session_group],
    )


def sign_out(scope: Scope) -> None:
    """Let the connection be nobody's."""
    scope["user"] = anonymous()
    _change_groups(scope, [])


def _change_groups(scope: Scope, names: list[str]) -> None:
    before: list[str] = scope.get("raceway.groups", [])
    left = [name for name in before if name.startswith(_OURS)]
    scope["raceway.groups"] = [*(name for name in before if name not in left), *names]
    if "raceway.channel" in scope:
        layer, channel = scope["raceway.channel"]
        for name in left:
            layer.leave(name, channel)
        for name in names:
            layer.join(name, channel)


def anonymous() -> AnonymousUser:
    """Nobody."""
    from django.contrib.auth.models import AnonymousUser  # only when the app registry is ready

    return AnonymousUser()
