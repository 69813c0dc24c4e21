"""Django signals: what happened that no caller could be told."""

from __future__ import annotations

from typing import Final

from django.dispatch import Signal

message_dropped: Final = Signal()
"""An event for a connection found its mailbox full and was dropped where the mailbox is.

``sender`` is the consumer class, ``channel`` the channel's name, ``capacity`` how many messages waited. Receivers run
in the event loop's thread: they must not wait. A layer with ``drop_share`` sends it for each message that it loses on
purpose: ``sender`` is the layer's class, ``channel`` the channel's or group's name, ``capacity`` is ``None``.
"""

presence_joined: Final = Signal()
"""Somebody has joined a presence: the first of a person's connections is there.

``sender`` is the presence's name, ``key`` the person's, ``metas`` the metadata of its connections. Sent once, in one
process. Receivers may be ``async def``, or ``def``, which get a thread and may use the database; those of one process
are called for one change after another.
"""

presence_left: Final = Signal()
"""Somebody has left a presence: the last connection has ended, and the grace with it. As ``presence_joined``;
``metas`` are the last ones."""

consumer_started: Final = Signal()
"""A message consumer is about to be called. ``sender`` is the consumer, ``message`` what it is called with.

Receivers may be ``async def``, or ``def``, which get the consumer's thread; the consumer waits for them.
"""

consumer_finished: Final = Signal()
"""A message consumer has returned or raised. As ``consumer_started``."""

worker_ready: Final = Signal()
"""A worker has begun to take messages of named channels, in the event loop's thread: receivers must not wait.

``sender`` is the ``raceway.workers.Worker``; its ``channels`` are those that it serves.
"""
