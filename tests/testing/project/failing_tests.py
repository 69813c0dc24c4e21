"""Tests that fail; the test of them says how."""

# ruff: noqa: PT027  these are unittest's

from __future__ import annotations

from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect as open_websocket

from raceway.testing import RacewayLiveServerTestCase


class Live(RacewayLiveServerTestCase):
    def test_an_exception_that_leaves_the_application_fails_the_test(self):
        url = f"{self.live_server_ws_url}/broken/"
        with open_websocket(url, origin=self.live_server_url) as socket:
            socket.send("1")
            with self.assertRaises(ConnectionClosedError):
                socket.recv()


class CannotStart(RacewayLiveServerTestCase):
    host = "no.such.host.invalid"

    def test_never_run(self):
        raise AssertionError("it should not have started")
