from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand

from documents.demo_users import DEMO_USERS, PASSWORD


class Command(BaseCommand):
    help = "Make the demo's users. Running it again changes nothing."

    def handle(self, *args, **options):
        for username, (first_name, last_name) in DEMO_USERS.items():
            user, _ = get_user_model().objects.get_or_create(
                username=username, defaults={"first_name": first_name, "last_name": last_name}
            )
            if not user.check_password(PASSWORD):
                user.set_password(PASSWORD)
                user.save()
        names = " or ".join(DEMO_USERS)
        self.stdout.write(f"Log in as {names}, password {PASSWORD}, each in a browser of their own.")
