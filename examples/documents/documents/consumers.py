from collections import Counter

from raceway import Group
from raceway.consumers import AsyncJsonWebsocketConsumer

sockets = Counter()
"""How many sockets each person has open: three tabs are one person. Who has not logged in has the key None."""


class UserCounterConsumer(AsyncJsonWebsocketConsumer):
    """Tell every page how many people are here."""

    groups = ["users"]

    async def connect(self):
        sockets[self.user.pk] += 1
        await self.accept()
        await self.tell_everyone()

    async def disconnect(self, code):
        sockets[self.user.pk] -= 1
        await self.tell_everyone()

    async def tell_everyone(self):
        people = [person for person in +sockets if person]  # + leaves out who has no socket any more
        await Group("users").abroadcast({"users": len(people)})
