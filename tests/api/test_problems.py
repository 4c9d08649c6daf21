"""Every refusal is a problem with a type, whoever refuses: route, framework, engine, database."""

import httpx
import pytest

from amends_contracts.problems import FieldError, ProblemType
from amends_orchestrator.core.decision import Refused
from amends_orchestrator.engine.ports import BadData, StoreUnavailable
from api.fakes import World, app_of, client_of, saga_id

START = {"definition": "book-trip", "key": "order-1", "input": {"to": "Oslo"}}
JSON = {"Content-Type": "application/json"}


def said(response: httpx.Response) -> tuple[int, str]:
    """Status and type of a problem, which is well-formed."""
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == response.status_code
    assert problem["title"]
    assert problem["detail"]
    return response.status_code, problem["type"]


async def test_unknown_paths_and_methods_are_problems(client: httpx.AsyncClient) -> None:
    """What the framework refuses reads like what we refuse."""
    assert said(await client.get("/v2/sagas")) == (404, "amends:not-found")
    response = await client.delete("/v1/sagas")
    assert said(response) == (405, "amends:bad-request")
    assert response.headers["allow"] == "GET, POST"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"{", "Expecting"),
        (b'{"input": NaN}', "NaN is not JSON"),
        (b'{"input": 1e999}', "out of range"),
        (b'{"input": "\\ud800"}', "lone surrogate"),
        (b'{"input": "\\u0000"}', "U+0000"),
        (b"[" * 100_000, "nested deeper"),
        (b"[" * 65 + b"]" * 65, "nested deeper"),
        (b"\xff\xfe{}", "not"),
        (b'{"input": ' + b"9" * 5000 + b"}", "digit"),
    ],
)
async def test_a_body_that_is_not_json_is_refused(
    client: httpx.AsyncClient, body: bytes, why: str
) -> None:
    """JSON that could not be stored or sent on is refused at the door, with the reason."""
    response = await client.post("/v1/sagas", content=body, headers=JSON)
    assert said(response) == (400, "amends:bad-request")
    assert why in response.json()["detail"]


async def test_an_escaped_backslash_before_u0000_is_text(
    client: httpx.AsyncClient, world: World
) -> None:
    """Only a real U+0000 is refused, not the six characters that look like its escape."""
    body = rb'{"definition": "book-trip", "key": "k", "input": "\\u0000 \u00e9"}'
    response = await client.post("/v1/sagas", content=body, headers=JSON)
    assert response.status_code == 201
    assert world.starts[0][2].input == "\\u0000 é"


async def test_a_long_body_is_refused_before_it_is_read(client: httpx.AsyncClient) -> None:
    """Starts may have 256 KiB, definitions 1 MiB; also when the length was not declared."""

    async def chunks() -> object:
        for _ in range(300):
            yield b" " * 1024

    long = b'{"input": "' + b"x" * (256 * 1024) + b'"}'
    assert said(await client.post("/v1/sagas", content=long, headers=JSON)) == (
        413,
        "amends:too-large",
    )
    streamed = await client.post("/v1/sagas", content=chunks(), headers=JSON)  # pyright: ignore[reportArgumentType] # an async iterator of bytes
    assert said(streamed) == (413, "amends:too-large")
    much = b" " * (1024 * 1024 + 1)
    assert said(await client.post("/v1/definitions", content=much, headers=JSON))[0] == 413


async def test_another_content_type_is_refused(client: httpx.AsyncClient) -> None:
    """A form, which any page may send, never starts anything."""
    response = await client.post("/v1/sagas", data=START)
    assert said(response) == (415, "amends:bad-request")
    assert said(await client.post("/v1/sagas", content=b"{}"))[0] == 415


async def test_a_wrong_field_is_named(client: httpx.AsyncClient, world: World) -> None:
    """422 names each field by a JSON pointer, also those that are too many or of another type."""
    body = {"definition": "Book Trip", "key": "", "version": "1", "tenant": "b"}
    response = await client.post("/v1/sagas", json=body)
    assert said(response) == (422, "amends:bad-request")
    errors = {error["path"] for error in response.json()["errors"]}
    assert errors == {"/definition", "/key", "/version", "/tenant"}
    assert world.starts == []


