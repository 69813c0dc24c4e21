from raceway import Presence
from raceway.consumers import AsyncJsonWebsocketConsumer

people = Presence("documents")
"""Who is here, and what each of their pages shows; one person with three tabs is one person."""


class StatusConsumer(AsyncJsonWebsocketConsumer):
    """Behind each page: says that its person is here, and hears who else is and what has been saved."""

    groups = ["documents"]  # notices.py sends to it, straight to the browsers

    async def connect(self):
        if not self.user.is_authenticated:
            return await self.close()
        await self.accept()
        name = self.user.get_full_name() or self.user.get_username()
        place = self.scope["url_route"]["kwargs"]  # {}, or {"document": its slug, "phase": "read" or "write"}
        await people.join(self, name=name, **place)
        await self.send_people()

    async def presence_diff(self, event):
        """Somebody came, turned to another page, or left."""
        diff = {kind: event[kind] for kind in ("joined", "changed", "left")}
        await self.send_json({"diff": diff})

    async def on_gap(self, reason):
        """This process may have missed something, so its pages begin anew."""
        await self.send_people()

    async def send_people(self):
        await self.send_json({"people": await people.alist()})
