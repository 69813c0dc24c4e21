from raceway.consumers import AsyncJsonWebsocketConsumer, AsyncWebsocketConsumer


class Quiet(AsyncWebsocketConsumer):
    """Accepts, and says nothing."""


class Echo(AsyncWebsocketConsumer):
    async def receive(self, text_data=None, bytes_data=None):
        await self.send(text_data, bytes_data)


class Whoami(AsyncJsonWebsocketConsumer):
    async def connect(self):
        await self.accept()
        await self.send_json({"user": str(self.scope["user"])})
