"""HTTP/1.1 (RFC 9110, RFC 9112): bytes to events, and ASGI messages to bytes. No sockets, no clock.

``reader`` cuts the bytes of a connection into messages and bounds them; ``head`` reads one whole request head
with ``httptools`` (llhttp); ``rules`` holds what a head, a chunk or a trailer may say beyond llhttp's
grammar; ``response`` writes.
"""

from raceway.wire.http1.reader import Http1Reader
from raceway.wire.http1.response import Http1Response, error_response

__all__ = ["Http1Reader", "Http1Response", "error_response"]
