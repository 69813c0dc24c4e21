"""Groups and fan-out inside one process: values and calls, no I/O, no clock, no Django."""

from raceway.registry.groups import Registry
from raceway.registry.members import TOO_SLOW, Close, Closing, Deliver, Gap, Message, Push

__all__ = ["TOO_SLOW", "Close", "Closing", "Deliver", "Gap", "Message", "Push", "Registry"]
