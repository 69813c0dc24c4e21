import logging

from django.dispatch import receiver
from raceway import Presence
from raceway.consumers import AsyncJsonWebsocketConsumer
from raceway.signals import presence_joined, presence_left

logger = logging.getLogger(__name__)

cooks = Presence("cooks")


class Shift(AsyncJsonWebsocketConsumer):
    """A cook's page: says where the cook is, and shows the others."""

    async def connect(self):
        await self.accept()
        await cooks.join(self, name=self.user.get_username(), at="stove")
        await self.send_cooks()

    async def receive_json(self, content):
        await cooks.join(self, name=self.user.get_username(), at=content["at"])

    async def presence_diff(self, event):
        await self.send_json({kind: event[kind] for kind in ("joined", "changed", "left")})

    async def on_gap(self, reason):
        await self.send_cooks()

    async def send_cooks(self):
        await self.send_json({"cooks": await cooks.alist()})


@receiver([presence_joined, presence_left], sender=cooks.name)
def note(signal, key, metas, **kwargs):
    logger.info("%s %s", metas[0]["name"], "came" if signal is presence_joined else "went")
