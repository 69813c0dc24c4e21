"""The counter of users of a dashboard, as a project of the first generation has it."""

from django.contrib.auth.models import User
from django.core.cache import cache

from raceway import Channel, Group
from raceway.messaging import JsonWebsocketConsumer


class UserCounterConsumer(JsonWebsocketConsumer):
    http_user = True

    def connection_groups(self, **kwargs):
        return ["users"]

    def connect(self, message, **kwargs):
        super().connect(message, **kwargs)
        users = cache.get("documents-users", {})
        if message.user.is_authenticated:
            users[message.user.pk] = message.user.get_full_name()
            cache.set("documents-users", users)
        self.group_send("users", {"users": len(users)})

    def receive(self, content, **kwargs):
        Channel("rename").send({"pk": self.message.user.pk, "name": content["name"]})

    def disconnect(self, message, **kwargs):
        users = cache.get("documents-users", {})
        users.pop(message.user.pk, None)
        cache.set("documents-users", users)
        self.group_send("users", {"users": len(users)})


def rename(message):
    User.objects.filter(pk=message["pk"]).update(first_name=message["name"])
    Group("users").send({"text": '{"renamed": true}'})
