"""The layer of many machines that meet at Redis or Valkey."""

from importlib.util import find_spec

if find_spec("hiredis") is None:
    raise ImportError('the Redis layer needs hiredis: pip install "raceway[redis]"')

from raceway.layers.redis.layer import RedisLayer

__all__ = ["RedisLayer"]
