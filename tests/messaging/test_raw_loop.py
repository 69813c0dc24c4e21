"""A server that holds no application, and a loop in another process that serves its clients, over each layer that
reaches other processes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPConnection

import pytest

from raceway import channel_layers
from raceway.messaging import LayerApplication
from tests.messaging.serving import serving
from tests.server.running import DEADLINE_S
from tests.topology.test_workers import SHARED, Shared

pytestmark = pytest.mark.topology

RAW_LOOP = """
import json
import sys

import django
from django.conf import settings

settings.configure(**json.loads(sys.argv[1]))
django.setup()

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


@pytest.fixture(params=list(SHARED))
def shared(request: pytest.FixtureRequest) -> Iterator[Shared]:
    with SHARED[request.param]() as shared:
        yield shared


def test_the_raw_loop_in_another_process(shared: Shared) -> None:
    """ "Raw ASGI app example" of seed 002, as it stands there."""
    layer = shared.make()
    channel_layers.set("default", layer)
    settings = {
        "CHANNEL_LAYERS": shared.setting,
        "DATABASES": shared.databases,
        "INSTALLED_APPS": shared.apps,
        "USE_TZ": True,
    }
    with serving(LayerApplication()) as served:
        loop = subprocess.Popen(
            [sys.executable, "-c", RAW_LOOP, json.dumps(settings)], stdout=subprocess.PIPE, text=True
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
