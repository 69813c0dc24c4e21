from raceway import Channel, Group, User
from raceway.consumers import SyncConsumer

from orders.models import Order


class Printer(SyncConsumer):
    """One method for each type of message; they run one at a time."""

    def receipt_print(self, event):
        order = Order.objects.get(pk=event["order"])
        User(order.customer_id).broadcast({"order": order.pk, "receipt": f"1 {order.item}"})


def remind(message):
    """A function gets every message of its channel."""
    order = Order.objects.get(pk=message["order"])
    if order.state == "placed":
        Group("kitchen").broadcast({"late": order.pk})


def remind_later(order):
    return Channel("reminders").send({"order": order.pk}, delay=15 * 60)
