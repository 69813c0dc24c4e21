"""Several processes that serve one application, and the one that starts, replaces and stops them."""

from raceway.supervisor.running import supervise
from raceway.supervisor.worker import INHERITED_WORKER, Inherited, work

__all__ = ["INHERITED_WORKER", "Inherited", "supervise", "work"]
