"""The layer between the processes of one machine: a Unix socket, and a broker that one of them hosts."""

from raceway.layers.hosting import hosting_wanted as hosting_wanted  # for supervisors
from raceway.layers.local.layer import LocalLayer

__all__ = ["LocalLayer"]
