"""What the option ``hosts`` of the Redis layer may be, as values; nothing here connects.

A layer shards over the entries of ``hosts``: each is one server, a master that Sentinel names, or a Cluster. Passwords
are in no ``repr`` and in no error.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlparse

from raceway.conf import did_you_mean
from raceway.errors import ConfigurationError

DEFAULT_PORT: Final = 6379
DEFAULT_SENTINEL_PORT: Final = 26379

Address = tuple[str, int]
"""A host and a TCP port."""

OF_TEXT: Final = frozenset(
    {
        "username",
        "password",
        "client_name",
        "ssl_keyfile",
        "ssl_certfile",
        "ssl_cert_reqs",
        "ssl_ca_certs",
        "ssl_ca_path",
        "ssl_ca_data",
        "ssl_password",
        "ssl_ciphers",
    }
)
OF_NUMBER: Final = frozenset({"db", "ssl_min_version"})
OF_SECONDS: Final = frozenset({"socket_connect_timeout"})
OF_TRUTH: Final = frozenset({"socket_keepalive", "ssl_check_hostname"})
OPTIONS: Final = (
    OF_TEXT | OF_NUMBER | OF_SECONDS | OF_TRUTH | {"credential_provider", "socket_keepalive_options"}
)
"""What one server may be told beside its address: keyword arguments of the client library's connections."""

OWN_AFFAIRS: Final = frozenset(
    {
        "auto_close_connection_pool",
        "decode_responses",
        "encoding",
        "encoding_errors",
        "health_check_interval",
        "max_connections",
        "protocol",
        "retry",
        "retry_on_error",
        "retry_on_timeout",
        "single_connection_client",
        "socket_read_size",
        "socket_timeout",
        "timeout",
    }
)
"""Options of the client library that the layer decides by itself: it has no pool, and looks after its connections."""

PLACES: Final = frozenset({"host", "port", "path", "unix_socket_path"})
SCHEMES: Final = ("redis", "rediss", "unix")
TRUE: Final = frozenset({"1", "true", "yes", "on", "t", "y"})

FORMS: Final = (
    'give a list: ["redis://localhost:6379/0"], [("localhost", 6379)], [{"host": "localhost", "port": 6379}], '
    '[{"address": "rediss://localhost:6379/0", "ssl_ca_certs": "ca.pem"}], ["unix:///run/redis.sock"], '
    '[{"master_name": "mymaster", "sentinels": [("localhost", 26379)]}] or '
    '[{"cluster": [("localhost", 7000), ("localhost", 7001)]}]'
)


@dataclass(frozen=True)
class Server:
    """One server: where it listens, and what it is to be told by who connects."""

    host: str = "localhost"
    port: int = DEFAULT_PORT
    path: str | None = None
    """The Unix socket, instead of host and port."""
    is_tls: bool = False
    options: Mapping[str, Any] = field(default_factory=dict, repr=False, hash=False)
    """Of ``OPTIONS``, such as ``db``, ``username``, ``password``, ``ssl_ca_certs``."""

    def __str__(self) -> str:
        if self.path is not None:
            return self.path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def at(self, address: Address) -> Server:
        """Another server that is told the same."""
        return replace(self, host=address[0], port=address[1], path=None)

    def keywords(self) -> dict[str, Any]:
        """The keyword arguments of the client library's connection of the right kind: Unix, TLS or TCP."""
        place = {"host": self.host, "port": self.port} if self.path is None else {"path": self.path}
        return {**place, **self.options}


@dataclass(frozen=True)
class Sentinel:
    """The master of that name, whichever server it is now."""

    master_name: str
    sentinels: tuple[Server, ...]
    server: Server
    """What the master is told; its address is that of nobody."""

    def __str__(self) -> str:
        return f"the master {self.master_name!r} of Sentinel"


@dataclass(frozen=True)
class Cluster:
    """A Redis Cluster, found by way of any of these nodes."""

    nodes: tuple[Server, ...]

    def __str__(self) -> str:
        return f"the Cluster of {', '.join(map(str, self.nodes))}"


Host = Server | Sentinel | Cluster


def parse_hosts(hosts: Any) -> tuple[Host, ...]:
    """The hosts that the option says, ``None`` for the default. Raises ``ConfigurationError``."""
    if hosts is None:
        return (Server(),)
    if isinstance(hosts, str | bytes | Mapping) or not isinstance(hosts, Iterable):
        raise ConfigurationError(f"The hosts of a Redis layer are not {kind_of(hosts)}; {FORMS}.")
    parsed = tuple(parse_host(host) for host in hosts)
    if not parsed:
        raise ConfigurationError(f"The hosts of a Redis layer are none; {FORMS}.")
    return parsed


def parse_host(host: Any) -> Host:
    """One entry of ``hosts``."""
    if not isinstance(host, Mapping):
        return parse_server(host)
    if "master_name" in host or "sentinels" in host:
        return parse_sentinel(host)
    if "cluster" in host:
        return parse_cluster(host)
    return parse_server(host)


def parse_server(host: Any, default_port: int = DEFAULT_PORT) -> Server:
    """A server by URL, by ``(host, port)``, or by a dict of keyword arguments, perhaps with its URL as ``address``."""
    if isinstance(host, str):
        return parse_url(host, default_port)
    if isinstance(host, Mapping):
        return parse_dict(host, default_port)
    if isinstance(host, tuple | list) and len(host) == 2 and isinstance(host[0], str):
        return Server(host=host[0], port=port_of(host[1]))
    raise ConfigurationError(f"One of the hosts of a Redis layer is {kind_of(host)}; {FORMS}.")


