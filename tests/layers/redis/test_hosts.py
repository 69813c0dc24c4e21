"""The forms of the option ``hosts``."""

from __future__ import annotations

import dataclasses
import traceback
from typing import Any

import pytest

from raceway.errors import ConfigurationError
from raceway.layers.redis.hosts import Cluster, Sentinel, Server, parse_hosts

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("host", "server"),
    [
        ("redis://", Server()),
        ("redis://example.org", Server("example.org")),
        ("redis://example.org:7000/3", Server("example.org", 7000, options={"db": 3})),
        ("redis://[::1]:7000", Server("::1", 7000)),
        ("redis://:a%2Fb@h", Server("h", options={"password": "a/b"})),
        ("redis://me:pw@h", Server("h", options={"username": "me", "password": "pw"})),
        ("rediss://h?ssl_ca_certs=/ca.pem", Server("h", is_tls=True, options={"ssl_ca_certs": "/ca.pem"})),
        (
            "rediss://h?ssl_check_hostname=false&socket_connect_timeout=1.5",
            Server("h", is_tls=True, options={"ssl_check_hostname": False, "socket_connect_timeout": 1.5}),
        ),
        ("unix:///run/redis.sock", Server(path="/run/redis.sock")),
        (
            "unix://me:pw@/run/redis.sock?db=2",
            Server(path="/run/redis.sock", options={"db": 2, "username": "me", "password": "pw"}),
        ),
        (("h", 7000), Server("h", 7000)),
        (["h", "7000"], Server("h", 7000)),
        ({"host": "h", "port": 7000, "db": 2}, Server("h", 7000, options={"db": 2})),
        ({"host": "h", "ssl": True}, Server("h", is_tls=True)),
        ({"path": "/s", "password": "pw"}, Server(path="/s", options={"password": "pw"})),
        ({"unix_socket_path": "/s"}, Server(path="/s")),
        (
            {"address": "rediss://h:7000/1", "password": "pw", "ssl_cert_reqs": "none"},
            Server("h", 7000, is_tls=True, options={"db": 1, "password": "pw", "ssl_cert_reqs": "none"}),
        ),
        ({"address": ("h", 7000), "db": 1}, Server("h", 7000, options={"db": 1})),
    ],
)
def test_one_server(host: Any, server: Server) -> None:
    assert parse_hosts([host]) == (server,)


def test_without_hosts_it_is_the_usual_port_of_this_machine() -> None:
    assert parse_hosts(None) == (Server("localhost", 6379),)


def test_sentinel() -> None:
    host = {
        "master_name": "mymaster",
        "sentinels": [("a", 26379), "redis://b", {"host": "c"}],
        "sentinel_kwargs": {"password": "theirs"},
        "password": "masters",
        "db": 1,
        "ssl": True,
    }
    theirs = {"password": "theirs"}
    assert parse_hosts([host]) == (
        Sentinel(
            "mymaster",
            tuple(Server(name, 26379, options=theirs) for name in "abc"),
            Server(is_tls=True, options={"password": "masters", "db": 1}),
        ),
    )


def test_cluster() -> None:
    host = {"cluster": [("a", 7000), "rediss://b:7001"], "password": "pw", "ssl": True}
    nodes = (Server(*node, is_tls=True, options={"password": "pw"}) for node in (("a", 7000), ("b", 7001)))
    assert parse_hosts([host]) == (Cluster(tuple(nodes)),)


def test_kinds_may_be_mixed() -> None:
    hosts = ["redis://a", {"cluster": [("b", 1)]}, {"master_name": "m", "sentinels": [("c", 2)]}]
    assert [type(host) for host in parse_hosts(hosts)] == [Server, Cluster, Sentinel]


@pytest.mark.parametrize("hosts", ["redis://localhost", b"x", {"host": "h"}, 5, []])
def test_hosts_are_a_list_and_the_error_shows_one(hosts: Any) -> None:
    with pytest.raises(ConfigurationError, match=r'give a list: \["redis://localhost:6379/0"\]'):
        parse_hosts(hosts)


@pytest.mark.parametrize(
    ("host", "says"),
    [
        ({"host": "h", "pasword": SECRET}, "'pasword' of a Redis server: did you mean 'password'"),
        (f"redis://h?pasword={SECRET}", "did you mean 'password'"),
        ({"host": "h", "max_connections": 5}, "'max_connections', which the layer decides by itself"),
        ({"address": "redis://h", "port": 5}, "no option 'port'"),
        ({"host": "h", "ssl_ca_certs": "/ca.pem"}, 'without TLS: use rediss://, or "ssl": True'),
        (f"redis://:{SECRET}@h:nonsense", "its port is no number"),
        (f"redis://:{SECRET}/more@h", "its password is not quoted"),
        (f"redis://:{SECRET}@h/nonsense", "'db' of a Redis URL is no number"),
        (f"http://:{SECRET}@h", "no URL of redis, rediss, unix"),
        (("h", "nonsense"), "port of a Redis server is of the type 'str'"),
        (("h", 1, 2), "One of the hosts of a Redis layer is of the type 'tuple'"),
        ({"master_name": "m"}, "Sentinel needs a master_name and a list of sentinels"),
        ({"sentinels": [("h", 1)]}, "Sentinel needs a master_name"),
        ({"master_name": "m", "sentinels": [("h", 1)], "host": "h"}, "no option 'host'"),
        ({"cluster": []}, "list of some of its nodes"),
        ({"cluster": ["redis://h/1"]}, "only database 0"),
        ({"cluster": ["unix:///s"]}, "no Unix sockets"),
    ],
)
def test_what_cannot_be_is_refused_without_its_password(host: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says.replace("(", r"\(")) as refused:
        parse_hosts([host])
    assert SECRET not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize(
    "host",
    [
        f"redis://me:{SECRET}@h",
        {"host": "h", "password": SECRET},
        {
            "master_name": "m",
            "sentinels": [("h", 1)],
            "password": SECRET,
            "sentinel_kwargs": {"password": SECRET},
        },
        {"cluster": [("h", 1)], "password": SECRET},
    ],
)
def test_no_password_is_shown(host: Any) -> None:
    (parsed,) = parse_hosts([host])
    assert SECRET not in f"{parsed} {parsed!r}"
    assert SECRET in str([getattr(parsed, one.name) for one in dataclasses.fields(parsed)]) + str(
        [server.options for server in servers_of(parsed)]
    )


def servers_of(host: Any) -> list[Server]:
    if isinstance(host, Sentinel):
        return [host.server, *host.sentinels]
    return [host] if isinstance(host, Server) else list(host.nodes)
