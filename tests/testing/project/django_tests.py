"""Tests as a project writes them, for Django's test runner."""

# ruff: noqa: PT009, PT027  these are unittest's

from __future__ import annotations

from django.contrib.auth.models import User
from django.db import connection, transaction
from django.test import TestCase, TransactionTestCase
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect as open_websocket

from raceway import Group
from raceway.auth import close_sockets_of_session
from raceway.layers import get_channel_layer
from raceway.testing import (
    ChannelLayersMixin,
    ChannelsLiveServerTestCase,
    HttpCommunicator,
    RacewayLiveServerTestCase,
    WebsocketCommunicator,
    assert_published,
    connect,
    published,
)
from tests.testing.project.routing import AsyncPeople, People


class InsideTheTransaction(ChannelLayersMixin, TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.leela = User.objects.create(username="leela")

    def test_plain_tests_and_consumers_see_each_others_rows(self):
        for path in ("/people/", "/apeople/"):
            with self.subTest(path), connect(path, user=self.leela) as socket:
                people = User.objects.count()
                socket.expect_json({"user": "leela", "people": people})
                socket.send_json({"new": f"fry of {path}"})
                socket.expect_json({"people": people + 1})
                self.assertEqual(User.objects.count(), people + 1)

    async def test_async_tests_and_consumers_see_each_others_rows(self):
        for path in ("/people/", "/apeople/"):
            with self.subTest(path):
                people = await User.objects.acount()
                async with connect(path, user=self.leela) as socket:
                    await socket.expect_json({"user": "leela", "people": people})
                    await socket.send_json({"new": f"fry of {path}"})
                    await socket.expect_json({"people": people + 1})
                self.assertEqual(await User.objects.acount(), people + 1)

    def test_nothing_has_stayed(self):
        self.assertEqual(User.objects.count(), 1)

    def test_bare_consumers_know_the_user_too(self):
        for consumer in (People, AsyncPeople):
            with connect(consumer, user=self.leela) as socket:
                socket.expect_json({"user": "leela", "people": 1})

    def test_a_user_hears_what_is_sent_to_the_user(self):
        for target in ("/people/", People):
            with connect(target, user=self.leela) as socket:
                socket.receive()
                Group(f"raceway.user.{self.leela.pk}").broadcast("for leela")
                socket.expect_text("for leela")

    def test_a_user_who_logs_out_is_closed(self):
        for target in ("/people/", People):
            with connect(target, user=self.leela) as socket:
                socket.receive()
                key = socket.scope["headers"][-1][1].decode().removeprefix("sessionid=")
                close_sockets_of_session(key)
                socket.expect_close(4401)

    def test_the_session_of_djangos_client_is_the_sockets(self):
        self.client.force_login(self.leela)
        with connect("/people/", cookies=self.client.cookies) as socket:
            socket.expect_json({"user": "leela", "people": 1})

    def test_a_session_that_the_test_fills(self):
        with connect("/cart/", session={"cart": [1, 2]}) as socket:
            socket.expect_json([1, 2])
        with connect("/cart/", user=self.leela, session={"cart": 3}) as socket:
            socket.expect_json(3)

    def test_what_a_view_publishes_in_its_transaction(self):
        """Nobody listens; no captureOnCommitCallbacks."""
        with assert_published("people", {"type": "person.renamed", "name": "Turanga"}, times=1):
            self.client.get(f"/rename/{self.leela.pk}/?name=Turanga")

    def test_what_is_rolled_back_is_not_published(self):
        with published() as sent, self.assertRaises(ValueError):
            self.client.get(f"/rename/{self.leela.pk}/?name=nobody")
        sent.assert_nothing_published()

    def test_a_socket_hears_of_it_when_the_transaction_ends(self):
        with connect("/people/") as socket:
            socket.expect_json({"user": "AnonymousUser", "people": 1})
            with transaction.atomic():
                with transaction.atomic():
                    Group("people").send({"type": "person.renamed", "name": "x"})
                socket.expect_nothing(0.02)
            socket.expect_json({"renamed": "x"})

    def test_transactions_without_a_savepoint(self):
        """``Model.delete()`` is in one when its signals are sent."""
        with assert_published("people", times=1), transaction.atomic(savepoint=False):
            Group("people").send({"type": "person.renamed", "name": "x"})

    def test_other_callbacks_are_left_to_django(self):
        called = []
        with (
            self.captureOnCommitCallbacks(execute=True) as callbacks,
            published() as sent,
            transaction.atomic(),
        ):
            transaction.on_commit(lambda: called.append("theirs"))
            Group("people").send({"type": "person.renamed", "name": "x"})
        sent.assert_published("people", times=1)
        self.assertEqual((called, len(callbacks)), (["theirs"], 1))

    async def test_the_names_that_channels_had(self):
        communicator = WebsocketCommunicator(AsyncPeople.as_asgi(), "/apeople/")
        communicator.scope["user"] = self.leela
        self.assertEqual(await communicator.connect(), (True, None))
        self.assertEqual(await communicator.receive_json_from(), {"user": "leela", "people": 1})
        await communicator.disconnect()

    async def test_views_see_the_tests_rows(self):
        host = {"host": "testserver"}
        response = await HttpCommunicator(None, "GET", "/count/", headers=host).get_response()
        self.assertEqual((response["status"], response["body"]), (200, b"1"))
        self.assertEqual(await User.objects.acount(), 1)


class WithoutATransaction(ChannelLayersMixin, TransactionTestCase):
    def test_each_test_has_layers_of_its_own_1(self):
        type(self).layers = [get_channel_layer()]

    def test_each_test_has_layers_of_its_own_2(self):
        self.assertNotIn(get_channel_layer(), self.layers)

    def test_rows_and_commits(self):
        leela = User.objects.create(username="leela")
        with assert_published("people", times=1), connect("/people/", user=leela) as socket:
            socket.expect_json({"user": "leela", "people": 1})
            with transaction.atomic():
                Group("people").send({"type": "person.renamed", "name": "x"})
            socket.expect_json({"renamed": "x"})
        self.assertTrue(connection.is_usable())

    async def test_rows_in_coroutines(self):
        leela = await User.objects.acreate(username="leela")
        async with connect("/apeople/", user=leela) as socket:
            await socket.expect_json({"user": "leela", "people": 1})


class Live(RacewayLiveServerTestCase):
    def open(self, path, **options):
        return open_websocket(f"{self.live_server_ws_url}{path}", origin=self.live_server_url, **options)

    def test_a_websocket_sees_the_tests_rows_and_the_test_those_of_the_websocket(self):
        User.objects.create(username="leela")
        with self.open("/people/") as socket:
            self.assertEqual(socket.recv(), '{"user":"AnonymousUser","people":1}')
            socket.send('{"new": "fry"}')
            self.assertEqual(socket.recv(), '{"people":2}')
            self.assertEqual(User.objects.count(), 2)
            Group("people").send({"type": "person.renamed", "name": "x"})
            self.assertEqual(socket.recv(), '{"renamed":"x"}')

    def test_signed_in_by_djangos_client(self):
        leela = User.objects.create(username="leela")
        self.client.force_login(leela)
        cookie = f"sessionid={self.client.cookies['sessionid'].value}"
        with self.open("/apeople/", additional_headers={"Cookie": cookie}) as socket:
            self.assertEqual(socket.recv(), '{"user":"leela","people":1}')

    def test_views_and_static_files(self):
        from urllib.request import urlopen

        User.objects.create(username="leela")
        with urlopen(f"{self.live_server_url}/count/") as response:
            self.assertEqual(response.read(), b"1")
        with urlopen(f"{self.live_server_url}/static/raceway/raceway.js") as response:
            self.assertIn(b"WebSocket", response.read())

    def test_an_exception_of_the_application_is_there(self):
        with self.assertLogs("raceway.server", "ERROR"), self.open("/broken/") as socket:
            socket.send("1")
            with self.assertRaises(ConnectionClosedError):
                socket.recv()
            self.assertEqual(socket.close_code, 1011)
        self.assertIsInstance(self.server_thread.errors.pop(), ZeroDivisionError)

    def test_the_name_that_channels_had(self):
        self.assertIs(ChannelsLiveServerTestCase, RacewayLiveServerTestCase)
