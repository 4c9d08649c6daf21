"""HTTP to places that somebody else named: only to public addresses, unless more is allowed.

A host is resolved once and the connection goes to that very address, so that a name cannot point
elsewhere between look and call. Redirects are requests like any other, and looked at as such.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Final, Protocol, TypeAlias

import httpx2

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
REDIRECTS_MAX: Final = 5
TIMEOUT_S: Final = 30.0
_PORTS: Final = {"http": 80, "https": 443}


class Forbidden(httpx2.RequestError):
    """The address may not be reached from here."""


@dataclass(frozen=True, slots=True)
class Allow:
    """What may be reached."""

    hosts: Sequence[str] = ("*",)
    """Patterns of host names, `*.example.com`."""
    private: Sequence[str] = ()
    """Networks that are not public and may be reached all the same, `10.1.0.0/16`."""
    plain: bool = False
    """Whether also without TLS."""

    def address(self, address: Address) -> bool:
        """Whether a connection may go there."""
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            return self.address(address.ipv4_mapped)
        if address.is_global and not address.is_multicast and not _carries_another(address):
            return True
        return any(address in ipaddress.ip_network(network) for network in self.private)


_CARRIERS: Final = tuple(
    ipaddress.ip_network(network)
    for network in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")
)
"""Of IPv6, the networks whose addresses lead to an address of IPv4 that stands in them."""


def _carries_another(address: Address) -> bool:
    return any(address in network for network in _CARRIERS)


class Resolve(Protocol):
    """The addresses of a host."""

    async def __call__(self, host: str, port: int) -> Sequence[str]: ...


async def resolve(host: str, port: int) -> Sequence[str]:
    """By the system's resolver."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


class Egress(httpx2.AsyncBaseTransport):
    """Looks at every request before it is sent, and pins it to the address that was looked at."""

    def __init__(
        self,
        allow: Allow,
        *,
        resolved: Resolve = resolve,
        inner: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._allow = allow
        self._resolve = resolved
        self._inner = inner or httpx2.AsyncHTTPTransport(trust_env=False)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send it, or raise Forbidden."""
        address = await self._checked(request)
        host = request.url.host
        request.extensions = {**request.extensions, "sni_hostname": host}
        request.url = request.url.copy_with(host=str(address))
        try:
            return await self._inner.handle_async_request(request)
        finally:
            request.url = request.url.copy_with(host=host)

    async def aclose(self) -> None:
        """Leave all connections."""
        await self._inner.aclose()

    async def _checked(self, request: httpx2.Request) -> Address:
        url = request.url
        if url.scheme not in _PORTS or (url.scheme == "http" and not self._allow.plain):
            raise Forbidden(f"{url.scheme} is not allowed", request=request)
        if not any(fnmatch(url.host, pattern) for pattern in self._allow.hosts):
            raise Forbidden(f"{url.host} is not among the hosts that are allowed", request=request)
        found = await self._addresses(url.host, url.port or _PORTS[url.scheme], request)
        for address in found:
            if not self._allow.address(address):
                raise Forbidden(f"{url.host} is {address}: not a public address", request=request)
        return found[0]

    async def _addresses(self, host: str, port: int, request: httpx2.Request) -> list[Address]:
        try:
            return [ipaddress.ip_address(host)]
        except ValueError:
            pass
        try:
            found = await self._resolve(host, port)
        except OSError:
            found = ()
        if not found:
            raise httpx2.ConnectError(f"{host} has no address", request=request)
        return [ipaddress.ip_address(text.partition("%")[0]) for text in found]


def http_client(allow: Allow | None = None) -> httpx2.AsyncClient:
    """A client for tools whose input names the address; close it after use."""
    return httpx2.AsyncClient(
        transport=Egress(allow or Allow()),
        follow_redirects=True,
        max_redirects=REDIRECTS_MAX,
        timeout=TIMEOUT_S,
        trust_env=False,
    )
