"""Who may call what: keys, scopes, the loopback without keys, and where a service may bind.

Without any key configured the service answers on loopback alone, to a caller `local` who may do
everything. There a browser is the only danger: a foreign page may send requests to loopback or
rebind its own name to it, so the Host must be a loopback name and a request must not be
cross-site.
"""

import hashlib
import ipaddress
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from amends_contracts.problems import ProblemType
from amends_orchestrator.api.ports import Caller, Keys, Principal, Scope
from amends_orchestrator.api.problems import ApiProblem
from amends_orchestrator.core.reviews import EVERYBODY

TENANT_DEFAULT: Final = "default"
LOCAL: Final = Caller("local", TENANT_DEFAULT, Scope.ADMIN, frozenset({EVERYBODY}))
REMEMBERED_S: Final = 5.0
"""How long a checked key is believed: a revoked one works at most this much longer."""
REMEMBERED_MAX: Final = 1024
KEY_CHARS_MAX: Final = 512


class BindRefused(Exception):
    """Without an API key anybody who reaches the address could do everything."""

    def __init__(self, host: str) -> None:
        self.host = host
        super().__init__(
            f"Refusing to listen on {host}: no API key is configured, so anybody who reaches this"
            " address could do everything. Make a key with `amends keys create`, or listen on"
            " 127.0.0.1."
        )


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine alone."""
    if host.rstrip(".").lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


async def check_bind(host: str, keys: Keys) -> None:
    """Raise BindRefused if `host` is beyond loopback and there is no key. `serve` calls it."""
    if not is_loopback(host) and not await keys.list():
        raise BindRefused(host)


def is_same_site(headers: Mapping[str, str]) -> bool:
    """Whether a browser sent this from a page of ours, or no browser sent it at all.

    `Sec-Fetch-Site` where it is sent, else `Origin` against `Host`. Neither: not a browser.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in {"same-origin", "none"}
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc.lower() == headers.get("host", "").lower()


class Guard:
    """Turns what a request carries into a Caller, or refuses it."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._known: OrderedDict[bytes, tuple[float, Caller | None]] = OrderedDict()
        self._all: tuple[float, frozenset[Caller]] | None = None

    async def caller(self, connection: HTTPConnection) -> Caller:
        """Who sends an API request: by its bearer key, or `local` where there are no keys."""
        if not await self.callers():
            return self.local(connection)
        scheme, _, presented = connection.headers.get("authorization", "").partition(" ")
        presented = presented.strip()
        if scheme.lower() != "bearer" or not presented:
            detail = "Send the header Authorization: Bearer <key>."
            raise ApiProblem(ProblemType.UNAUTHENTICATED, detail)
        caller = await self.check(presented)
        if caller is None:
            raise ApiProblem(ProblemType.UNAUTHENTICATED, "This key is unknown or revoked.")
        return caller

    def local(self, connection: HTTPConnection) -> Caller:
        """The caller of a service without keys; refused from anywhere but this machine."""
        client = connection.client.host if connection.client else ""
        host = urlsplit(f"//{connection.headers.get('host', '')}").hostname or ""
        if not is_loopback(client) or not is_loopback(host):
            detail = "No API key is configured: only this machine is answered, by a loopback name."
            raise ApiProblem(ProblemType.UNAUTHENTICATED, detail)
        if not is_same_site(connection.headers):
            raise ApiProblem(ProblemType.FORBIDDEN, "Requests of other sites are not answered.")
        return LOCAL

    async def check(self, presented: str) -> Caller | None:
        """The caller of a key, from memory for a few seconds."""
        if len(presented) > KEY_CHARS_MAX or not presented.isprintable():
            return None
        now = time.monotonic()
        digest = hashlib.sha256(presented.encode()).digest()
        known = self._known.get(digest)
        if known is not None and known[0] > now:
            return known[1]
        principal = await self._keys.check(presented)
        caller = None
        if principal is not None:
            caller = _caller(principal)
        self._known[digest] = (now + REMEMBERED_S, caller)
        self._known.move_to_end(digest)
        while len(self._known) > REMEMBERED_MAX:
            self._known.popitem(last=False)
        return caller

    def forget(self) -> None:
        """Ask anew: keys were made or revoked in this process."""
        self._known.clear()
        self._all = None

    async def callers(self) -> frozenset[Caller]:
        """Every caller that has a valid key, from memory for a few seconds."""
        now = time.monotonic()
        if self._all is None or self._all[0] <= now:
            rows = await self._keys.list()
            callers = frozenset(_caller(row) for row in rows)
            self._all = (now + REMEMBERED_S, callers)
        return self._all[1]


def _caller(principal: Principal) -> Caller:
    return Caller(principal.name, principal.tenant, Scope(principal.scope), principal.roles)


def require(caller: Caller, needed: Scope) -> None:
    """403 unless the caller's scope includes what is needed."""
    if not caller.allows(needed):
        detail = f"The key {caller.name!r} has scope {caller.scope}; this needs {needed}."
        raise ApiProblem(ProblemType.FORBIDDEN, detail)
