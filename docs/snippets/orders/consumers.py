import logging

from raceway import Group
from raceway.auth import logout
from raceway.consumers import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer

from orders.models import Order

logger = logging.getLogger(__name__)


class Kitchen(AsyncJsonWebsocketConsumer):
    groups = ["kitchen"]

    async def order_placed(self, event):
        await self.send_json({"order": event["order"], "item": event["item"]})

    async def receive_json(self, content):
        """A cook types: the other pages see it."""
        await Group("kitchen").abroadcast({"note": content["note"]}, exclude=self.channel_name)

    async def on_gap(self, reason):
        """Orders may have been missed, so the page gets all that are open."""
        orders = Order.objects.filter(state="placed")
        await self.send_json({"open": [{"order": order.pk, "item": order.item} async for order in orders]})


class Account(AsyncJsonWebsocketConsumer):
    """A customer's page. Models write to it with ``User(...).broadcast``: there is nothing left to do."""


class Whoami(AsyncJsonWebsocketConsumer):
    async def connect(self):
        await self.accept()
        await self.send_json({"name": self.user.get_username()})

    async def receive_json(self, content):
        if content == "logout":
            await logout(self.scope)


class Basket(JsonWebsocketConsumer):
    """``def`` and ``async def`` handlers in one class."""

    def connect(self):
        self.session = self.scope["session"]
        self.accept()

    def receive_json(self, content):
        orders = Order.objects.filter(item=content["item"]).count()
        self.send_json({"item": content["item"], "ordered": orders})

    async def basket_emptied(self, event):
        await self.send_json({"basket": []})


class Price(AsyncJsonWebsocketConsumer):
    groups = ["prices"]

    async def receive_json(self, content):
        """Of several prices that wait for a slow client, only the last one matters."""
        await Group("prices").abroadcast({"price": content["price"]}, policy="latest")


class Game(AsyncJsonWebsocketConsumer):
    """Joins and leaves groups as it goes."""

    async def connect(self):
        self.lobby = Group("games.lobby")
        self.game = Group("games." + self.scope["url_route"]["kwargs"]["name"])
        self.lobby.add(self.channel_name)
        await self.accept()

    async def receive_json(self, content):
        self.lobby.discard(self.channel_name)
        self.game.add(self.channel_name)
        await self.game.abroadcast({"players": await self.game.acount()})

    async def disconnect(self, code):
        await self.lobby.abroadcast({"left": self.game.name})


class Careful(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content):
        await self.send_json({"half": content["number"] / 2})

    async def on_error(self, error, event):
        if not isinstance(error, (KeyError, TypeError)):
            return super().on_error(error, event)
        logger.info("A client sent what it should not: %r", error)
        await self.send_json({"error": "Send a number."})
