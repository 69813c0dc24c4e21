"""What a project's settings name: its routing module and its application."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import Any, Final

from django.conf import settings
from django.utils.module_loading import import_string

from raceway.conf import django_setting, get_settings
from raceway.errors import ConfigurationError
from raceway.types import ASGIApplication

ROUTES: Final = ("websocket_urlpatterns", "channel_routes", "channel_routing")
"""What a routing module may hold: routes of WebSockets, of named channels, and those of the first generation."""


def get_default_application() -> ASGIApplication:
    """The application that ``ASGI_APPLICATION`` names. Raises ``ConfigurationError`` if it names none."""
    name = django_setting("ASGI_APPLICATION", None)
    if not name:
        raise ConfigurationError('ASGI_APPLICATION is not set; set it to "project.asgi.application".')
    try:
        application: ASGIApplication = import_string(name)
    except ImportError as error:
        raise ConfigurationError(f"ASGI_APPLICATION names {name!r}: {error}") from error
    return application


def get_websocket_urlpatterns() -> list[Any]:
    """The ``websocket_urlpatterns`` of the project's routing module; none if there is no such module."""
    return list(_routes("websocket_urlpatterns", []))


def get_channel_routes() -> dict[str, Any]:
    """The ``channel_routes`` of the project's routing module, by channel name; none if it has none."""
    routes = _routes("channel_routes", {})
    if not isinstance(routes, Mapping):
        raise ConfigurationError(
            f"channel_routes in {routing_name()} is a dict of applications and functions by channel name, not "
            f"{type(routes).__qualname__}."
        )
    return dict(routes)


def get_channel_routing() -> Any:
    """The routing of message consumers, as the first generation had it: what ``CHANNEL_LAYERS["default"]["ROUTING"]``
    names, else the ``channel_routing`` of the project's routing module; ``None`` if there is neither.
    """
    named = _routing_of_layers()
    return _routes("channel_routing", None) if named is None else named


def _routing_of_layers() -> Any:
    layers: Mapping[str, Mapping[str, Any]] = django_setting("CHANNEL_LAYERS", None) or {}
    return layers.get("default", {}).get("ROUTING")


def _routes(kind: str, none: Any) -> Any:
    """One kind of routes of the project's routing module. Raises ``ConfigurationError`` if there are none at all."""
    module = routing_module()
    if module is None or any(hasattr(module, one) for one in ROUTES) or _routing_of_layers() is not None:
        return getattr(module, kind, none)
    raise ConfigurationError(
        f"{module.__name__} has no websocket_urlpatterns (a list of path(..., SomeConsumer.as_asgi())), no "
        "channel_routes, and no channel_routing."
    )


def routing_module() -> ModuleType | None:
    """The project's routing module, if there is one. Raises ``ConfigurationError`` if one is named and not there."""
    name = routing_name()
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # the module is there; what it imports is not
        if get_settings().routing is None:
            return None
        raise ConfigurationError(f"RACEWAY['ROUTING'] names {name!r}, which is not there.") from error


def routing_name() -> str:
    """The module that ``RACEWAY["ROUTING"]`` names, or ``routing`` beside the root URLconf."""
    given = get_settings().routing
    if given is not None:
        return given
    package = settings.ROOT_URLCONF.rpartition(".")[0]
    return f"{package}.routing" if package else "routing"
