"""The layers between workers: a worker says which brokers they need, and the supervisor hosts them."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from raceway.errors import ConfigurationError
from raceway.supervisor.pipe import Broker, Layers

if TYPE_CHECKING:
    from raceway.layers.local.serving import BrokerHost

logger = logging.getLogger("raceway.supervisor")


def configured() -> Layers:
    """What the layers of this process need; call it once the application is loaded.

    Raises ``ConfigurationError`` if a layer cannot be made.
    """
    if "raceway.layers" not in sys.modules and "django.conf" not in sys.modules:
        return Layers([], [])  # an application that has not heard of layers
    from raceway.layers import channel_layers
    from raceway.layers.hosting import hosting_wanted

    return Layers([Broker(**one) for one in hosting_wanted()], channel_layers.of_one_process())


class Hosting:
    """Host each broker that a worker names, from then until ``stop``: over all restarts of workers."""

    def __init__(self) -> None:
        self._hosts: dict[str, BrokerHost] = {}
        self._told: set[str] = set()

    def heard(self, layers: Layers, workers: int) -> None:
        """One of so many workers has said what its layers need."""
        for broker in layers.brokers:
            self.host(broker)
        for alias in layers.of_one_process:
            if workers > 1 and alias not in self._told:
                self._told.add(alias)
                logger.warning(
                    "The channel layer %r is memory, so each of %d workers reaches its own sockets only: name "
                    "raceway.layers.local.LocalLayer in CHANNEL_LAYERS, or leave the setting out.",
                    alias,
                    workers,
                )

    def host(self, broker: Broker) -> None:
        if broker.path in self._hosts:
            return
        from raceway.layers.local.serving import BrokerHost  # only where a project has such a layer

        host = BrokerHost(Path(broker.path), lease_s=broker.lease_s)
        try:
            host.start()
        except (ConfigurationError, OSError) as error:
            logger.error("No broker for the layer at %s: %s", broker.path, error)
            return
        self._hosts[broker.path] = host

    def stop(self) -> None:
        for host in self._hosts.values():
            host.stop()
        self._hosts.clear()
