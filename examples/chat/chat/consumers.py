from raceway import Group
from raceway.consumers import AsyncJsonWebsocketConsumer


class Chat(AsyncJsonWebsocketConsumer):
    """One page in one room: what it says, everybody in the room hears."""

    async def connect(self):
        self.room = Group("chat." + self.scope["url_route"]["kwargs"]["room"])
        self.room.add(self.channel_name)
        await self.accept()

    async def receive_json(self, content):
        match content:
            case {"name": str(name), "text": str(text)}:
                await self.room.abroadcast({"name": name[:40], "text": text[:1000]})
            case _:
                await self.close(1008, "A message has a name and a text.")
