"""System checks: what is wrong with a project's settings, each with what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register  # noqa: A004

from raceway.conf import get_settings
from raceway.errors import ConfigurationError, InvalidChannelLayerError
from raceway.layers import channel_layers
from raceway.routing.project import get_websocket_urlpatterns, routing_name


@register()
def check_app_order(**kwargs: Any) -> Sequence[CheckMessage]:
    """Django takes ``runserver`` from the first app that has one."""
    names = [config.name for config in apps.get_app_configs()]
    if "django.contrib.staticfiles" not in names:
        return []
    if names.index("raceway") < names.index("django.contrib.staticfiles"):
        return []
    return [
        Error(
            "django.contrib.staticfiles comes before raceway in INSTALLED_APPS.",
            hint='Put "raceway" first: otherwise runserver is Django\'s, which has no WebSockets.',
            id="raceway.E001",
        )
    ]


@register()
def check_settings(**kwargs: Any) -> Sequence[CheckMessage]:
    try:
        get_settings()
    except ConfigurationError as error:
        return [Error(str(error), hint="Correct the RACEWAY setting.", id="raceway.E002")]
    return _check_routing()


def _check_routing() -> Sequence[CheckMessage]:
    if not getattr(settings, "ROOT_URLCONF", None) and get_settings().routing is None:
        return []
    try:
        get_websocket_urlpatterns()
    except ConfigurationError as error:
        return [Error(str(error), hint="Correct the routing module.", id="raceway.E003")]
    name = routing_name()
    if get_settings().routing is None and not _exists(name):
        return [
            Warning(
                f"There is no module {name}, so every WebSocket is refused.",
                hint=f"Write {name} with websocket_urlpatterns, or name another module in RACEWAY['ROUTING'].",
                id="raceway.W001",
            )
        ]
    return []


def _exists(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


@register()
def check_channel_layers(**kwargs: Any) -> Sequence[CheckMessage]:
    found: list[CheckMessage] = []
    for alias in channel_layers:
        try:
            channel_layers[alias]
        except InvalidChannelLayerError as error:
            found.append(Error(str(error), hint="Correct CHANNEL_LAYERS.", id="raceway.E004"))
    return found
