"""The layers that ``CHANNEL_LAYERS`` names, made when first asked for.

``CHANNEL_LAYERS = {"default": {"BACKEND": "raceway.layers.memory.MemoryLayer", "CONFIG": {...}}}``. Without the
setting the default layer is ``local``, which reaches all processes of the machine; under a test runner, ``memory``.
"""

from __future__ import annotations

import inspect
import os
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, Final

from django.utils.module_loading import import_string

from raceway.conf import did_you_mean, django_setting, on_change
from raceway.errors import ConfigurationError, InvalidChannelLayerError
from raceway.layers.front import ChannelLayer

DEFAULT_CHANNEL_LAYER: Final = "default"
PYTEST_SAYS: Final = ("PYTEST_VERSION", "PYTEST_CURRENT_TEST")
"""What pytest sets in the environment: the first since 8.2, the second while a test runs."""
KEYS: Final = ("BACKEND", "CONFIG", "TEST_CONFIG")
LOCAL: Final = "raceway.layers.local.LocalLayer"
MEMORY: Final = "raceway.layers.memory.MemoryLayer"
REDIS: Final = "raceway.layers.redis.RedisLayer"
FIRST_GENERATION: Final = {
    "asgiref.inmemory.ChannelLayer": MEMORY,
    "asgi_ipc.IPCChannelLayer": LOCAL,
    "asgi_redis.RedisChannelLayer": REDIS,
    "asgi_redis.RedisLocalChannelLayer": REDIS,
    "asgi_redis.RedisSentinelChannelLayer": REDIS,
}
"""The layers of Channels 1, and what stands for them."""


