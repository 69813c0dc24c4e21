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
    |- SendNotAvailableOnDemultiplexer  a demultiplexer has no stream of its own (a RuntimeError)
    `- FlowControl                 raised by user code to steer a consumer, never an error report
       |- AcceptConnection         in connect(): accept the socket
       |- DenyConnection           in connect(): refuse the socket
       |- StopConsumer             end this consumer
       |- ConsumeLater             a message consumer wants its message again, later
       `- ChannelSocketException   what a message consumer has done to its client
          `- WebsocketCloseException  close its socket
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any


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


class SendNotAvailableOnDemultiplexer(RacewayError, RuntimeError):
    """A demultiplexer was asked to send: what it sends is a stream's, so the multiplexer of one sends it."""


class ConsumeLater(FlowControl):
    """Raise in a message consumer to be called again with the same message, some time later."""


class ChannelSocketException(FlowControl):
    """Raise a subclass in a message consumer: ``run(message)`` is called in place of an error report."""

    @abstractmethod
    def run(self, message: Any) -> object:
        """Do what is to be done; what can be awaited is awaited."""
        raise NotImplementedError(f"{type(self).__qualname__} needs a method run(self, message).")


class WebsocketCloseException(ChannelSocketException):
    """Raise in a message consumer to close its socket, with ``code`` if that is given: 1000, or 3000 to 4999.

    Raises ``ValueError`` for another code.
    """

    def __init__(self, code: int | None = None) -> None:
        if code is not None and code != 1000 and not 3000 <= code <= 4999:
            raise ValueError(f"An application closes with 1000, or with 3000 to 4999, not with {code!r}.")
        super().__init__(code)
        self.code = code

    def run(self, message: Any) -> object:
        return message.reply_channel.asend({"close": self.code or True})
