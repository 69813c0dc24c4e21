"""Tests that fail; the test of them says how."""

# ruff: noqa: PT027  these are unittest's

from __future__ import annotations

import asyncio

from django.test import SimpleTestCase
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect as open_websocket

from raceway.consumers import AsyncWebsocketConsumer, JsonWebsocketConsumer
from raceway.testing import RacewayLiveServerTestCase, connect


class Hello(JsonWebsocketConsumer):
    def connect(self):
        self.accept()
        self.send_json({"user": "fry"})


class Plain(SimpleTestCase):
    def test_another_message(self):
        with connect(Hello) as socket:
            socket.expect_json({"user": "leela"})


class Live(RacewayLiveServerTestCase):
    def test_an_exception_that_leaves_the_application_fails_the_test(self):
        url = f"{self.live_server_ws_url}/broken/"
        with open_websocket(url, origin=self.live_server_url) as socket:
            socket.send("1")
            with self.assertRaises(ConnectionClosedError):
                socket.recv()


class FailsAtTheEnd(AsyncWebsocketConsumer):
    async def disconnect(self, code):
        await asyncio.sleep(0.1)  # the test has ended by then
        raise LookupError("at the end")


class Late(RacewayLiveServerTestCase):
    serve_static = False

    @classmethod
    def get_application(cls):
        return FailsAtTheEnd.as_asgi()

    def test_an_exception_after_the_last_test_fails_the_class(self):
        with open_websocket(self.live_server_ws_url):
            pass


class CannotStart(RacewayLiveServerTestCase):
    host = "no.such.host.invalid"

    def test_never_run(self):
        raise AssertionError("it should not have started")
