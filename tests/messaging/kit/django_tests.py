"""Tests as a project of the first generation writes them, for Django's test runner."""

# ruff: noqa: PT009  these are unittest's

from __future__ import annotations

import json

from django.contrib.auth.models import User
from django.core.cache import cache
from django.db import transaction
from websockets.sync.client import connect

from raceway import Channel
from raceway.layers import get_channel_layer
from raceway.messaging import route
from raceway.testing.messaging import (
    ChannelLiveServerTestCase,
    ChannelTestCase,
    TransactionChannelTestCase,
    WSClient,
    apply_routes,
)


class ChannelTests(ChannelTestCase):
    """The test of the dashboard."""

    def test_users_count(self):
        client = WSClient()

        client.send_and_consume("websocket.connect", path="/status/users/")
        self.assertEqual(client.receive(), {"users": 0})


class LoggedIn(ChannelTestCase):
    def setUp(self):
        cache.clear()
        self.user = User.objects.create_user("fry", first_name="Philip", password="planetexpress")

    def test_a_user_is_counted_and_leaves(self):
        visitor, client = WSClient(), WSClient()
        visitor.send_and_consume("websocket.connect", path="/status/users/")
        self.assertEqual(visitor.receive(), {"users": 0})
        client.login(username="fry", password="planetexpress")
        client.send_and_consume("websocket.connect", path="/status/users/")
        self.assertEqual((client.receive(), visitor.receive()), ({"users": 1}, {"users": 1}))
        client.send_and_consume("websocket.disconnect", path="/status/users/")
        self.assertEqual((client.receive(), visitor.receive()), (None, {"users": 0}))

    def test_what_is_offloaded_is_consumed_when_the_test_says_so(self):
        client = WSClient()
        client.force_login(self.user)
        client.send_and_consume("websocket.connect", path="/status/users/")
        client.send_and_consume("websocket.receive", text={"name": "Lars"}, path="/status/users/")
        self.assertEqual(User.objects.get().first_name, "Philip")
        client.consume("rename")
        self.assertEqual(User.objects.get().first_name, "Lars")
        self.assertEqual([client.receive(), client.receive()], [{"users": 1}, {"renamed": True}])

    def test_the_layer_of_another_test_is_another(self):
        self.assertIsNone(self.get_next_message("rename"))
        Channel("rename").send({"pk": 0, "name": "nobody"})


def echo(message):
    message.reply_channel.send({"text": message["text"]})


@apply_routes([route("websocket.receive", echo, path="^/here")])
class WithOtherRoutes(ChannelTestCase):
    def test_them(self):
        client = WSClient()
        client.send_and_consume("websocket.receive", text="1", path="/here/")
        self.assertEqual(client.receive(), 1)


class WithTransactions(TransactionChannelTestCase):
    def test_each_test_has_layers_of_its_own_1(self):
        type(self).layers = [get_channel_layer()]

    def test_each_test_has_layers_of_its_own_2(self):
        self.assertNotIn(get_channel_layer(), self.layers)

    def test_a_message_waits_for_the_commit(self):
        with transaction.atomic():
            Channel("rename").send({"pk": 0, "name": "nobody"})
            self.assertIsNone(self.get_next_message("rename"))
        self.assertEqual(self.get_next_message("rename", require=True).content["name"], "nobody")
        with self.assertRaisesMessage(AssertionError, "No message waits in the channel 'rename'"):
            self.get_next_message("rename", require=True)


class Live(ChannelLiveServerTestCase):
    worker_threads = 2

    def setUp(self):
        super().setUp()
        cache.clear()
        self.user = User.objects.create_user("fry")

    def test_a_browser_a_server_and_a_worker(self):
        self.client.force_login(self.user)
        headers = {"Cookie": f"sessionid={self.client.cookies['sessionid'].value}"}
        uri = f"{self.live_server_ws_url}/status/users/"
        with connect(uri, origin=self.live_server_url, additional_headers=headers) as client:
            self.assertEqual(json.loads(client.recv(5)), {"users": 1})
            client.send('{"name": "Lars"}')
            self.assertEqual(json.loads(client.recv(5)), {"renamed": True})
        self.assertEqual(User.objects.get().first_name, "Lars")

    def test_each_test_has_a_worker_of_its_own(self):
        self.test_a_browser_a_server_and_a_worker()
