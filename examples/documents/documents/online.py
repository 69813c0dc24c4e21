"""Who is online: people, not browser tabs."""

from collections import Counter


class Online:
    """Count the people who have at least one socket open.

    It knows the sockets of this process only. There is no race: async handlers run in one thread, and nothing
    is awaited between reading and writing.
    """

    def __init__(self):
        self.sockets = Counter()

    def __len__(self):
        return len(self.sockets)

    def arrive(self, person):
        self.sockets[person] += 1

    def leave(self, person):
        self.sockets[person] -= 1
        if not self.sockets[person]:
            del self.sockets[person]
