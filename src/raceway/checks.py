"""System checks: what is wrong with a project's settings, each with what to do about it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from typing import Any, Final

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register  # noqa: A004
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.asgi import ASGIHandler
from django.core.management import find_commands
from django.utils.module_loading import import_string

from raceway.conf import django_setting, get_settings
from raceway.errors import ConfigurationError, InvalidChannelLayerError
from raceway.layers import DEFAULT_CHANNEL_LAYER, channel_layers
from raceway.messaging.routing import resolve_routing
from raceway.routing import ProtocolTypeRouter, URLRouter
from raceway.routing.project import get_channel_routing, get_websocket_urlpatterns, routing_name
from raceway.routing.urls import behind_middleware

SESSIONS: Final = "django.contrib.sessions"


@register()
def check_app_order(**kwargs: Any) -> Sequence[CheckMessage]:
    """Django takes ``runserver`` from the first app that has one."""
    for config in apps.get_app_configs():
        if config.name == "raceway":
            break
        if "runserver" in find_commands(os.path.join(config.path, "management")):
            return [
                Error(
                    f"{config.name} comes before raceway in INSTALLED_APPS, and has a runserver of its own.",
                    hint='Put "raceway" first: otherwise runserver is another one, not on Raceway\'s server.',
                    id="raceway.E001",
                )
            ]
    return []


@register()
def check_settings(**kwargs: Any) -> Sequence[CheckMessage]:
    try:
        get_settings()
    except ConfigurationError as error:
        return [Error(str(error), hint="Correct the RACEWAY setting.", id="raceway.E002")]
    found = [*_check_routing()]
    if not any(isinstance(message, Error) for message in found):  # otherwise it is told already
        found += _check_application()
    if get_settings().ticket_cache not in settings.CACHES:
        found.append(
            Error(
                f"RACEWAY['TICKET_CACHE'] names {get_settings().ticket_cache!r}, which CACHES does not have.",
                hint=f"Name one of {', '.join(map(repr, settings.CACHES))}.",
                id="raceway.E006",
            )
        )
    return found


def _check_routing() -> Sequence[CheckMessage]:
    if not getattr(settings, "ROOT_URLCONF", None) and get_settings().routing is None:
        return []
    try:
        routes = URLRouter(get_websocket_urlpatterns()).routes
        channel_routing = get_channel_routing()
        if channel_routing is not None:
            resolve_routing(channel_routing)
    except (ConfigurationError, ImproperlyConfigured) as error:
        return [Error(str(error), hint="Correct the routing module.", id="raceway.E003")]
    if found := [message for route in routes for message in route.check()]:  # such as a leading slash
        return found
    name = routing_name()
    if channel_routing is None and not _has_routing_module(name) and not _has_sockets(_application()):
        return [
            Warning(
                f"There is no module {name}, so every WebSocket is refused.",
                hint=f"Write {name} with websocket_urlpatterns, or name another module in RACEWAY['ROUTING'].",
                id="raceway.W001",
            )
        ]
    return []


def _has_routing_module(name: str) -> bool:
    return get_settings().routing is not None or _exists(name)


def _exists(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _application() -> object:
    """What ``ASGI_APPLICATION`` names; ``None`` if there is nothing."""
    with suppress(Exception):  # which _check_application tells
        return import_string(getattr(settings, "ASGI_APPLICATION", ""))
    return None


def _has_sockets(application: object) -> bool:
    """Whether a project that has put its application together itself routes WebSockets there."""
    inner = behind_middleware(application)
    if isinstance(inner, ProtocolTypeRouter):
        return _has_sockets(inner.application_mapping.get("websocket"))
    if isinstance(inner, URLRouter):
        return bool(inner.routes)
    return inner is not None  # a router of another maker, or Django's own, of which W006 tells


def _check_application() -> Sequence[CheckMessage]:
    """Without the setting, ``runserver`` makes an application itself."""
    path = getattr(settings, "ASGI_APPLICATION", None)
    if path is None:
        return []
    try:
        application = import_string(path)
    except Exception as error:  # the module is the project's: anything may happen in it
        return [
            Error(
                f"ASGI_APPLICATION = {path!r} cannot be imported: {type(error).__name__}: {error}",
                hint=(
                    'Name a module and an attribute, such as "project.asgi.application".'
                    if isinstance(error, ImportError)
                    else f"Correct what {path.rpartition('.')[0]} does when it is imported."
                ),
                id="raceway.E005",
            )
        ]
    if isinstance(application, ASGIHandler):
        return [
            Warning(
                f"ASGI_APPLICATION = {path!r} is Django's own application, which serves no WebSocket.",
                hint=f"In {path.rpartition('.')[0]}, write application = raceway.asgi.get_application().",
                id="raceway.W006",
            )
        ]
    return []


@register()
def check_channel_layers(**kwargs: Any) -> Sequence[CheckMessage]:
    found: list[CheckMessage] = []
    for alias in channel_layers:
        try:
            channel_layers[alias]
        except InvalidChannelLayerError as error:
            found.append(Error(str(error), hint="Correct CHANNEL_LAYERS.", id="raceway.E004"))
    aliases = list(channel_layers)
    if aliases and DEFAULT_CHANNEL_LAYER not in aliases:
        found.append(
            Warning(
                f"CHANNEL_LAYERS has no {DEFAULT_CHANNEL_LAYER!r}, which groups, channels and consumers use.",
                hint=f"Call one {DEFAULT_CHANNEL_LAYER!r}, or name an alias wherever a layer is used.",
                id="raceway.W002",
            )
        )
    return found


@register()
def check_sessions(**kwargs: Any) -> Sequence[CheckMessage]:
    """``get_application`` looks for a user's session wherever there are users."""
    engine = django_setting("SESSION_ENGINE", "")
    needs_table = engine in (f"{SESSIONS}.backends.db", f"{SESSIONS}.backends.cached_db")
    if apps.is_installed("django.contrib.auth") and needs_table and not apps.is_installed(SESSIONS):
        return [
            Warning(
                f"{SESSIONS} is not in INSTALLED_APPS, so a WebSocket with a session cookie fails.",
                hint=f'Add "{SESSIONS}", or choose a SESSION_ENGINE that needs no table.',
                id="raceway.W003",
            )
        ]
    return []


