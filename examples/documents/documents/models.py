from django.conf import settings
from django.db import models, transaction
from django.urls import reverse
from django.utils.crypto import get_random_string
from django.utils.text import slugify


class Cover(models.TextChoices):
    """The pictures to choose from, in static/documents/covers."""

    PLANET = "planet"
    ROCKET = "rocket"
    PARCEL = "parcel"
    ROBOT = "robot"
    CITY = "city"


class Document(models.Model):
    title = models.CharField(max_length=200)
    slug = models.SlugField(max_length=100, unique=True, editable=False)
    cover = models.CharField(max_length=20, choices=Cover.choices, blank=True)
    abstract = models.TextField(max_length=500, blank=True)
    text = models.TextField()
    author = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="documents")
    created = models.DateTimeField(auto_now_add=True)
    modified = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["-modified"]

    def __str__(self):
        return self.title

    def get_absolute_url(self):
        return reverse("detail", args=[self.slug])

    def save(self, *args, **kwargs):
        with transaction.atomic():  # SQLite locks at once, so nobody takes the slug before it is saved
            if not self.slug:
                self.slug = free_slug(self.title)
            super().save(*args, **kwargs)


def free_slug(title):
    """An address for a new document. It stays when the title changes: people may be looking at it."""
    slug = slugify(title)[:80] or "untitled"
    if Document.objects.filter(slug=slug).exists():
        slug += "-" + get_random_string(6, "abcdefghjkmnpqrstuvwxyz23456789")
    return slug
