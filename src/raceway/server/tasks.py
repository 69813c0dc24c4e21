"""Starting the application's task."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from functools import partial

start_task: Callable[..., asyncio.Task[None]] = asyncio.Task
"""Called with a coroutine, ``loop`` and ``name``. From Python 3.12 on it begins at once, in this pass of the loop:
most requests need no second one."""

if sys.version_info >= (3, 12):
    start_task = partial(asyncio.Task, eager_start=True)
