"""Who looks at the pages: a signed cookie after the key was shown once, and no foreign forms.

The cookie names the caller and an end; it is signed, HttpOnly and SameSite=Strict, and good only
while a valid key with this name, tenant and scope exists.
"""

import base64
import binascii
import hashlib
import hmac
import json
import secrets as random
import time
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote, urlsplit

from starlette.requests import Request
from starlette.responses import Response

from amends_contracts.problems import ProblemType
from amends_orchestrator.api.guard import Guard, is_same_site
from amends_orchestrator.api.ports import Caller, Scope
from amends_orchestrator.api.problems import ApiProblem

COOKIE: Final = "amends_console"
NOTICE: Final = "amends_notice"
SESSION_S: Final = 12 * 3600
PATH: Final = "/console"
HOME: Final = "/console/"
_PURPOSE: Final = b"amends console session 1"


class LoginNeeded(Exception):
    """The page is for callers with a key, and this visitor has shown none."""


class Sessions:
    """Makes and checks the cookie."""

    def __init__(self, guard: Guard, secrets: Sequence[bytes]) -> None:
        self._guard = guard
        self._keys = [
            hmac.digest(secret, _PURPOSE, "sha256")
            for secret in (secrets or [random.token_bytes(32)])
        ]

    async def caller(self, request: Request) -> Caller:
        """Who visits. Raises LoginNeeded, or ApiProblem on a service without keys."""
        known = await self._guard.callers()
        if not known:
            return self._guard.local(request)
        caller = self._read(request.cookies.get(COOKIE, ""))
        if caller is None or caller not in known:
            raise LoginNeeded
        return caller

    async def login(self, presented: str) -> tuple[Caller, str] | None:
        """The caller of a key and the cookie's value; None for a key that is not valid."""
        caller = await self._guard.check(presented)
        if caller is None:
            return None
        ends = int(time.time()) + SESSION_S
        payload: dict[str, Any] = {
            "n": caller.name,
            "t": caller.tenant,
            "s": caller.scope,
            "e": ends,
        }
        payload["r"] = sorted(caller.roles)
        text = base64.urlsafe_b64encode(json.dumps(payload).encode()).decode()
        return caller, f"{text}.{self._sign(self._keys[0], text)}"

    @staticmethod
    def _sign(key: bytes, text: str) -> str:
        return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()

    def _read(self, cookie: str) -> Caller | None:
        text, _, signature = cookie.rpartition(".")
        signed = signature.encode(errors="replace")
        if not any(hmac.compare_digest(self._sign(k, text).encode(), signed) for k in self._keys):
            return None
        payload: dict[str, Any] = json.loads(base64.urlsafe_b64decode(text))
        if payload["e"] < time.time():
            return None
        roles = frozenset(payload.get("r", ()))
        return Caller(payload["n"], payload["t"], Scope(payload["s"]), roles)


def check_form(request: Request) -> None:
    """403 for a form that was not sent from one of our own pages."""
    site = request.headers.get("sec-fetch-site")
    named = site == "same-origin" or (site is None and "origin" in request.headers)
    if not named or not is_same_site(request.headers):
        detail = "This form was not sent from a page of this service."
        raise ApiProblem(ProblemType.FORBIDDEN, detail)


def set_cookie(request: Request, response: Response, name: str, value: str, seconds: int) -> None:
    """A cookie of the console: never readable by scripts, never sent by foreign pages."""
    response.set_cookie(
        name,
        value,
        max_age=seconds,
        path=PATH,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )


def put_notice(request: Request, response: Response, kind: str, text: str) -> None:
    """Say something on the next page, once."""
    packed = base64.urlsafe_b64encode(json.dumps([kind, text[:500]]).encode()).decode()
    set_cookie(request, response, NOTICE, packed, 20)


def take_notice(request: Request) -> tuple[str, str] | None:
    """What the last page had to say: its kind (`done`, `refused`) and text."""
    try:
        kind, text = json.loads(base64.urlsafe_b64decode(request.cookies.get(NOTICE, "")))
    except (ValueError, binascii.Error):
        return None
    return ("done" if kind == "done" else "refused", str(text))


def login_url(request: Request) -> str:
    """The login page, which leads back to where the visitor wanted to go."""
    wanted = request.url.path
    return f"{PATH}/login?next={quote(wanted, safe='')}" if wanted != HOME else f"{PATH}/login"


def safe_next(wanted: str) -> str:
    """A path of the console to lead to after login; anything else leads to its first page."""
    parts = urlsplit(wanted)
    ours = parts.path.startswith(HOME) and not parts.netloc and not parts.scheme
    return parts.path if ours else HOME
