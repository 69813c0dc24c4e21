"""The PostgreSQL layer in settings, as a whole setting would have it."""

INSTALLED_APPS = [
    "raceway",
    "raceway.layers.postgres",
]

CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "raceway.layers.postgres.PostgresLayer",
        "CONFIG": {"using": "default", "prefix": "shop"},
    },
}

BEHIND_A_POOLER = {
    "default": {
        "BACKEND": "raceway.layers.postgres.PostgresLayer",
        "CONFIG": {"listen_dsn": "postgresql://shop:secret@postgres.internal:5432/shop"},
    },
}
