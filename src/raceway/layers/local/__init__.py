"""The layer between the processes of one machine: a Unix socket, and a broker that one of them hosts."""

from raceway.layers.local.layer import LocalLayer

__all__ = ["LocalLayer"]
