"""Who the client is when a listed proxy stands in between (RFC 7239, and the X-Forwarded-* custom)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import TypeAlias

from raceway.errors import ConfigurationError

Address: TypeAlias = tuple[str, int]
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Hop: TypeAlias = tuple[str | None, str | None]
Found: TypeAlias = tuple[Address | None, str | None]


class TrustedProxies:
    """Answer whether an address is one of the listed proxies: addresses, networks, ``unix``, or ``*`` for all."""

    __slots__ = ("_any", "_networks", "_unix")

    def __init__(self, listed: str) -> None:
        names = [name.strip() for name in listed.split(",") if name.strip()]
        self._any = "*" in names
        self._unix = "unix" in names
        try:
            self._networks: list[Network] = [
                ipaddress.ip_network(name, strict=False) for name in names if name not in ("*", "unix")
            ]
        except ValueError as error:
            raise ConfigurationError(
                f"--forwarded-allow-ips takes addresses, networks, 'unix' or '*': {error}."
            ) from None

    def __contains__(self, host: object) -> bool:
        """``host`` is an address in text; ``None`` stands for a Unix socket's peer."""
        if self._any:
            return True
        if host is None:
            return self._unix
        try:
            address = ipaddress.ip_address(str(host))
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self._networks)


def forwarded(
    headers: Iterable[tuple[bytes, bytes]], proxies: TrustedProxies
) -> tuple[Address | None, str | None]:
    """Read the client's address and scheme from what the nearest proxies added; ``None`` where they say nothing.

    The chain is read from the right, where the proxy next to us wrote: the first address that is not itself a
    listed proxy is the client. What stands left of it was written by the client and proves nothing. A proxy writes
    one family of fields and passes the other on as the client sent it: where both are there and disagree, neither
    is believed.
    """
    hops: list[Hop] = []
    x_for: list[str] = []
    x_proto: list[str] = []
    for name, value in headers:
        if name == b"forwarded":
            hops.extend(_read_forwarded(value.decode("latin-1")))
        elif name == b"x-forwarded-for":
            x_for.extend(part.strip() for part in value.decode("latin-1").split(","))
        elif name == b"x-forwarded-proto":
            x_proto.extend(part.strip().lower() for part in value.decode("latin-1").split(","))
    standard = _nearest_stranger(hops, proxies)
    if not x_for:
        customary: Found = (None, _scheme(x_proto[-1]) if x_proto else None)
    else:  # one scheme per hop, or one for all
        schemes = x_proto if len(x_proto) == len(x_for) else [x_proto[-1] if x_proto else None] * len(x_for)
        customary = _nearest_stranger(list(zip(x_for, schemes, strict=True)), proxies)
    if not hops or not (x_for or x_proto):
        return standard if hops else customary
    return standard if standard == customary else (None, None)


def _nearest_stranger(hops: list[Hop], proxies: TrustedProxies) -> Found:
    found: Address | None = None
    scheme: str | None = None
    for host, proto in reversed(hops):
        address = _address(host)
        if address is None:
            break
        found, scheme = address, _scheme(proto) or scheme
        if address[0] not in proxies:
            break
    return found, scheme


def _scheme(proto: str | None) -> str | None:
    return {"http": "http", "https": "https", "ws": "http", "wss": "https"}.get(proto or "")


def _read_forwarded(value: str) -> list[Hop]:
    """``for=...;proto=..., for=...`` as (host, proto) pairs, one per element (RFC 7239 section 4)."""
    hops = []
    for element in _split(value, ","):
        fields = {}
        for pair in _split(element, ";"):
            name, _, text = pair.partition("=")
            fields[name.strip().lower()] = re.sub(r"\\(.)", r"\1", text.strip().strip('"'))
        hops.append((fields.get("for"), fields.get("proto", "").lower() or None))
    return hops


def _split(text: str, separator: str) -> list[str]:
    """Cut at ``separator``, but not within a quoted string."""
    return re.findall(rf'(?:[^"{separator}]|"(?:[^"\\]|\\.)*"?)+', text)


def _address(text: str | None) -> Address | None:
    """``192.0.2.1``, ``192.0.2.1:80``, ``2001:db8::1``, ``[2001:db8::1]:80``; a made-up name is no address."""
    if not text:
        return None
    host, port = text, ""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    try:
        host = str(ipaddress.ip_address(host))
    except ValueError:
        return None
    if "%" in host:  # a zone means nothing here, and may hold anything
        return None
    return host, int(port) if re.fullmatch("[0-9]{1,5}", port) and int(port) < 65536 else 0
