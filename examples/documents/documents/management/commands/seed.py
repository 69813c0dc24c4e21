from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand
from django.db import transaction

from documents.models import Document
from documents.seeds import PASSWORD, USERS, read_documents


class Command(BaseCommand):
    help = "Make the demo's users and its first documents. Running it again changes nothing."

    @transaction.atomic
    def handle(self, *args, **options):
        users = {username: self.make_user(username, *name) for username, name in USERS.items()}
        if not Document.objects.exists():
            for document in read_documents():
                Document.objects.create(**{**document, "author": users[document["author"]]})
        self.stdout.write(
            f"Log in as {', '.join(USERS)}, password {PASSWORD}, each in a browser of their own."
        )

    def make_user(self, username, first_name, last_name):
        is_staff = username == "professor"
        user, is_new = get_user_model().objects.get_or_create(
            username=username,
            defaults={
                "first_name": first_name,
                "last_name": last_name,
                "is_staff": is_staff,
                "is_superuser": is_staff,
            },
        )
        if is_new:
            user.set_password(PASSWORD)
            user.save()
        return user
