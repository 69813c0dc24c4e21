"""What a project's settings name: its routing module and its application."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from django.conf import settings
from django.utils.module_loading import import_string

from raceway.conf import django_setting, get_settings
from raceway.errors import ConfigurationError
from raceway.types import ASGIApplication


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
    name = routing_name()
    try:
        module = import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # the module is there; what it imports is not
        if get_settings().routing is None:
            return []
        raise ConfigurationError(f"RACEWAY['ROUTING'] names {name!r}, which is not there.") from error
    try:
        return list(module.websocket_urlpatterns)
    except AttributeError:
        raise ConfigurationError(
            f"{name} has no websocket_urlpatterns: a list of path(..., SomeConsumer.as_asgi())."
        ) from None


def routing_name() -> str:
    """The module that ``RACEWAY["ROUTING"]`` names, or ``routing`` beside the root URLconf."""
    given = get_settings().routing
    if given is not None:
        return given
    package = settings.ROOT_URLCONF.rpartition(".")[0]
    return f"{package}.routing" if package else "routing"
