"""The REST client of the command line: one call, and every refusal as a CliError."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, cast
from urllib.parse import quote, urlsplit

import httpx

from amends_orchestrator.cli.address import Address
from amends_orchestrator.cli.claim import is_claimed
from amends_orchestrator.cli.exits import CliError, Exit

CALL_TIMEOUT_S = 15.0
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
WAIT_MAX_S = 30
"""Longest `?wait=` in one request; longer waits are repeated."""

_EXIT_OF_STATUS: Mapping[int, Exit] = {
    401: Exit.FORBIDDEN,
    403: Exit.FORBIDDEN,
    404: Exit.NOT_FOUND,
    408: Exit.TIMEOUT,
    502: Exit.UNREACHABLE,
    501: Exit.REFUSED,
    503: Exit.UNREACHABLE,
    504: Exit.TIMEOUT,
}


class Rest:
    """A service's REST interface. Use as a context manager."""

    def __init__(self, address: Address, transport: httpx.BaseTransport | None = None) -> None:
        self.address = address
        headers = {"Authorization": f"Bearer {address.key}"} if address.key else {}
        try:
            self._client = httpx.Client(
                base_url=address.url,
                headers=headers,
                timeout=CALL_TIMEOUT_S,
                transport=transport,
                # Without TLS there is nothing to verify, and no certificates to load for it.
                verify=not address.url.startswith("http://"),
                # A proxy of the environment cannot reach this machine's own loopback.
                trust_env=urlsplit(address.url).hostname not in LOOPBACK,
            )
        except (httpx.InvalidURL, ValueError) as error:
            raise _not_a_url(address) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def get(self, path: str, wait_s: float = 0.0, **query: Any) -> Any:
        """GET a JSON resource; query members that are None are left out."""
        params: dict[str, Any] = {k: v for k, v in query.items() if v is not None}
        if wait_s:
            params["wait"] = max(1, round(wait_s))
        return self._call("GET", path, params=params, timeout=CALL_TIMEOUT_S + wait_s)

    def post(self, path: str, body: Any = None) -> Any:
        """POST a JSON body; the answer's JSON, None if it has none."""
        return self._call("POST", path, json={} if body is None else body)

    def delete(self, path: str) -> Any:
        """DELETE a resource; the answer's JSON."""
        return self._call("DELETE", path)

    def _call(self, method: str, path: str, **options: Any) -> Any:
        try:
            response = self._client.request(method, path, **options)
        except httpx.TimeoutException as error:
            raise CliError(
                f"{self.address.url} did not answer in time.",
                "See `amends doctor`, and the orchestrator's log.",
                exit_code=Exit.TIMEOUT,
            ) from error
        except httpx.UnsupportedProtocol as error:
            raise _not_a_url(self.address) from error
        except httpx.TransportError as error:
            raise self._unreachable(error) from error
        if response.is_success:
            return _decoded(response, self.address)
        raise refusal(response, self.address)

    def _unreachable(self, error: Exception) -> CliError:
        source = self.address.source
        if source in {"--url", "AMENDS_API_URL"}:
            do = f"Is it running? {source} names this address."
        else:
            do = _gone(source)
        return CliError(
            f"Nothing answers at {self.address.url} ({error or type(error).__name__}).",
            do,
            exit_code=Exit.UNREACHABLE,
        )


def _gone(up_file: str) -> str:
    """What to do where an up.json's service does not answer: who wrote it may be at it already."""
    if is_claimed(Path(up_file).parent):
        return f"{up_file} names it: its orchestrator is being started again; try in a moment."
    return f"{up_file} names it, but it is gone: run `amends up` again."


def saga_path(saga_id: str, rest: str = "") -> str:
    """`/v1/sagas/<id><rest>`, with the id quoted."""
    return f"/v1/sagas/{quote(saga_id, safe='')}{rest}"


def refusal(response: httpx.Response, address: Address) -> CliError:
    """An HTTP refusal, said with its problem document where there is one."""
    problem = _problem_of(response)
    otherwise = Exit.UNREACHABLE if response.status_code >= 500 else Exit.REFUSED
    code = _EXIT_OF_STATUS.get(response.status_code, otherwise)
    what = str(problem.get("detail") or problem.get("title") or f"HTTP {response.status_code}")
    errors = [_field_line(e) for e in problem.get("errors", ())]
    if len(errors) == 1 and errors[0].lstrip(" /") == what.lstrip("/"):
        errors = []  # the detail says it already
    return CliError(
        "\n".join([what, *errors]),
        _remedy(response.status_code, address),
        exit_code=code,
        problem=problem,
    )


def _field_line(error: Mapping[str, Any]) -> str:
    place = error.get("path") or "/"
    remedy = f" ({error['remedy']})" if error.get("remedy") else ""
    return f"  {place}: {error.get('reason', '')}{remedy}"


def _remedy(status: int, address: Address) -> str | None:
    if status == 401:
        return (
            "The API key is not accepted: check AMENDS_API_KEY."
            if address.key
            else "Set AMENDS_API_KEY, or make a key with `amends keys create`."
        )
    if status == 403:
        return "This key's scope is too narrow: `amends keys create --scope …` makes a wider one."
    if status == 503:
        return "Try again in a moment; `amends doctor` tells what is missing."
    return None


def _problem_of(response: httpx.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError:
        return {}
    return cast(dict[str, Any], body) if isinstance(body, dict) else {}


def _decoded(response: httpx.Response, address: Address) -> Any:
    try:
        return response.json()
    except ValueError as error:
        raise CliError(
            f"{address.url} answers, but not as an Amends service.",
            f"{address.source} names this address: is it the right one?",
            exit_code=Exit.UNREACHABLE,
        ) from error


def _not_a_url(address: Address) -> CliError:
    return CliError(
        f"{address.url!r} is not an http(s) address.",
        f"{address.source} names it; it should look like http://127.0.0.1:8080.",
        exit_code=Exit.USAGE,
    )
