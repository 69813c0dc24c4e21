"""Every limit that a stranger can reach, in one place, each with its unit and a safe default; but how deep JSON may be
nested stands in ``raceway.json``.

``raceway serve`` makes one option of each field: ``option`` in the metadata is its name, ``help`` its line.
Sizes are bytes, times are seconds; 0 switches a limit off where the help says so.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Final

from raceway.errors import ConfigurationError

KIB = 1024
MIB = 1024 * KIB


# Bounds that are no options: nobody has a reason to change them.

REFUSED_AT_ONCE: Final = 64
"""Connections above the limits that are told so at the same time; more are reset without a word."""

PIPELINED_EVENTS: Final = 32
"""Pipelined requests and their pieces that may wait for their turn before reading pauses."""

BODY_AHEAD_BYTES: Final = 64 * KIB
"""Request body that may wait for the application before reading pauses."""

DISCARD_BYTES: Final = 256 * KIB
"""Request body that nobody wants, read on so that the connection can be kept; more, and it is closed."""

LINGER_BYTES: Final = 64 * MIB
"""What a client may still send while its last answer is on the way; then reading pauses."""

EARLY_BYTES: Final = 64 * KIB
"""What a client may send before its handshake is answered; then reading pauses."""

READ_TURN_BYTES: Final = 128 * KIB
"""Who sends this much at once lets others go first; uvloop would else read 32 such pieces (8 MiB) in one pass."""

COMPRESS_INLINE_BYTES: Final = 256 * KIB
"""A message above this size takes milliseconds to compress: a push is compressed in a thread, a send not at all."""

INFLATED_BYTES: Final = 1 * MIB
"""What one read may inflate before the rest waits: it may hold hundreds of bombs, each within the limit."""

UNAWAITED_BYTES: Final = 4 * MIB
"""What a WebSocket application may send to a client that does not read, without waiting for room; then 1013."""

END_GRACE_S: Final = 1.0
"""How long the answer to a client's close, or to its mistake, waits for the messages before it to be handled."""

STREAM_STOP_S: Final = 1.0
"""What a streamed response may still say when the server stops and has told it so."""

LAST_REQUEST_S: Final = 1.0
"""How long a server that stops waits for the request of a client that had just connected."""

SLOW_CLIENT_S: Final = 5.0
"""From telling a slow client to come back later (1013) to dropping it."""


# Consumers bound what waits for them and for their clients themselves: they run behind other servers too.

PUMPED_EVENTS: Final = 32
"""Client messages that may wait for handlers before a consumer stops receiving."""

PUSHED_BYTES: Final = 256 * KIB
"""Pushed bytes that may wait for a slow client."""

OWN_BYTES: Final = 1 * MIB
"""Bytes of a consumer's own sends, which nobody awaited, that may wait for a slow client."""

BURST_BYTES: Final = 16 * MIB
"""The same while no send waits for the client: the task has only not had its turn."""

ENTRY_BYTES: Final = 100
"""What an entry takes beside its payload, so that empty messages have a bound too."""

CANCEL_AGAIN_S: Final = 1.0
"""From cancelling a handler whose client has gone to cancelling it again, if it goes on."""

REQUEST_BODY_BYTES: Final = 2_621_440
"""The most of a request's body that is collected where Django's settings do not say."""


def _limit(default: Any, option: str, text: str) -> Any:
    return field(default=default, metadata={"option": option, "help": text})


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one client may cost; see the help text of each field."""

    # One HTTP request head (RFC 9112 section 3, RFC 9110 section 5.4).
    request_line_bytes: int = _limit(8 * KIB, "--limit-request-line-bytes", "Request line; longer is 414.")
    header_bytes: int = _limit(32 * KIB, "--limit-header-bytes", "Header or trailer section; larger is 431.")
    header_count: int = _limit(100, "--limit-header-count", "Header fields of a request; more is 431.")
    chunk_line_bytes: int = _limit(
        4 * KIB, "--limit-chunk-line-bytes", "One chunk-size line with its extensions; longer is 400."
    )

    pipelined_requests: int = _limit(
        64,
        "--limit-pipelined-requests",
        "Requests of one read that are taken apart at once; what is behind them waits.",
    )

    # Time.
    first_byte_timeout_s: float = _limit(
        10.0, "--timeout-first-byte-seconds", "From connecting to the first byte of a request."
    )
    header_timeout_s: float = _limit(
        10.0, "--timeout-header-seconds", "From a request's first byte to the end of its head; then 408."
    )
    body_timeout_s: float = _limit(
        30.0, "--timeout-body-seconds", "Longest pause in a request body that is waited for; then 408."
    )
    keep_alive_timeout_s: float = _limit(
        30.0, "--timeout-keep-alive-seconds", "Idle time between two requests on one connection."
    )
    write_timeout_s: float = _limit(
        60.0, "--timeout-write-seconds", "Longest time that a client may take none of what waits for it."
    )
    half_close_timeout_s: float = _limit(
        1.0,
        "--timeout-half-close-seconds",
        "A client that ended its side and is sent nothing for so long counts as gone.",
    )
    linger_timeout_s: float = _limit(
        2.0, "--timeout-linger-seconds", "Reading on after a refusal, so that the answer arrives."
    )
    tls_handshake_timeout_s: float = _limit(10.0, "--timeout-tls-handshake-seconds", "The TLS handshake.")

    # WebSocket (RFC 6455).
    ws_max_message_bytes: int = _limit(
        1 * MIB, "--ws-max-message-bytes", "One message, decompressed; larger is closed with 1009."
    )
    ws_open_timeout_s: float = _limit(
        30.0, "--ws-open-timeout-seconds", "Time for the application to accept or refuse; then 503."
    )
    ws_ping_interval_s: float = _limit(20.0, "--ws-ping-interval-seconds", "Between pings; 0 sends none.")
    ws_ping_timeout_s: float = _limit(
        20.0, "--ws-ping-timeout-seconds", "From a ping to its pong; then the connection is dropped."
    )
    ws_close_timeout_s: float = _limit(
        5.0, "--ws-close-timeout-seconds", "From our close frame to the client's; then it is dropped."
    )
    ws_receive_queue_messages: int = _limit(
        PUMPED_EVENTS,
        "--ws-receive-queue-messages",
        "Messages waiting for the application; then reading pauses.",
    )

    # Sockets.
    connections: int = _limit(
        0, "--limit-connections", "Open connections of a process; 0 derives it from the open-file limit."
    )
    connections_per_address: int = _limit(
        1000,
        "--limit-connections-per-address",
        "Open connections of one client address, loopback and listed proxies excepted; 0 is no limit.",
    )
    write_buffer_bytes: int = _limit(
        64 * KIB, "--limit-write-buffer-bytes", "Unsent bytes of a socket above which send() waits."
    )
    push_queue_bytes: int = _limit(
        PUSHED_BYTES, "--limit-push-queue-bytes", "Pushed bytes that may wait for a slow client."
    )

    def __post_init__(self) -> None:
        for limit in fields(self):
            value = getattr(self, limit.name)
            if value < 0 or (value == 0 and limit.name not in _OFF_AT_ZERO):
                raise ConfigurationError(f"{limit.metadata['option']} must be above zero, not {value}.")


_OFF_AT_ZERO: Final = frozenset(("connections", "connections_per_address", "ws_ping_interval_s"))
