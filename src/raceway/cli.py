"""The command ``raceway``."""

from __future__ import annotations

import dataclasses
import os
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from raceway.errors import ConfigurationError
from raceway.reload import INHERITED, end_with_reloader, serve_with_reload
from raceway.server import Config, load_application, run
from raceway.server.records import show_records
from raceway.supervisor import INHERITED_WORKER, Inherited, supervise, work
from raceway.types import ASGIApplication
from raceway.wire.limits import Limits

LEAVE_S = 2.0
"""After the stop, for threads and tasks that the application has left behind."""

LOG_LEVELS = ("critical", "error", "warning", "info", "debug")


def limit_options(command: Callable[..., None]) -> Callable[..., None]:
    """One option for each field of ``Limits``, with its help and its default."""
    for limit in reversed(dataclasses.fields(Limits)):
        command = click.option(
            limit.metadata["option"],
            limit.name,
            type=click.FloatRange(min=0) if isinstance(limit.default, float) else click.IntRange(min=0),
            default=limit.default,
            show_default=True,
            metavar="SECONDS" if isinstance(limit.default, float) else "N",
            help=limit.metadata["help"],
        )(command)
    return command


def read_config_file(context: click.Context, parameter: click.Parameter, path: str | None) -> None:
    """Take the defaults of all options from a TOML file: ``port = 9000``, names as on the command line."""
    if path is None:
        return
    try:
        settings = tomllib.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise click.BadParameter(f"{path} cannot be read: {error}.") from None
    options = {
        option.lstrip("-"): (parameter.name, parameter)
        for parameter in context.command.params
        for option in parameter.opts
        if option.startswith("--")
    }
    unknown = sorted(set(settings) - set(options))
    if unknown:
        raise click.BadParameter(f"{path} sets {unknown[0]!r}, which is not an option of raceway serve.")
    context.default_map = {options[name][0] or name: value for name, value in settings.items()}


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="raceway", prog_name="raceway")
def cli() -> None:
    """Raceway makes Django real-time."""


@cli.command(context_settings={"max_content_width": 110})
@click.argument("application", metavar="MODULE:ATTRIBUTE")
@click.option(
    "--config",
    type=click.Path(dir_okay=False),
    callback=read_config_file,
    is_eager=True,
    expose_value=False,
    help="A TOML file with defaults for these options, such as: port = 9000.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address or name to listen on.")
@click.option(
    "--port", type=int, default=8000, show_default=True, help="Port to listen on; 0 takes a free one."
)
@click.option("--uds", metavar="PATH", help="Listen on a Unix socket instead.")
@click.option(
    "--fd", type=int, multiple=True, metavar="N", help="Listen on an inherited socket instead; repeatable."
)
@click.option(
    "--ssl-certfile", metavar="PATH", help="TLS certificate chain (PEM); switches to https and wss."
)
@click.option(
    "--ssl-keyfile", metavar="PATH", help="TLS private key (PEM), if not in the certificate's file."
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    metavar="N",
    help="Serve in N processes under a supervisor; without it in this one.",
)
@click.option(
    "--with-worker",
    is_flag=True,
    help="Run the consumers of named channels too, in each process; else manage.py runworker does.",
)
@click.option("--reload", is_flag=True, help="Restart when a Python file below this directory changes.")
@click.option(
    "--root-path", default="", metavar="PATH", help="Where the application is mounted, such as /app."
)
@click.option(
    "--proxy-headers/--no-proxy-headers", help="Believe Forwarded and X-Forwarded-* of listed proxies."
)
@click.option(
    "--forwarded-allow-ips",
    default="127.0.0.1,::1",
    show_default=True,
    metavar="LIST",
    help="Proxies to believe: addresses, networks, 'unix' or '*'.",
)
@click.option(
    "--access-log/--no-access-log", default=True, show_default=True, help="A line per request on stdout."
)
@click.option(
    "--log-level",
    type=click.Choice(LOG_LEVELS),
    default="info",
    show_default=True,
    help="Of the server's own log.",
)
@click.option(
    "--drain-seconds",
    "drain_s",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    default=30.0,
    show_default=True,
    help="How long a stop (SIGTERM) may take: requests finish, WebSockets close with 1012, spread over this time.",
)
@click.option(
    "--ws-compression/--no-ws-compression",
    default=True,
    show_default=True,
    help="Agree to permessage-deflate.",
)
@limit_options
def serve(
    application: str, workers: int | None, with_worker: bool, reload: bool, log_level: str, **options: Any
) -> None:
    """Serve an ASGI application.

    MODULE:ATTRIBUTE names it, for instance project.asgi:application. Sizes are bytes and times are seconds. Every
    option can also be set in the environment (--drain-seconds as RACEWAY_DRAIN_SECONDS) or in a file (--config).
    """
    told = os.environ.get(INHERITED_WORKER)
    worker = None if told is None else Inherited.read(told)
    show_records(log_level, "" if worker is None else f"worker {worker.slot}: ")
    if workers is not None and reload:
        raise ConfigurationError("--reload restarts one process: leave --workers out while you develop.")
    wrap = with_a_worker if with_worker else None
    limits = {limit.name: options.pop(limit.name) for limit in dataclasses.fields(Limits)}
    config = Config(limits=Limits(**limits), **options)
    if worker is not None:
        config = dataclasses.replace(config, uds=None, fd=())
        sys.exit(work(application, config, worker, LEAVE_S, wrap))
    if workers is not None:
        sys.exit(supervise(config, workers))
    inherited = os.environ.get(INHERITED)
    if inherited is not None:  # we are the child of a reloader, which has opened the sockets
        config = dataclasses.replace(config, uds=None, fd=tuple(map(int, inherited.split(","))))
        end_with_reloader()
    elif reload:
        sys.exit(serve_with_reload(config))
    served = application if wrap is None else wrap(load_application(application))
    sys.exit(run(served, config, leave_within_s=LEAVE_S))


def with_a_worker(application: ASGIApplication) -> ASGIApplication:
    """``application``, which also runs the consumers of named channels."""
    from raceway.workers import WithWorker  # which needs Django, as the rest does not

    return WithWorker(application)


for _parameter in serve.params:
    if isinstance(_parameter, click.Option):
        _parameter.envvar = "RACEWAY_" + _parameter.opts[0].lstrip("-").replace("-", "_").upper()


def main() -> None:
    """Run the command; what cannot work is one sentence on stderr and exit status 2."""
    try:
        cli()
    except ConfigurationError as error:
        click.echo(f"raceway: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
