"""The close codes of WebSockets: RFC 6455 section 7.4.1, the IANA registry, and the one of our own."""

from __future__ import annotations

from typing import Final

from raceway.errors import InvalidMessage

NORMAL: Final = 1000
PROTOCOL_ERROR: Final = 1002
UNSUPPORTED_DATA: Final = 1003
NO_CODE: Final = 1005
"""Stands for a close frame without a code; never sent."""
ABNORMAL: Final = 1006
"""The connection ended without a close; never sent."""
INVALID_DATA: Final = 1007
MESSAGE_TOO_BIG: Final = 1009
INTERNAL_ERROR: Final = 1011
RESTARTING: Final = 1012
OVERLOADED: Final = 1013
UNAUTHORIZED: Final = 4401
"""The user has logged out, or what let the user in has expired: HTTP's 401."""


def is_close_code(code: int) -> bool:
    """Say whether a close frame may carry ``code``."""
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


def require_close_code(code: object) -> None:
    """Raise ``InvalidMessage`` unless a close frame may carry ``code``."""
    if not isinstance(code, int) or not is_close_code(code):
        raise InvalidMessage(
            f"{code!r} is not a close code that may be sent; use 1000 to 1003, 1007 to 1014 or 3000 to 4999."
        )
