from tests.messaging.test_slides_003 import channel_routing  # noqa: F401