async def test_query_parameters_are_known_or_refused(client: httpx.AsyncClient) -> None:
    """A misspelt filter must not answer with everything."""
    for query in ("stauts=stuck", "status=stuck&status=running", "label.=x", "labels.a=b"):
        response = await client.get(f"/v1/sagas?{query}")
        assert said(response) == (422, "amends:bad-request"), query
        assert response.json()["errors"][0]["path"].startswith("/query/")
    assert said(await client.get("/v1/participants?x=1"))[0] == 422


async def test_ids_are_checked(client: httpx.AsyncClient) -> None:
    """A saga's id is a UUID in its one canonical form."""
    for bad in ("1", "../etc", saga_id(171).upper().replace("-", "")):
        response = await client.get(f"/v1/sagas/{bad}")
        assert response.status_code in {404, 422}, bad
    assert said(await client.get("/v1/sagas/1")) == (422, "amends:bad-request")


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (ProblemType.NOT_FOUND, 404),
        (ProblemType.KEY_CONFLICT, 409),
        (ProblemType.INVALID_INPUT, 422),
        (ProblemType.OVERLOADED, 429),
        (ProblemType.NOT_READY, 503),
        (ProblemType.UNSUPPORTED, 501),
    ],
)
async def test_a_refusal_of_the_engine_keeps_its_type(
    client: httpx.AsyncClient, world: World, kind: ProblemType, status: int
) -> None:
    """The engine's refusal is answered with the status of its type; what passes says when."""
    error = FieldError(path="/input/to", reason="is required")
    world.refusal = Refused(type=kind, detail="because", errors=(error,))
    response = await client.post("/v1/sagas", json=START)
    assert said(response) == (status, kind)
    assert response.json()["errors"] == [{"path": "/input/to", "reason": "is required"}]
    assert ("retry-after" in response.headers) == (status in {429, 503})


async def test_a_database_that_is_away_is_503(client: httpx.AsyncClient, world: World) -> None:
    """Nothing is known of a change under way: the answer says that repeating is safe."""
    world.failure = StoreUnavailable("gone")
    response = await client.post("/v1/sagas", json=START)
    assert said(response) == (503, "amends:not-ready")
    assert "Repeat the request" in response.json()["detail"]
    assert response.headers["retry-after"] == "2"
    assert said(await client.get(f"/v1/sagas/{saga_id(1)}"))[0] == 503


async def test_what_the_database_cannot_hold_is_no_fault_of_ours(
    client: httpx.AsyncClient, world: World
) -> None:
    """A text with U+0000, a number too large: the client's to mend, and nobody is alarmed."""
    world.failure = BadData("list_sagas: 22021 invalid byte sequence")
    response = await client.post("/v1/sagas", json=START)
    assert said(response) == (422, "amends:bad-request")
    assert "22021" not in response.text


async def test_a_fault_of_ours_tells_nothing(client: httpx.AsyncClient, world: World) -> None:
    """An exception is logged; the answer has none of it."""
    world.failure = RuntimeError("secret inside")
    response = await client.post("/v1/sagas", json=START)
    assert said(response) == (500, "amends:internal")
    assert "secret" not in response.text
    assert response.headers["x-content-type-options"] == "nosniff"


async def test_a_definition_of_a_newer_release_is_said(world: World) -> None:
    """A saga that this release cannot read is refused as such, not as a fault."""
    world.add(1)
    world.view = _unreadable
    async with client_of(app_of(world)) as client:
        response = await client.get(f"/v1/sagas/{saga_id(1)}")
    assert said(response) == (501, "amends:unsupported")


async def _unreadable(row: object) -> None:
    raise LookupError("book-trip@1")


async def test_every_answer_carries_the_security_headers(client: httpx.AsyncClient) -> None:
    """Also problems do, and nothing is cached."""
    for path in ("/healthz", "/nothing", "/openapi.json", "/console/"):
        headers = (await client.get(path)).headers
        assert headers["content-security-policy"].startswith("default-src 'none'; script-src")
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"
        assert "set-cookie" not in headers