@register(Tags.security, deploy=True)
def check_origins(**kwargs: Any) -> Sequence[CheckMessage]:
    if "*" not in settings.ALLOWED_HOSTS:
        return []
    return [
        Warning(
            'ALLOWED_HOSTS has "*", so any page on the web may open a WebSocket with the cookies of its visitor.',
            hint="List the hosts of your pages in ALLOWED_HOSTS.",
            id="raceway.W004",
        )
    ]


@register(deploy=True)
def check_middleware(**kwargs: Any) -> Sequence[CheckMessage]:
    names = [name for name in settings.MIDDLEWARE if _is_sync_only(name)]
    if not names:
        return []
    return [
        Warning(
            f"{', '.join(names)}: middleware that is not async_capable. Every async view behind it holds a thread for "
            "as long as it runs.",
            hint=(
                "Answer what takes long (long polls, streams) in a consumer, which no middleware of Django's wraps, or "
                "raise RACEWAY['VIEW_THREADS']."
            ),
            id="raceway.W007",
        )
    ]


def _is_sync_only(name: str) -> bool:
    try:
        return not getattr(import_string(name), "async_capable", False)
    except ImportError:
        return False  # Django says so itself


@register(deploy=True)
def check_memory_layer(**kwargs: Any) -> Sequence[CheckMessage]:
    """How many processes there will be is not known here. Without the setting there is a layer between processes,
    though not under a test runner, where this may be called too."""
    return [
        Warning(
            f"The channel layer {alias!r} is memory, which reaches only the process that sends.",
            hint=(
                "Name raceway.layers.local.LocalLayer in CHANNEL_LAYERS, or leave the setting out: it reaches all "
                "processes of one machine. With one server process, and no sends from others (commands, Celery), "
                "silence this with SILENCED_SYSTEM_CHECKS."
            ),
            id="raceway.W005",
        )
        for alias in channel_layers.of_one_process()
    ]
