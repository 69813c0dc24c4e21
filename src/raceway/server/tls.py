"""The TLS context of a listener."""

from __future__ import annotations

import ssl

from raceway.errors import ConfigurationError


def server_context(certfile: str, keyfile: str | None) -> ssl.SSLContext:
    """A context for TLS 1.2 and later from PEM files; offers HTTP/1.1 by ALPN (RFC 7301).

    Raises ``ConfigurationError`` naming the file that cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certfile, keyfile)
    except (OSError, ssl.SSLError) as error:
        files = certfile if keyfile is None else f"{certfile} and {keyfile}"
        raise ConfigurationError(f"The TLS certificate and key in {files} cannot be used: {error}.") from None
    return context
