"""The numbers of the PostgreSQL layer."""

from __future__ import annotations

from typing import Final

POLL_S: Final = 0.1
"""So often a carrier looks, whether it was woken or not."""

WAKE_EVERY_S: Final = 0.005
"""A process wakes others at most so often, and numbers rows at most so often."""

FOLLOW_S: Final = 0.006
"""After a wake-up the sequencer looks once more: somebody may have kept quiet because they had just woken it."""

BEAT_S: Final = 0.1
"""A sequencer with nothing to do shows so often that it is there."""

LATE_S: Final = 0.5
"""If nothing has been heard of the sequencer for so long, another carrier does its work."""

DEPUTY_S: Final = 60.0
"""For so long, unless it becomes the sequencer."""

LEASE_S: Final = 15.0
"""A carrier that has not renewed its lease for so long counts as dead."""

RENEWALS: Final = 3
"""So often it does in that time."""

TIDY_S: Final = 1.0
"""So often the sequencer looks for what has expired."""

TIDY_ROWS: Final = 5_000
"""So many rows it deletes at once."""

READ_ROWS: Final = 2_000
READ_BYTES: Final = 8 * 1024 * 1024
"""So much a carrier reads at once, but for the last frame."""

WRITE_ROWS: Final = 1_000
WRITE_BYTES: Final = 8 * 1024 * 1024
"""So much goes into one statement, but for the last frame."""

WAITING_COMMANDS: Final = 20_000
"""Commands that may wait for the connection; more are refused."""

WAITING_BYTES: Final = 64 * 1024 * 1024
"""What the messages of these may have altogether."""

CONNECT_S: Final = 5
"""How long a connection may take to come about."""

COMMAND_S: Final = 10.0
"""A statement that takes longer counts as a lost connection."""

RETRY_S: Final = (0.05, 0.1, 0.2, 0.5, 1.0)
"""The pauses between attempts to connect again; the last one from then on."""

ANSWER_POLL_S: Final = 0.003
"""So often a thread looks for the answers that it waits for."""

SWEEP_S: Final = 30.0
"""So often whoever sends looks whether there is anybody to hear it."""

SEQUENCER_LOCK: Final = 0x7261_6365_7761_7901
"""The key of the advisory lock: "raceway" and a number."""