class ChannelLayers:
    """The configured layers by alias: ``channel_layers["default"]``."""

    def __init__(self) -> None:
        self._layers: dict[str, ChannelLayer] = {}
        self._lock = threading.Lock()

    @property
    def configs(self) -> Mapping[str, Mapping[str, Any]]:
        """``CHANNEL_LAYERS``, or what stands for it."""
        configs: Mapping[str, Mapping[str, Any]] | None = django_setting("CHANNEL_LAYERS", None)
        return {DEFAULT_CHANNEL_LAYER: {"BACKEND": default_backend()}} if configs is None else configs

    def __getitem__(self, alias: str) -> ChannelLayer:
        """The layer of that alias. Raises ``InvalidChannelLayerError`` if it cannot be made."""
        try:
            return self._layers[alias]
        except KeyError:
            pass
        with self._lock:
            if alias not in self._layers:
                self._layers[alias] = self.make_backend(alias)
            return self._layers[alias]

    def __contains__(self, alias: object) -> bool:
        return alias in self._layers or alias in self.configs

    def __iter__(self) -> Iterator[str]:
        return iter({*self.configs, *self._layers})

    def set(self, alias: str, layer: object | None) -> ChannelLayer | None:
        """Put ``layer`` in the place of an alias and return the one that was there; ``None`` forgets it."""
        front = None if layer is None else as_front(layer)
        with self._lock:
            old = self._layers.pop(alias, None)
            if front is not None:
                self._layers[alias] = front
            return old

    def backend(self, alias: str) -> Any:
        """What the setting names as the alias's BACKEND, imported. Raises ``InvalidChannelLayerError``."""
        path = self._config(alias)["BACKEND"]
        try:
            return import_string(FIRST_GENERATION.get(path, path))
        except ImportError as error:
            raise InvalidChannelLayerError(
                f"CHANNEL_LAYERS[{alias!r}]: the BACKEND {path!r} cannot be imported: {error}"
            ) from error

    def of_one_process(self) -> list[str]:
        """The aliases of the setting whose layer is ``memory``, by which processes do not reach each other."""
        return [alias for alias in django_setting("CHANNEL_LAYERS", {}) if self._is_memory(alias)]

    def _is_memory(self, alias: str) -> bool:
        from raceway.layers.memory import MemoryLayer

        try:
            return self.backend(alias) is MemoryLayer
        except InvalidChannelLayerError:
            return False  # whoever makes it is told

    def make_backend(self, alias: str) -> ChannelLayer:
        """Make a new layer as the setting says."""
        return self._make(alias, self._config(alias).get("CONFIG", {}))

    def make_test_backend(self, alias: str) -> ChannelLayer:
        """Make a new layer with the options of ``TEST_CONFIG``. Raises ``InvalidChannelLayerError`` without it."""
        config = self._config(alias)
        if "TEST_CONFIG" not in config:
            raise InvalidChannelLayerError(f"CHANNEL_LAYERS[{alias!r}] has no TEST_CONFIG.")
        return self._make(alias, config["TEST_CONFIG"])

    def _config(self, alias: str) -> Mapping[str, Any]:
        """What the setting says of one alias, checked."""
        try:
            config = self.configs[alias]
        except KeyError:
            raise InvalidChannelLayerError(
                f"CHANNEL_LAYERS has no alias {alias!r}{did_you_mean(alias, self.configs)}"
            ) from None
        for key in config:
            if key == "ROUTING":
                if alias == DEFAULT_CHANNEL_LAYER:
                    continue
                raise InvalidChannelLayerError(
                    f"CHANNEL_LAYERS[{alias!r}] has the key 'ROUTING', which only the layer "
                    f"{DEFAULT_CHANNEL_LAYER!r} may have: serve another one with MessageApplication(routing, "
                    f"alias={alias!r})."
                )
            if key not in KEYS:
                raise InvalidChannelLayerError(
                    f"CHANNEL_LAYERS[{alias!r}] has the unknown key {key!r}{did_you_mean(key, KEYS)}"
                )
        if "BACKEND" not in config:
            raise InvalidChannelLayerError(f"CHANNEL_LAYERS[{alias!r}] has no BACKEND.")
        return config

    def _make(self, alias: str, options: Mapping[str, Any]) -> ChannelLayer:
        backend, path = self.backend(alias), self._config(alias)["BACKEND"]
        if path in FIRST_GENERATION:
            warnings.warn(
                f"CHANNEL_LAYERS[{alias!r}]: {path} was a layer of Channels 1; {FIRST_GENERATION[path]} is used in its "
                "place: name that.",
                UserWarning,
                stacklevel=4,
            )
        if inspect.isclass(backend) and issubclass(backend, ChannelLayer):
            known = options_of(backend)
            for option in options:
                if option not in known:
                    raise InvalidChannelLayerError(
                        f"CHANNEL_LAYERS[{alias!r}]: {path} has no option {option!r}{did_you_mean(option, known)}"
                    )
        try:
            return as_front(backend(**options))
        except (ConfigurationError, TypeError, ValueError) as error:
            raise InvalidChannelLayerError(f"CHANNEL_LAYERS[{alias!r}]: {path}: {error}") from error

    def forget(self) -> None:
        """Make each layer anew when it is next asked for."""
        with self._lock:
            self._layers.clear()


channel_layers: Final = ChannelLayers()


def default_backend() -> str:
    """Which layer there is without the setting: one that needs nothing and reaches every process that it may."""
    return MEMORY if is_under_test() or sys.platform == "win32" else LOCAL


def is_under_test() -> bool:
    """Whether a test runner runs this process: Django's, or another that has called ``setup_test_environment``; or
    pytest. A server that a test has started is none: it has the environment of pytest, and not the module."""
    if "django.test.utils" in sys.modules and hasattr(sys.modules.get("django.core.mail"), "outbox"):
        return True
    return "pytest" in sys.modules and any(name in os.environ for name in PYTEST_SAYS)


def get_channel_layer(alias: str = DEFAULT_CHANNEL_LAYER) -> ChannelLayer | None:
    """The layer of that alias, or ``None`` if none is configured."""
    if alias not in channel_layers:
        return None
    return channel_layers[alias]


def as_front(layer: object) -> ChannelLayer:
    """``layer``, in a front if it is not one of Raceway's."""
    if isinstance(layer, ChannelLayer):
        return layer
    from raceway.layers.foreign import ForeignLayer  # few projects need it

    return ForeignLayer(layer)


def options_of(backend: type[Any]) -> set[str]:
    """The keyword arguments that a backend and its bases take."""
    return {
        name
        for base in inspect.getmro(backend)
        if "__init__" in vars(base) and base is not object
        for name, parameter in inspect.signature(vars(base)["__init__"]).parameters.items()
        if name != "self" and parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    }


on_change("CHANNEL_LAYERS", channel_layers.forget)
