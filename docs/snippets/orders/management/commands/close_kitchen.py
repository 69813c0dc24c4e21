from django.core.management.base import BaseCommand

from orders.tasks import close_kitchen


class Command(BaseCommand):
    help = "Tell every open kitchen page that the kitchen closes."

    def handle(self, *args, **options):
        close_kitchen("We are sold out.")
