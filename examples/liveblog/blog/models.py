from django.db import models
from raceway import Channel


class LiveblogPost(models.Model):
    text = models.CharField(max_length=500)

    class Meta:
        ordering = ["-id"]

    def __str__(self):
        return self.text

    def save(self, *args, **kwargs):
        super().save(*args, **kwargs)
        Channel("new-liveblog").send({"id": str(self.id)})
