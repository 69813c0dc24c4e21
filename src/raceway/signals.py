"""Django signals: what happened that no caller could be told."""

from __future__ import annotations

from typing import Final

from django.dispatch import Signal

message_dropped: Final = Signal()
"""An event for a connection found its mailbox full and was dropped where the mailbox is.

``sender`` is the consumer class, ``channel`` the channel's name, ``capacity`` how many messages waited. Receivers run
in the event loop's thread: they must not wait.
"""
