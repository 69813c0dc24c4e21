"""The forms of the option ``hosts``, each as a whole setting would have it."""

PASSWORD = "secret"

ONE = ["redis://:secret@redis.internal:6379/0"]

SAME = [{"host": "redis.internal", "port": 6379, "password": PASSWORD, "db": 0}]

TLS = ["rediss://raceway:secret@redis.internal:6379/0?ssl_ca_certs=/etc/ssl/redis-ca.pem"]

UNIX = ["unix:///run/redis/redis.sock?db=1"]

SHARDS = [("redis1.internal", 6379), ("redis2.internal", 6379), ("redis3.internal", 6379)]

SENTINEL = [
    {
        "master_name": "mymaster",
        "sentinels": [("sentinel1.internal", 26379), ("sentinel2.internal", 26379)],
        "sentinel_kwargs": {"password": "of the Sentinels"},
        "password": PASSWORD,  # of the servers
    }
]

CLUSTER = [
    {
        "cluster": [("node1.internal", 7000), ("node2.internal", 7000)],
        "password": PASSWORD,
    }
]

CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "raceway.layers.redis.RedisLayer",
        "CONFIG": {"hosts": ONE, "prefix": "shop"},
    },
}
