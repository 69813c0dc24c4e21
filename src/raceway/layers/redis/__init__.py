"""The layer of many machines that meet at Redis or Valkey."""

from raceway.layers.redis.layer import RedisLayer

__all__ = ["RedisLayer"]
