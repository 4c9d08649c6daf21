"""What a broker's URL says: `amqp[s]://user:password@host:port/vhost?option=…`.

Options: `auth=plain|external`; for TLS `cafile`, `capath`, `certfile`, `keyfile`,
`no_verify_ssl=1`.
"""

import ssl
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

PORTS: Final = {"amqp": 5672, "amqps": 5671}


@dataclass(frozen=True, slots=True)
class BrokerUrl:
    """Where to connect, and as whom."""

    host: str
    port: int
    vhost: str
    user: str
    password: str = field(repr=False)
    external: bool
    """SASL EXTERNAL: the client certificate says who it is."""
    tls: ssl.SSLContext | None


def parse(url: str) -> BrokerUrl:
    """Read a URL. ValueError says what is wrong with it, without the password."""
    parts = urlsplit(url)
    if parts.scheme not in PORTS:
        raise ValueError(f"a broker's URL begins with amqp:// or amqps://, not {parts.scheme!r}")
    options = dict(parse_qsl(parts.query))
    auth = options.get("auth", "plain").lower()
    if auth not in {"plain", "external"}:
        raise ValueError(f"auth={auth}: this client knows plain and external")
    return BrokerUrl(
        host=parts.hostname or "localhost",
        port=parts.port or PORTS[parts.scheme],
        vhost=unquote(parts.path[1:]) or "/",
        user=unquote(parts.username or "guest"),
        password=unquote(parts.password or "guest"),
        external=auth == "external",
        tls=_context(options) if parts.scheme == "amqps" else None,
    )


def _context(options: dict[str, str]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=options.get("cafile"), capath=options.get("capath"))
    if options.get("no_verify_ssl", "0") != "0":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if "certfile" in options:
        context.load_cert_chain(options["certfile"], options.get("keyfile"))
    return context
