from django.contrib.auth.models import User
from django.urls import path

from raceway.consumers import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer


class People(JsonWebsocketConsumer):
    """Sync code that reads and writes the database."""

    groups = ["people"]

    def connect(self):
        self.accept()
        self.send_json({"user": str(self.scope["user"]), "people": User.objects.count()})

    def receive_json(self, content):
        User.objects.create(username=content["new"])
        self.send_json({"people": User.objects.count()})

    def person_renamed(self, event):
        self.send_json({"renamed": event["name"]})


class AsyncPeople(AsyncJsonWebsocketConsumer):
    """The same in coroutines."""

    groups = ["people"]

    async def connect(self):
        await self.accept()
        await self.send_json({"user": str(self.scope["user"]), "people": await User.objects.acount()})

    async def receive_json(self, content):
        await User.objects.acreate(username=content["new"])
        await self.send_json({"people": await User.objects.acount()})

    async def person_renamed(self, event):
        await self.send_json({"renamed": event["name"]})


class Cart(AsyncJsonWebsocketConsumer):
    async def connect(self):
        await self.accept()
        await self.send_json(await self.scope["session"].aget("cart"))


class Broken(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content):
        raise ZeroDivisionError("in the consumer")


websocket_urlpatterns = [
    path("people/", People.as_asgi()),
    path("apeople/", AsyncPeople.as_asgi()),
    path("cart/", Cart.as_asgi()),
    path("broken/", Broken.as_asgi()),
]
