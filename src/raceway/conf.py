"""The ``RACEWAY`` setting: read when first asked for, forgotten when a test changes it.

``RACEWAY = {"ROUTING": "project.routing", ...}``; the fields of ``Settings`` in capitals are the names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from functools import cache
from typing import Any, Final

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

from raceway.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a project can tell Raceway, with the defaults."""

    routing: str | None = None
    """The module that holds ``websocket_urlpatterns``, ``channel_routes`` or ``channel_routing``; ``None``: ``routing``
    beside the root URLconf."""
    allow_missing_origin: bool = False
    """Accept handshakes without an Origin header, which browsers always send and native clients do not."""
    ticket_cache: str = "default"
    """The cache (an alias of ``CACHES``) that remembers the tickets of ``raceway.auth.make_ticket`` once used."""
    sync_threads: int = 32
    """Threads that all ``def`` handlers and database calls of a process share."""
    view_threads: int = 64
    """Threads that Django's views and sync middleware share, apart from those: a view that hangs stops no socket."""
    disconnect_grace_s: float = 2.0
    """How long a handler may go on after its client has gone, in seconds."""
    presence_grace_s: float = 15.0
    """How long a person stays in a ``Presence`` after the last connection has ended, in seconds."""


@cache
def get_settings() -> Settings:
    """The ``RACEWAY`` setting, checked. Raises ``ConfigurationError`` for a name that does not exist."""
    given: Mapping[str, Any] = django_setting("RACEWAY", {})
    known = {field.name.upper(): field.name for field in fields(Settings)}
    for name in given:
        if name not in known:
            raise ConfigurationError(f"RACEWAY has no setting {name!r}{did_you_mean(name, known)}")
    found = Settings(**{known[name]: value for name, value in given.items()})
    for name, is_right, what in _RULES:
        value = getattr(found, name)
        if not is_right(value):
            raise ConfigurationError(f"RACEWAY[{name.upper()!r}] is {what}, not {value!r}.")
    return found


def _is_number(value: object, least: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= least


_RULES: Final[tuple[tuple[str, Callable[[Any], bool], str], ...]] = (
    ("routing", lambda value: value is None or isinstance(value, str), "the name of a module"),
    ("allow_missing_origin", lambda value: isinstance(value, bool), "True or False"),
    ("ticket_cache", lambda value: isinstance(value, str), "an alias of CACHES"),
    ("sync_threads", lambda value: isinstance(value, int) and _is_number(value, 1), "a number of at least 1"),
    ("view_threads", lambda value: isinstance(value, int) and _is_number(value, 1), "a number of at least 1"),
    ("disconnect_grace_s", lambda value: _is_number(value, 0), "a number of seconds"),
    ("presence_grace_s", lambda value: _is_number(value, 0), "a number of seconds"),
)


def django_setting(name: str, default: Any) -> Any:
    """One of Django's settings; ``default`` where it, or all of Django's settings, are missing."""
    try:
        return getattr(django_settings, name, default)
    except ImproperlyConfigured:
        return default


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown ``name``: the closest right one, or all of them."""
    names = sorted(known)
    if closest := get_close_matches(name, names, n=1):
        return f": did you mean {closest[0]!r}?"
    return f": it can be {', '.join(map(repr, names))}." if names else "."


def on_change(name: str, call: Callable[[], object]) -> None:
    """Have ``call()`` run whenever a test changes the setting ``name``."""

    def changed(*, setting: str, **kwargs: Any) -> None:
        if setting == name:
            call()

    setting_changed.connect(changed, weak=False)


on_change("RACEWAY", get_settings.cache_clear)
