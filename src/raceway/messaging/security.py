"""Which pages may open the sockets of message consumers, where ``raceway.asgi.get_application`` does not check it."""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from types import MethodType
from typing import Any

from asgiref.sync import markcoroutinefunction

from raceway.errors import DenyConnection
from raceway.messaging.message import Message
from raceway.messaging.routing import CONNECT
from raceway.messaging.sessions import message_in, require_function
from raceway.origin import allowed_hosts, is_allowed
from raceway.threads import is_coroutine_callable

__all__ = ["AllowedHostsOnlyOriginValidator", "BaseOriginValidator", "allowed_hosts_only"]


class BaseOriginValidator:
    """Refuse ``websocket.connect`` from pages that ``validate_origin`` does not allow; for subclasses, as decorators.

    Other messages pass. A handshake without exactly one Origin, which no browser makes, is refused.
    """

    def __init__(self, consumer: Callable[..., Any]) -> None:
        require_function(consumer)
        update_wrapper(self, consumer)
        self.consumer = consumer
        if is_coroutine_callable(consumer):
            markcoroutinefunction(self)

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return self if instance is None else MethodType(self, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        message = message_in(args)
        if message.channel_name == CONNECT:
            headers = message.content.get("headers", ())
            origins = [bytes(value) for name, value in headers if bytes(name) == b"origin"]
            if len(origins) != 1 or not self.validate_origin(message, origins[0].decode("latin-1")):
                raise DenyConnection("This origin is not allowed.")
        return self.consumer(*args, **kwargs)

    def validate_origin(self, message: Message, origin: str) -> bool:
        """Whether a page of this origin may connect: ``https://example.com``, ``null``, or whatever was sent."""
        raise NotImplementedError(
            "Subclasses of BaseOriginValidator have a validate_origin(message, origin)."
        )


class AllowedHostsOnlyOriginValidator(BaseOriginValidator):
    """Refuse pages of other hosts than ``ALLOWED_HOSTS``."""

    def validate_origin(self, message: Message, origin: str) -> bool:
        allowed = allowed_hosts()
        return "*" in allowed or is_allowed(origin, tuple(allowed))


allowed_hosts_only = AllowedHostsOnlyOriginValidator
"""``@allowed_hosts_only`` on a consumer of ``websocket.connect``."""