def parse_url(url: str, default_port: int = DEFAULT_PORT) -> Server:
    """``redis://``, ``rediss://`` (TLS) or ``unix://``, with user, password, database and options as a query."""
    if url.partition("://")[0] not in SCHEMES:
        raise ConfigurationError(f"A host of a Redis layer is no URL of {', '.join(SCHEMES)}; {FORMS}.")
    try:
        parts = urlparse(url)
        port = parts.port or default_port
    except ValueError:  # which may quote the password
        raise ConfigurationError(
            "The URL of a Redis server cannot be read: its port is no number, or its password is not quoted "
            "(urllib.parse.quote)."
        ) from None
    options: dict[str, Any] = {key: option_of_text(key, text) for key, text in parse_qsl(parts.query)}
    if parts.username:
        options["username"] = unquote(parts.username)
    if parts.password:
        options["password"] = unquote(parts.password)
    path = unquote(parts.path)
    if parts.scheme == "unix":
        return make_server({"path": path}, False, options)
    if path.strip("/"):
        options.setdefault("db", option_of_text("db", path.strip("/")))
    place = {"host": parts.hostname or "localhost", "port": port}
    return make_server(place, parts.scheme == "rediss", options)


def parse_dict(host: Mapping[str, Any], default_port: int = DEFAULT_PORT) -> Server:
    """Keyword arguments, of which ``address`` may be a URL that the others complete."""
    options = dict(host)
    is_tls = bool(options.pop("ssl", False))
    if "address" in options:
        server = parse_server(options.pop("address"), default_port)
        place = {"host": server.host, "port": server.port, "path": server.path}
        return make_server(place, is_tls or server.is_tls, {**server.options, **options})
    place = {"port": default_port, **{key: options.pop(key) for key in PLACES if key in options}}
    if "unix_socket_path" in place:
        place["path"] = place.pop("unix_socket_path")
    place["port"] = port_of(place["port"])
    return make_server(place, is_tls, options)


def parse_sentinel(host: Mapping[str, Any]) -> Sentinel:
    """``master_name`` and ``sentinels``; ``sentinel_kwargs`` is for those, all else for the master."""
    options = dict(host)
    name, sentinels = options.pop("master_name", None), options.pop("sentinels", None)
    if not isinstance(name, str) or not isinstance(sentinels, list | tuple) or not sentinels:
        raise ConfigurationError(f"Sentinel needs a master_name and a list of sentinels; {FORMS}.")
    theirs = options.pop("sentinel_kwargs", None) or {}
    return Sentinel(
        name,
        tuple(complete(parse_server(one, DEFAULT_SENTINEL_PORT), theirs) for one in sentinels),
        complete(Server(), options),
    )


def parse_cluster(host: Mapping[str, Any]) -> Cluster:
    """``cluster``: some of the nodes; all else is for every node."""
    options = dict(host)
    nodes = options.pop("cluster")
    if not isinstance(nodes, list | tuple) or not nodes:
        raise ConfigurationError(f"A Cluster needs a list of some of its nodes; {FORMS}.")
    cluster = Cluster(tuple(complete(parse_server(node), options) for node in nodes))
    if any(node.options.get("db") or node.path is not None for node in cluster.nodes):
        raise ConfigurationError(f"A Cluster has only database 0, and no Unix sockets; {FORMS}.")
    return cluster


def complete(server: Server, options: Mapping[str, Any]) -> Server:
    """The same server, told more."""
    place = {"host": server.host, "port": server.port, "path": server.path}
    more = {key: value for key, value in options.items() if key != "ssl"}
    return make_server(place, server.is_tls or bool(options.get("ssl")), {**server.options, **more})


def make_server(place: Mapping[str, Any], is_tls: bool, options: Mapping[str, Any]) -> Server:
    refuse_own_affairs(options)
    refuse_unknown(options, OPTIONS, "of a Redis server")
    if not is_tls and (of_tls := sorted(key for key in options if key.startswith("ssl_"))):
        raise ConfigurationError(
            f'A Redis server has {of_tls[0]!r}, but is to be reached without TLS: use rediss://, or "ssl": True.'
        )
    return Server(**place, is_tls=is_tls, options=dict(options))


def refuse_own_affairs(options: Iterable[str]) -> None:
    for key in sorted(OWN_AFFAIRS.intersection(options)):
        raise ConfigurationError(
            f"A Redis server has the option {key!r}, which the layer decides by itself: leave it out."
        )


def refuse_unknown(keys: Iterable[str], known: Iterable[str], where: str) -> None:
    for key in sorted(set(keys).difference(known), key=str):
        raise ConfigurationError(f"There is no option {key!r} {where}{did_you_mean(str(key), known)}")


def option_of_text(key: str, text: str) -> Any:
    """An option of a URL's query."""
    try:
        if key in OF_NUMBER:
            return int(text)
        if key in OF_SECONDS:
            return float(text)
    except ValueError:
        raise ConfigurationError(f"The option {key!r} of a Redis URL is no number.") from None
    return text.lower() in TRUE if key in OF_TRUTH else text


def port_of(port: Any) -> int:
    try:
        return int(port)
    except (TypeError, ValueError):
        raise ConfigurationError(f"The port of a Redis server is {kind_of(port)}; {FORMS}.") from None


def kind_of(value: object) -> str:
    """What something is, without what it holds: that may be a password."""
    return f"of the type {type(value).__qualname__!r}"
