"""Workers: what runs the consumers of named channels, in a process of its own or beside a server."""

from raceway.workers.beside import WithWorker
from raceway.workers.worker import Worker

__all__ = ["WithWorker", "Worker"]
