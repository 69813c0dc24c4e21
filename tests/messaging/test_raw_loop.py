"""A server that holds no application, and a loop in another process that serves its clients."""

from __future__ import annotations

import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path

import pytest

from raceway import channel_layers
from raceway.layers.local import LocalLayer
from raceway.layers.local.serving import BrokerHost
from raceway.messaging import LayerApplication
from tests.messaging.serving import serving
from tests.server.running import DEADLINE_S

pytestmark = pytest.mark.topology

RAW_LOOP = """
import sys
from django.conf import settings

settings.configure(
    CHANNEL_LAYERS={
        "default": {"BACKEND": "raceway.layers.local.LocalLayer", "CONFIG": {"path": sys.argv[1]}}
    }
)

from raceway.messaging import SynchronousLayer

layer = SynchronousLayer()
print("ready", flush=True)

while True:
    channel, message = layer.receive_many(
        ["http.request"],
        block=True,
    )
    if channel is None:
        continue
    layer.send(
        message["reply_channel"],
        {
            "content": "Hello World!",
            "status": 200,
        },
    )
"""


def test_the_raw_loop_in_another_process(broker_path: Path) -> None:
    """ "Raw ASGI app example" of seed 002, as it stands there."""
    layer = LocalLayer(path=str(broker_path))
    channel_layers.set("default", layer)
    host = BrokerHost(broker_path)
    host.start()
    with serving(LayerApplication()) as served:
        loop = subprocess.Popen(
            [sys.executable, "-c", RAW_LOOP, str(broker_path)], stdout=subprocess.PIPE, text=True
        )
        try:
            assert loop.stdout is not None
            assert loop.stdout.readline() == "ready\n"
            client = HTTPConnection(served.address, timeout=DEADLINE_S)
            for _ in range(3):
                client.request("GET", "/")
                response = client.getresponse()
                assert (response.status, response.read()) == (200, b"Hello World!")
            client.close()
        finally:
            loop.kill()
            loop.communicate()
            served.server.run(layer.aclose())
            host.stop()
