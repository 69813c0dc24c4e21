from django.conf import settings
from django.db import models
from raceway import User


class Order(models.Model):
    customer = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE)
    item = models.CharField(max_length=100)
    state = models.CharField(max_length=20, default="placed")

    def save(self, *args, **kwargs):
        super().save(*args, **kwargs)
        User(self.customer_id).broadcast({"order": self.pk, "state": self.state})
