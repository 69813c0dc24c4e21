import json

from raceway.consumers import HttpConsumer, SseConsumer


class KitchenStream(SseConsumer):
    """Every order that is placed while somebody looks."""

    groups = ["kitchen"]

    async def connect(self):
        if not self.scope["user"].is_authenticated:
            await self.close()
            return
        await self.accept()

    async def order_placed(self, event):
        await self.send_json({"item": event["item"]}, event="placed", id=str(event["order"]))


class NextOrder(HttpConsumer):
    """Answers when the next order is placed."""

    groups = ["kitchen"]

    async def handle(self, body):
        """Nothing yet: ``order_placed`` completes the response."""

    async def order_placed(self, event):
        body = json.dumps({"order": event["order"], "item": event["item"]}).encode()
        await self.send_response(200, body, headers={"content-type": "application/json"})
