from raceway.messaging import include
from tests.messaging.kit.consumers import UserCounterConsumer, rename

documents_routing = [
    UserCounterConsumer.as_route(path=r"^/users/"),
]

channel_routing = [
    include(documents_routing, path=r"^/status"),
    include({"rename": rename}),
]
