from __future__ import annotations

from typing import Any

import pytest
from django.test import override_settings

import tests.project  # noqa: F401  Django's settings
from raceway.origin import AllowedHostsOriginValidator, OriginValidator, is_allowed
from tests.routing.calls import call, note


@pytest.mark.parametrize(
    ("origin", "allowed", "answer"),
    [
        ("https://example.com", "example.com", True),
        ("http://example.com:8000", "example.com", True),
        ("https://EXAMPLE.com", "Example.com", True),
        ("https://www.example.com", "example.com", False),
        ("https://www.example.com", ".example.com", True),
        ("https://example.com", ".example.com", True),
        ("https://badexample.com", ".example.com", False),
        ("https://example.com.evil.org", "example.com", False),
        ("https://example.com", "https://example.com", True),
        ("https://example.com:443", "https://example.com", True),
        ("http://example.com", "https://example.com", False),
        ("https://example.com:8443", "https://example.com", False),
        ("https://example.com:8443", "https://example.com:8443", True),
        ("http://a.example.com", "http://.example.com", True),
        ("http://[::1]:8000", "[::1]", True),
        ("http://127.0.0.1:8000", "127.0.0.1", True),
        ("http://localhost:3000", "localhost:3000", True),
        ("http://localhost:8000", "localhost:3000", False),
        ("https://www.example.com", ".example.com:443", True),
        ("http://[::1]:3000", "[::1]:3000", True),
        ("null", "example.com", False),
        ("", "example.com", False),
        ("example.com", "example.com", False),
        ("https://", "example.com", False),
        ("https://example.com:port", "example.com", False),
        ("https://[bad", "example.com", False),
        ("https://user@example.com", "example.com", True),
        ("https://example.com@evil.org", "example.com", False),
        ("app://example.com", "app://example.com", True),
    ],
)
def test_what_an_entry_allows(origin: str, allowed: str, answer: bool) -> None:
    assert is_allowed(origin, (allowed,)) is answer


def test_any_entry_will_do() -> None:
    assert is_allowed("https://b.org", ("a.org", "b.org"))
    assert not is_allowed("https://c.org", ("a.org", "b.org"))
    assert not is_allowed("https://c.org", ())


async def passes(validator: Any, *origins: str, **scope: Any) -> bool:
    headers = [(b"origin", origin.encode()) for origin in origins]
    reached, sent = await call(validator, headers=headers, **scope)
    assert (reached is None) == (sent == [{"type": "websocket.close"}])
    return reached is not None


def test_an_entry_that_is_no_host_allows_nothing_and_hides_no_other() -> None:
    for entry in ("[", "::1", "example.com:port", "example.com:99999", "https://"):
        assert not is_allowed("https://example.com", (entry,))
        assert is_allowed("https://example.com", (entry, "example.com"))


async def test_a_page_from_elsewhere_is_refused() -> None:
    validator = OriginValidator(note("x"), ["example.com"])
    assert await passes(validator, "https://example.com")
    assert not await passes(validator, "https://evil.org")
    assert not await passes(validator, "https://example.com", "https://example.com")


async def test_the_log_says_where_to_allow_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "raceway.origin")
    await passes(OriginValidator(note("x"), ["example.com"]), "https://evil.org")
    await passes(AllowedHostsOriginValidator(note("x")), "https://evil.org")
    await passes(AllowedHostsOriginValidator(note("x")))
    for line, where in zip(
        caplog.messages, ("(allowed_origins)", "(ALLOWED_HOSTS)", "ALLOW_MISSING_ORIGIN"), strict=True
    ):
        assert where in line


async def test_a_missing_origin_is_refused_unless_it_is_allowed() -> None:
    assert not await passes(OriginValidator(note("x"), ("example.com",)))
    assert await passes(OriginValidator(note("x"), ["example.com"], allow_missing_origin=True))
    assert await passes(OriginValidator(note("x"), ["*"]))
    with override_settings(RACEWAY={"ALLOW_MISSING_ORIGIN": True}):
        assert await passes(OriginValidator(note("x"), ["example.com"]))
        assert not await passes(OriginValidator(note("x"), ["example.com"], allow_missing_origin=False))


async def test_a_star_checks_nothing() -> None:
    assert await passes(OriginValidator(note("x"), ["*"]), "https://evil.org")


async def test_allowed_hosts_are_read_at_each_handshake() -> None:
    validator = AllowedHostsOriginValidator(note("x"))
    assert await passes(validator, "https://a.example.com")
    assert not await passes(validator, "http://localhost:8000")
    with override_settings(ALLOWED_HOSTS=[], DEBUG=True):
        assert await passes(validator, "http://localhost:8000")
        assert await passes(validator, "http://127.0.0.1:8000")
        assert await passes(validator, "http://[::1]:8000")
        assert not await passes(validator, "http://example.com")
    with override_settings(ALLOWED_HOSTS=[]):
        assert not await passes(validator, "http://localhost:8000")


async def test_it_is_for_websockets() -> None:
    with pytest.raises(ValueError, match="is for WebSockets, not for 'http'"):
        await call(OriginValidator(note("x"), ["*"]), type="http")
