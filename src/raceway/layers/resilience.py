"""Resilience mode: a layer that loses messages on purpose, so that one sees what an application makes of it.

Channel layers are at most once (channel layer specification, "Delivery guarantees"); with the good ones a loss is
too rare to be met in development.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from raceway.done import DONE
from raceway.errors import ConfigurationError
from raceway.signals import message_dropped

if TYPE_CHECKING:
    from raceway.layers.front import ChannelLayer

logger = logging.getLogger("raceway.layers")

FROM_LOOP: Final = ("start_send", "start_send_later", "start_publish")
FROM_THREAD: Final = ("send_from_thread", "send_later_from_thread", "publish_from_thread")
"""The ways into a backend."""

_inside = threading.local()  # a backend may use one of its own ways for another: that is the same message


def require_share(share: float) -> float:
    """``share``, if it is one that leaves something. Raises ``ConfigurationError``."""
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share < 1:
        raise ConfigurationError(f"drop_share is a number from 0 to below 1, not {share!r}.")
    return share


def drop_some(layer: ChannelLayer, share: float) -> None:
    """From now on ``layer`` loses this share of the messages that it is given to carry."""
    logger.warning(
        "%s drops %g%% of all messages on purpose (drop_share).", type(layer).__qualname__, share * 100
    )
    in_transaction = layer.in_transaction

    def in_dropping_transaction() -> Any:
        writer = in_transaction()
        return None if writer is None else SimpleNamespace(**ways(writer, FROM_THREAD))

    def ways(target: object, names: tuple[str, ...]) -> dict[str, Callable[..., Any]]:
        result = DONE if names is FROM_LOOP else None
        return {name: _dropping(layer, share, getattr(target, name), result) for name in names}

    methods = {
        **ways(layer, FROM_LOOP),
        **ways(layer, FROM_THREAD),
        "in_transaction": in_dropping_transaction,
    }
    for name, method in methods.items():
        setattr(layer, name, method)


def _dropping(
    layer: ChannelLayer, share: float, method: Callable[..., Any], result: object
) -> Callable[..., Any]:
    """``method``, or nothing but its result."""

    def call(target: str, *args: Any, **options: Any) -> Any:
        if getattr(_inside, "layer", None) is layer:
            return method(target, *args, **options)
        if random.random() < share:
            layer.dropped_count += 1
            message_dropped.send_robust(type(layer), channel=target, capacity=None)
            return result
        _inside.layer = layer
        try:
            return method(target, *args, **options)
        finally:
            _inside.layer = None

    return call
