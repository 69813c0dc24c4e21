from django.contrib.auth import get_user_model
from django.test import TestCase, TransactionTestCase
from raceway import Group, User
from raceway.testing import (
    ChannelLayersMixin,
    Clock,
    RacewayLiveServerTestCase,
    connect,
    connect_sse,
    published,
    run_workers,
)
from websockets.sync.client import connect as connect_client

from orders.consumers import Kitchen
from orders.functions import echo
from orders.models import Order
from orders.shift import cooks
from orders.work import remind_later


class KitchenTests(ChannelLayersMixin, TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.fry = get_user_model().objects.create_user("fry")
        cls.leela = get_user_model().objects.create_user("leela")

    def test_a_cook_sees_an_order(self):
        self.client.force_login(self.fry)
        with connect("/kitchen/") as cook:
            self.client.post("/orders/", {"item": "pizza"})
            cook.expect_json({"order": Order.objects.get().pk, "item": "pizza"})

    async def test_a_note_is_for_the_others(self):
        async with connect(Kitchen) as cook, connect(Kitchen) as other:
            await cook.send_json({"note": "no anchovies"})
            await other.expect_json({"note": "no anchovies"})
            await cook.expect_nothing()

    def test_an_account_needs_a_user(self):
        connect("/account/").expect_refused(403)
        with connect("/account/", user=self.fry) as page:
            order = Order.objects.create(customer=self.fry, item="pizza")
            page.expect_json({"order": order.pk, "state": "placed"})

    def test_a_stream_of_orders(self):
        connect_sse("/kitchen/stream/").expect_refused(403)
        self.client.force_login(self.fry)
        with connect_sse("/kitchen/stream/", user=self.leela) as stream:
            self.client.post("/orders/", {"item": "pizza"})
            stream.expect_event({"item": "pizza"}, event="placed")

    def test_saving_tells_the_customer(self):
        with published() as sent:
            order = Order.objects.create(customer=self.fry, item="pizza")
        sent.assert_published(User(self.fry), {"order": order.pk, "state": "placed"})
        sent.assert_nothing_published(Group("kitchen"))

    def test_a_receipt_is_printed_in_the_background(self):
        order = Order.objects.create(customer=self.fry, item="pizza")
        self.client.force_login(self.fry)
        with connect("/account/", user=self.fry) as page:
            self.client.post(f"/orders/{order.pk}/receipt/")
            page.expect_nothing()
            run_workers()
            page.expect_json({"order": order.pk, "receipt": "1 pizza"})

    def test_the_kitchen_is_reminded(self):
        order = Order.objects.create(customer=self.fry, item="pizza")
        with Clock() as clock, connect("/kitchen/") as cook:
            remind_later(order)
            clock.advance(15 * 60)
            run_workers("reminders")
            cook.expect_json({"late": order.pk})

    def test_a_cook_goes_when_the_last_tab_has_been_closed_for_a_while(self):
        with Clock() as clock, connect("/shift/", user=self.leela) as leela:
            leela.receive()
            with connect("/shift/", user=self.fry), connect("/shift/", user=self.fry):
                clock.advance(1)
                self.assertEqual(cooks.count(), 2)
            clock.advance(14)
            self.assertEqual(cooks.count(), 2)
            clock.advance(1)
            self.assertEqual(list(cooks.list()), [str(self.leela.pk)])


class EchoTests(ChannelLayersMixin, TransactionTestCase):
    async def test_it_waits_for_ever(self):
        with Clock() as clock:
            async with connect(echo) as socket:
                await clock.advance(60 * 60)
                await socket.send("still there?")
                await socket.expect_text("still there?")


class LiveTests(RacewayLiveServerTestCase):
    def test_a_client_of_another_maker(self):
        with connect_client(f"{self.live_server_ws_url}/echo/", origin=self.live_server_url) as client:
            client.send("hello")
            self.assertEqual(client.recv(timeout=5), "hello")
