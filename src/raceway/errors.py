"""Every exception that Raceway raises on purpose.

::

    RacewayError
    |- ConfigurationError          a setting, option or import path that cannot work (command line: exit 2)
    |  `- InvalidChannelLayerError CHANNEL_LAYERS names no usable backend (a ValueError)
    |- InvalidMessage              the application sent something ASGI does not allow here
    |- MalformedMessage            a client's message is not what the consumer reads (a ValueError)
    |- ClientDisconnected          send() after the client has gone (an OSError, ASGI HTTP/WebSocket 2.4)
    |- ChannelFull                 the channel holds its capacity of messages
    |- MessageTooLarge             one message above the layer's limit
    |- LayerUnavailable            no broker answers
    |- RequestAborted              the client went away in the middle of a request body
    |  `- RequestTimeout           ... or stopped sending it
    `- FlowControl                 raised by user code to steer a consumer, never an error report
       |- AcceptConnection         in connect(): accept the socket
       |- DenyConnection           in connect(): refuse the socket
       `- StopConsumer             end this consumer
"""

from __future__ import annotations


class RacewayError(Exception):
    """The root of the tree above."""


class ConfigurationError(RacewayError):
    """A setting, option or import path that cannot work; the text names the mend."""


class InvalidMessage(RacewayError, ValueError):
    """The application sent a message that ASGI does not allow at this point; the text says which are."""


class MalformedMessage(RacewayError, ValueError):
    """A client sent a message that its consumer cannot read; ``code`` is what to close the socket with."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


class ClientDisconnected(RacewayError, OSError):
    """``send()`` was called after the client had gone (ASGI HTTP and WebSocket 2.4)."""


class ChannelFull(RacewayError):
    """A channel already holds its capacity of messages; this one was not queued."""


class MessageTooLarge(RacewayError):
    """A message is larger than the layer carries; it was not sent."""


class LayerUnavailable(RacewayError):
    """The channel layer has no broker to talk to; the message was not sent."""


class InvalidChannelLayerError(ConfigurationError, ValueError):
    """``CHANNEL_LAYERS`` is missing, or names a backend or option that does not exist."""


class RequestAborted(RacewayError):
    """The client went away before its request body had arrived."""


class RequestTimeout(RequestAborted):
    """The client stopped sending its request body."""


class FlowControl(RacewayError):
    """Raised by user code to steer a consumer; not an error."""


class AcceptConnection(FlowControl):
    """Raise in ``connect()`` to accept the socket."""


class DenyConnection(FlowControl):
    """Raise in ``connect()`` to refuse the socket with 403."""


class StopConsumer(FlowControl):
    """Raise anywhere in a consumer to end it."""
