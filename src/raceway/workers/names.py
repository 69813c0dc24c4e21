"""Which channels a worker serves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from raceway.conf import did_you_mean
from raceway.errors import ConfigurationError
from raceway.layers.spec import require_channel_name


def choose_channels(
    routed: set[str] | None,
    named: Sequence[str] = (),
    only: Iterable[str] = (),
    exclude: Iterable[str] = (),
) -> list[str]:
    """The channels to serve: those ``named``, else all that are ``routed``; but none that matches a glob of ``exclude``
    or, where ``only`` has globs, none of those.

    Raises ``ConfigurationError`` if a name is not routed, or none is left.
    """
    for name in named:
        _require(name, routed)
    if not named and routed is None:
        raise ConfigurationError(
            "The application does not say which named channels it serves: name them, or route them with "
            "ChannelNameRouter."
        )
    if not named and not routed:
        raise ConfigurationError(
            "The project routes no named channels: put channel_routes = {'thumbnails': ThumbnailConsumer.as_asgi()} "
            "into its routing module."
        )
    only, exclude = list(only), list(exclude)
    chosen = [
        name
        for name in sorted(set(named or routed or ()))
        if (not only or _matches(name, only)) and not _matches(name, exclude)
    ]
    if not chosen:
        raise ConfigurationError("No channel is left: --only and --exclude leave out every one.")
    return chosen


def _require(name: str, routed: set[str] | None) -> None:
    try:
        require_channel_name(name)
    except TypeError as error:
        raise ConfigurationError(str(error)) from None
    if routed is not None and name not in routed:
        raise ConfigurationError(
            f"No application is configured for the channel {name!r}{did_you_mean(name, routed)}"
        )


def _matches(name: str, globs: Iterable[str]) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)
