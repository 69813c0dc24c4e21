"""``manage.py runworker``: a process that runs the consumers of named channels, and holds no client's socket."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError, CommandParser

from raceway.asgi import project_application
from raceway.errors import RacewayError
from raceway.layers.configured import DEFAULT_CHANNEL_LAYER, channel_layers
from raceway.layers.front import ChannelLayer
from raceway.layers.hosting import close_layers, join_only
from raceway.reload import end_with_reloader, run_with_reload
from raceway.routing.channels import channel_names
from raceway.server.records import show_records
from raceway.server.running import loop_factory
from raceway.types import ASGIApplication
from raceway.workers import Worker
from raceway.workers.names import choose_channels

logger = logging.getLogger("raceway.workers")

IS_CHILD: Final = "RACEWAY_WORKER_CHILD"
"""In the environment of the process that a reloader runs."""

LEAVE_S: Final = 2.0
"""After the stop, for threads and tasks that consumers have left behind."""


class Command(BaseCommand):
    """Without channels all that the project routes are served."""

    help = (
        "Runs the consumers of named channels. SIGTERM and SIGINT stop it: it takes no more messages, and finishes "
        "those that it has in its hands."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "channels", nargs="*", help="Channels to serve; all that are routed if none is named."
        )
        parser.add_argument(
            "--layer",
            default=DEFAULT_CHANNEL_LAYER,
            metavar="ALIAS",
            help="The alias in CHANNEL_LAYERS; default without it.",
        )
        parser.add_argument(
            "--only",
            "--only-channels",
            action="append",
            default=[],
            metavar="GLOB",
            help="Of the channels, serve those that match this glob; repeatable.",
        )
        parser.add_argument(
            "--exclude",
            "--exclude-channels",
            action="append",
            default=[],
            metavar="GLOB",
            help="Of the channels, leave out those that match this glob; repeatable.",
        )
        parser.add_argument(
            "--threads",
            type=at_least(int, 1),
            metavar="N",
            help="How many def handlers run at once; RACEWAY['SYNC_THREADS'] without it.",
        )
        parser.add_argument(
            "--concurrency",
            type=at_least(int, 1),
            default=1,
            metavar="N",
            help="How many messages of each channel are handled at once; 1 without it.",
        )
        parser.add_argument(
            "--drain-seconds",
            type=at_least(float, 0),
            default=30.0,
            metavar="SECONDS",
            help="How long a stop may wait for what is in hand; 30 without it.",
        )
        parser.add_argument(
            "--reload",
            action="store_true",
            help="Restart when a Python file below this directory changes.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if not logging.getLogger("raceway").hasHandlers():  # the project's LOGGING does not say what to show
            show_records("info" if options["verbosity"] else "error")
        if options["reload"] and os.environ.get(IS_CHILD) != "1":
            sys.exit(run_with_reload([sys.executable, *sys.orig_argv[1:]], {IS_CHILD: "1"}))
        end_with_reloader()
        try:
            worker = make_worker(project_application(), options)
        except (RacewayError, ImportError, TypeError) as error:
            raise CommandError(str(error)) from error
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(serve(worker, options["drain_seconds"]))
            watch = threading.Timer(LEAVE_S, leave)
            watch.daemon = True
            watch.start()


def make_worker(application: ASGIApplication, options: dict[str, Any]) -> Worker:
    """A worker as the command line says. Raises ``ConfigurationError``, and ``CommandError`` for a layer that no other
    process shares."""
    layer = channel_layers[options["layer"]]
    if is_of_one_process(layer):
        raise CommandError(
            f"The channel layer {options['layer']!r} keeps its messages in the process that sends them, so a worker "
            "would never get one. Configure raceway.layers.local.LocalLayer, or a layer for several machines; "
            "manage.py runserver runs workers in its own process."
        )
    channels = choose_channels(
        channel_names(application), options["channels"], options["only"], options["exclude"]
    )
    return Worker(
        application, channels, layer, concurrency=options["concurrency"], threads=options["threads"]
    )


def is_of_one_process(layer: ChannelLayer) -> bool:
    from raceway.layers.memory import MemoryLayer

    theirs = type(getattr(layer, "layer", None)).__name__  # of Channels
    return isinstance(layer, MemoryLayer) or theirs == "InMemoryChannelLayer"


async def serve(worker: Worker, drain_s: float) -> None:
    """Run ``worker`` until a signal; the second one ends the drain time."""
    join_only()
    loop = asyncio.get_running_loop()
    told: asyncio.Queue[signal.Signals] = asyncio.Queue()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told.put_nowait, number)
    worker.start()
    logger.info("Serving the channels %s (stop with Ctrl-C).", ", ".join(worker.channels))
    number = await told.get()
    logger.info(
        "%s: stopping within %g s; messages in hand: %d.", number.name, drain_s, worker.in_hand.total()
    )
    again = loop.create_task(told.get())
    again.add_done_callback(lambda _: worker.hurry())
    await worker.stop(drain_s)
    again.cancel()
    await close_layers()
    logger.info("Stopped; messages handled: %d.", worker.handled_count)


def leave() -> None:
    """Nobody can stop a thread: leave without those that go on."""
    logger.error("Threads or tasks of the consumers did not end; leaving without them.")
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)


def at_least(kind: type[int] | type[float], least: int) -> Any:
    """The type of an option: a number that is not below ``least``."""

    def read(text: str) -> int | float:
        number = kind(text)
        if not number >= least:
            raise ValueError(text)
        return number

    read.__name__ = f"number of at least {least}"
    return read
