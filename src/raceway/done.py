"""An awaitable that has nothing to wait for."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Final


class Done(tuple[()]):
    """Awaiting it returns ``None`` at once, any number of times, on any loop or none.

    An empty tuple, because its iterator is C: awaiting it runs no Python code.
    """

    __slots__ = ()

    if TYPE_CHECKING:

        def __await__(self) -> Generator[Any, None, None]: ...
    else:
        __await__ = tuple.__iter__


DONE: Final = Done()
"""The one that is needed: returned by a call that acted when it was called."""
