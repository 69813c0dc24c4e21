from raceway.consumers import AsyncJsonWebsocketConsumer

from documents.online import Online

online = Online()


class UserCounterConsumer(AsyncJsonWebsocketConsumer):
    """Tell every page how many people are here."""

    groups = ["users"]

    async def connect(self):
        if self.scope["user"].is_authenticated:
            online.arrive(self.scope["user"].pk)
        await self.accept()
        await self.tell_everyone()

    async def disconnect(self, code):
        if self.scope["user"].is_authenticated:
            online.leave(self.scope["user"].pk)
        await self.tell_everyone()

    async def tell_everyone(self):
        await self.group_send("users", {"type": "users.count", "users": len(online)})

    async def users_count(self, event):
        await self.send_json({"users": event["users"]})
