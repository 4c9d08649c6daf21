"""Amends over REST: verbs, and what only REST knows: how a saga stands."""

import asyncio
from typing import Any, Final, cast

import httpx

from amends_contracts.codec.clients import client_to_json
from amends_contracts.messages import (
    Cancel,
    ClientMessage,
    Decide,
    Json,
    Signal,
    Start,
    Trace,
    Undo,
)
from amends_contracts.problems import PROBLEM_CONTENT_TYPE, Problem
from amends_participants.client.asking import backoff
from amends_participants.client.errors import Refused, Unavailable, WrongVerb

PASSING: Final = frozenset({429, 502, 503, 504})
"""Statuses after which the same request is tried again."""
RETRY_AFTER_S_MAX: Final = 30.0
CALL_TIMEOUT_S: Final = 10.0
"""Of one HTTP request, beyond what the server was asked to wait."""


class Rest:
    """One HTTP client; `Asking` over REST."""

    def __init__(self, url: str, api_key: str | None) -> None:
        self._url = url
        headers = {"Accept": "application/json"}
        if api_key is not None:
            headers["Authorization"] = f"Bearer {api_key}"
        self._http = httpx.AsyncClient(base_url=url, headers=headers)

    async def ask(
        self, message: ClientMessage, *, message_id: str, trace: Trace | None, timeout_s: float
    ) -> Json:
        """POST the verb; `message_id` is not needed: keys and ids in the body say what is new."""
        path, body = _request(message)
        return await self._call("POST", path, body=body, trace=trace, timeout_s=timeout_s)

    async def saga(self, saga_id: str, *, wait_s: int, timeout_s: float) -> dict[str, Any]:
        """How a saga stands; with `wait_s` when it has ended, or after so long as it then is."""
        path = f"/v1/sagas/{saga_id}"
        query = {"wait": wait_s} if wait_s else {}
        found = await self._call("GET", path, query=query, wait_s=wait_s, timeout_s=timeout_s)
        return cast(dict[str, Any], found)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _call(
        self,
        method: str,
        path: str,
        *,
        body: Json = None,
        query: dict[str, int] | None = None,
        trace: Trace | None = None,
        wait_s: int = 0,
        timeout_s: float,
    ) -> Json:
        """One answered request. Refused, or Unavailable after `timeout_s`."""
        reason = "no answer in time"
        request = self._http.build_request(
            method,
            path,
            json=body,
            params=query,
            headers=_headers(trace),
            timeout=wait_s + CALL_TIMEOUT_S,
        )
        try:
            async with asyncio.timeout(timeout_s):
                async for _ in backoff():
                    try:
                        response = await self._http.send(request)
                    except httpx.TransportError as error:
                        reason = str(error) or type(error).__name__
                        continue
                    if response.status_code not in PASSING:
                        return _answer(response)
                    reason = f"HTTP {response.status_code}"
                    await asyncio.sleep(_retry_after_s(response))
        except TimeoutError:
            pass
        raise Unavailable(self._url, reason)


def _request(message: ClientMessage) -> tuple[str, dict[str, Any]]:
    """Path and body of a verb; what stands in the path is not repeated in the body."""
    body = client_to_json(message)
    match message:
        case Start():
            return "/v1/sagas", body
        case Cancel() | Undo():
            verb = "cancel" if isinstance(message, Cancel) else "undo"
            return f"/v1/sagas/{body.pop('saga_id')}/{verb}", body
        case Signal(saga_id=None):
            return "/v1/signals", body
        case Signal():
            return f"/v1/sagas/{body.pop('saga_id')}/signal", body
        case Decide():
            return f"/v1/reviews/{body.pop('review_id')}/decision", body
        case _:
            raise WrongVerb(type(message).__name__)


def _headers(trace: Trace | None) -> dict[str, str]:
    if trace is None:
        return {}
    named = {
        "traceparent": trace.traceparent,
        "tracestate": trace.tracestate,
        "baggage": trace.baggage,
    }
    return {name: value for name, value in named.items() if value is not None}


def _answer(response: httpx.Response) -> Json:
    if response.is_success:
        return response.json()
    raise Refused(_problem(response))


def _problem(response: httpx.Response) -> Problem:
    """The problem that was answered; something between us and Amends may answer otherwise."""
    said = response.headers.get("content-type", "").partition(";")[0]
    if said == PROBLEM_CONTENT_TYPE:
        try:
            return Problem.model_validate_json(response.content)
        except ValueError:
            pass
    title = f"HTTP {response.status_code}, which is no answer of Amends"
    return Problem(title=title, status=response.status_code, detail=response.text[:500] or None)


def _retry_after_s(response: httpx.Response) -> float:
    said = response.headers.get("retry-after", "")
    return min(float(said), RETRY_AFTER_S_MAX) if said.isdecimal() else 0.0
