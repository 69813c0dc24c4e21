"""Starting the application's task."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any

if sys.version_info >= (3, 12):

    def start_task(
        coroutine: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop, name: str
    ) -> asyncio.Task[None]:
        """Begin at once, in this pass of the loop; most requests need no second one."""
        return asyncio.Task(coroutine, loop=loop, name=name, eager_start=True)

else:

    def start_task(
        coroutine: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop, name: str
    ) -> asyncio.Task[None]:
        return asyncio.Task(coroutine, loop=loop, name=name)
