"""Every page hears of each document that is saved or deleted: by a view, the admin, a command or a shell."""

from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver
from raceway import Group

from documents.models import Document


@receiver(post_save, sender=Document)
def document_saved(instance, created, **kwargs):
    tell_everyone("created" if created else "updated", instance)


@receiver(post_delete, sender=Document)
def document_deleted(instance, **kwargs):
    tell_everyone("deleted", instance)


def tell_everyone(action, document):
    """Tell all pages, in whatever process they are connected to; in a transaction, after its commit."""
    notice = {
        "action": action,
        "document": document.slug,
        "title": document.title,
        "url": document.get_absolute_url(),
    }
    Group("documents").broadcast({"notice": notice})
