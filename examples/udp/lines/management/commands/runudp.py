import asyncio

from django.core.management.base import BaseCommand

from lines.server import serve


class Command(BaseCommand):
    help = "Serves lines over UDP."

    def add_arguments(self, parser):
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=9999)

    def handle(self, **options):
        asyncio.run(serve(options["host"], options["port"]))
