"""The brokers of the ``local`` layers: a worker says which it needs, and the supervisor hosts them."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from raceway.errors import ConfigurationError
from raceway.supervisor.pipe import Broker

if TYPE_CHECKING:
    from raceway.layers.local.serving import BrokerHost

logger = logging.getLogger("raceway.supervisor")


def wanted() -> list[Broker]:
    """The brokers of the layers that this process has configured; call it once the application is loaded.

    Raises ``ConfigurationError`` if a layer cannot be made.
    """
    if "raceway.layers" not in sys.modules and "django.conf" not in sys.modules:
        return []  # an application that has not heard of layers
    from raceway.layers.hosting import hosting_wanted

    return [Broker(**one) for one in hosting_wanted()]


class Hosting:
    """Host each broker that a worker names, from then until ``stop``: over all restarts of workers."""

    def __init__(self) -> None:
        self._hosts: dict[str, BrokerHost] = {}

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
