"""Whose word is taken for who the client is."""

from __future__ import annotations

import pytest

from raceway.errors import ConfigurationError
from raceway.server.proxy import TrustedProxies, forwarded

pytestmark = pytest.mark.pure

PROXIES = TrustedProxies("127.0.0.1, 10.0.0.0/8, fd00::/8, unix")


@pytest.mark.parametrize(
    ("host", "trusted"),
    [
        ("127.0.0.1", True),
        ("10.1.2.3", True),
        ("fd00::1", True),
        ("::ffff:10.0.0.1", True),
        (None, True),
        ("127.0.0.2", False),
        ("192.0.2.1", False),
        ("::1", False),
        ("not an address", False),
    ],
)
def test_who_is_listed(host: str | None, trusted: bool) -> None:
    assert (host in PROXIES) is trusted


def test_a_star_lists_everybody_and_nothing_lists_nobody() -> None:
    assert "192.0.2.1" in TrustedProxies("*")
    assert None in TrustedProxies("*")
    assert "127.0.0.1" not in TrustedProxies("")
    assert None not in TrustedProxies("127.0.0.1")


def test_a_wrong_list_is_one_sentence() -> None:
    with pytest.raises(ConfigurationError, match="forwarded-allow-ips takes addresses"):
        TrustedProxies("127.0.0.1,localhost")


@pytest.mark.parametrize(
    ("headers", "client", "scheme"),
    [
        ({}, None, None),
        ({"x-forwarded-for": "192.0.2.1"}, ("192.0.2.1", 0), None),
        ({"x-forwarded-for": "192.0.2.1:4711"}, ("192.0.2.1", 4711), None),
        ({"x-forwarded-for": "2001:db8::1"}, ("2001:db8::1", 0), None),
        ({"x-forwarded-for": "[2001:db8::1]:80"}, ("2001:db8::1", 80), None),
        # What the client itself wrote stands left of what the proxy saw.
        ({"x-forwarded-for": "203.0.113.9, 192.0.2.1"}, ("192.0.2.1", 0), None),
        ({"x-forwarded-for": "203.0.113.9, 192.0.2.1, 10.0.0.7"}, ("192.0.2.1", 0), None),
        ({"x-forwarded-for": "10.0.0.8, 10.0.0.7"}, ("10.0.0.8", 0), None),
        ({"x-forwarded-for": "192.0.2.1, unknown"}, None, None),
        ({"x-forwarded-for": "nonsense, 10.0.0.7"}, ("10.0.0.7", 0), None),
        ({"x-forwarded-proto": "https"}, None, "https"),
        ({"x-forwarded-proto": "gopher"}, None, None),
        ({"x-forwarded-for": "192.0.2.1", "x-forwarded-proto": "https"}, ("192.0.2.1", 0), "https"),
        ({"forwarded": "for=192.0.2.1;proto=https"}, ("192.0.2.1", 0), "https"),
        ({"forwarded": 'For="[2001:db8::1]:4711";Proto=HTTPS;by=10.0.0.7'}, ("2001:db8::1", 4711), "https"),
        ({"forwarded": "for=203.0.113.9, for=192.0.2.1;proto=http, for=10.0.0.7"}, ("192.0.2.1", 0), "http"),
        ({"forwarded": "for=_hidden"}, None, None),
        # A proxy writes one family and passes on what the client says in the other.
        ({"forwarded": "for=192.0.2.1", "x-forwarded-for": "203.0.113.9"}, None, None),
        ({"forwarded": "for=6.6.6.6;proto=https", "x-forwarded-proto": "http"}, None, None),
        ({"forwarded": "for=192.0.2.1", "x-forwarded-for": "192.0.2.1"}, ("192.0.2.1", 0), None),
        ({"x-forwarded-for": "1.2.3.4:\u00b2"}, ("1.2.3.4", 0), None),
        ({"x-forwarded-for": "2001:db8::1%<script>"}, None, None),
    ],
)
def test_what_is_read(headers: dict[str, str], client: tuple[str, int] | None, scheme: str | None) -> None:
    fields = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    assert forwarded(fields, PROXIES) == (client, scheme)
