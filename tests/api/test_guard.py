"""Who may do what: keys, scopes, tenants, and the loopback without keys."""

from typing import Any

import httpx
import pytest

from amends_orchestrator.api.app import ROUTERS
from amends_orchestrator.api.guard import BindRefused, check_bind
from amends_orchestrator.api.ports import Scope
from amends_orchestrator.api.route import GuardedRoute, needs_of
from api.fakes import KeyRing, World, app_of, client_of, key_for, saga_id

START: dict[str, Any] = {"definition": "book-trip", "key": "order-1", "input": {}}
SAGA = f"/v1/sagas/{saga_id(1)}"
WHY: dict[str, Any] = {"reason": "asked"}
STEP: dict[str, Any] = {"step": "flight", "reason": "asked"}
NEEDED = {
    ("GET", "/v1/sagas"): Scope.VIEWER,
    ("GET", SAGA): Scope.VIEWER,
    ("GET", f"{SAGA}/journal"): Scope.VIEWER,
    ("GET", f"{SAGA}/undo-plan"): Scope.VIEWER,
    ("GET", "/v1/definitions"): Scope.VIEWER,
    ("GET", "/v1/participants"): Scope.VIEWER,
    ("GET", "/metrics"): Scope.VIEWER,
    ("POST", "/v1/sagas"): Scope.STARTER,
    ("POST", f"{SAGA}/cancel"): Scope.STARTER,
    ("POST", f"{SAGA}/undo"): Scope.STARTER,
    ("POST", f"{SAGA}/suspend"): Scope.OPERATOR,
    ("POST", f"{SAGA}/resume"): Scope.OPERATOR,
    ("POST", f"{SAGA}/retry"): Scope.OPERATOR,
    ("POST", "/v1/definitions"): Scope.ADMIN,
}
INCLUDED = {
    Scope.VIEWER: {Scope.VIEWER},
    Scope.STARTER: {Scope.VIEWER, Scope.STARTER},
    Scope.REVIEWER: {Scope.VIEWER, Scope.REVIEWER},
    Scope.OPERATOR: {Scope.VIEWER, Scope.STARTER, Scope.REVIEWER, Scope.OPERATOR},
    Scope.ADMIN: set(Scope),
}


async def ask(client: httpx.AsyncClient, method: str, path: str) -> httpx.Response:
    """A request with a body that every route of this method takes."""
    if method == "GET":
        return await client.get(path)
    body = START if path.endswith("sagas") else STEP if path.endswith("retry") else WHY
    return await client.post(path, json=body)


@pytest.mark.parametrize("scope", list(Scope))
async def test_a_scope_reaches_exactly_as_far_as_it_says(world: World, scope: Scope) -> None:
    """Each route refuses every scope that does not include what it needs, and no other."""
    key = key_for(world, scope)
    world.add(1)
    async with client_of(app_of(world), key=key) as client:
        for (method, path), needed in NEEDED.items():
            status = (await ask(client, method, path)).status_code
            assert (status != 403) == (needed in INCLUDED[scope]), (method, path, status)


def test_no_route_is_open_by_oversight() -> None:
    """Only liveness and readiness answer without a key."""
    routes = [r for router in ROUTERS for r in router.routes if isinstance(r, GuardedRoute)]
    open_to_all = {r.path for r in routes if needs_of(r.endpoint).scope is None}
    assert open_to_all == {"/healthz", "/readyz"}
    assert len(routes) > 20


@pytest.mark.parametrize("header", [None, "Bearer wrong", "Bearer ", "Basic a2V5", "Bearer é"])
async def test_without_a_valid_key_nothing_is_answered(world: World, header: str | None) -> None:
    """401 says how to ask, and nothing of what is there."""
    key_for(world, Scope.ADMIN)
    world.add(1)
    async with client_of(app_of(world)) as client:
        headers = [(b"Authorization", header.encode())] if header else []
        for path in (SAGA, "/v1/sagas", f"/v1/sagas/{saga_id(2)}"):
            response = await client.get(path, headers=headers)
            assert response.status_code == 401
            assert response.json()["type"] == "amends:unauthenticated"
            assert response.headers["www-authenticate"].startswith("Bearer")
        assert (await client.get("/healthz")).status_code == 200


async def test_nothing_of_one_tenant_shows_in_another(world: World) -> None:
    """A foreign saga is not there: not to read, not to wait for, not to act on."""
    world.add(1, tenant="a")
    key = key_for(world, Scope.ADMIN, "b")
    async with client_of(app_of(world), key=key) as client:
        assert (await client.get("/v1/sagas")).json() == {"items": [], "next": None}
        for path in (SAGA, f"{SAGA}?wait=1", f"{SAGA}/journal", f"{SAGA}/undo-plan"):
            assert (await client.get(path)).status_code == 404, path
        for action in ("cancel", "suspend", "resume", "undo"):
            response = await client.post(f"{SAGA}/{action}", json=WHY)
            assert response.json()["type"] == "amends:not-found"
        assert (await client.post(f"{SAGA}/retry", json=STEP)).status_code == 404
        started = await client.post("/v1/sagas", json={**START, "key": "order-1"})
        assert started.json()["created"] is True
    assert world.submitted == []
    assert [tenant for tenant, *_ in world.starts] == ["b"]


async def test_without_keys_only_this_machine_is_answered(world: World) -> None:
    """No key configured: a caller from elsewhere is refused whatever it sends."""
    async with client_of(app_of(world), peer="10.0.0.8") as client:
        assert (await client.get("/v1/sagas")).status_code == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "127.0.0.1:8400"}, 200),
        ({"Host": "[::1]:8400"}, 200),
        ({"Host": "rebound.example:8400"}, 401),
        ({"Origin": "http://localhost"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
    ],
)
async def test_without_keys_no_foreign_page_reaches_it(
    client: httpx.AsyncClient, headers: dict[str, str], status: int
) -> None:
    """A page that rebinds its name to loopback, or sends requests there, is refused."""
    assert (await client.get("/v1/sagas", headers=headers)).status_code == status


async def test_binding_beyond_loopback_needs_a_key(world: World) -> None:
    """The refusal names the address and what to do; with a key any address will do."""
    for host in ("127.0.0.1", "localhost", "::1", "127.0.0.53"):
        await check_bind(host, KeyRing(world))
    for host in ("0.0.0.0", "::", "192.168.1.4", "service.example"):
        with pytest.raises(BindRefused, match="amends keys create") as refused:
            await check_bind(host, KeyRing(world))
        assert refused.value.host == host
    key_for(world, Scope.VIEWER)
    await check_bind("0.0.0.0", KeyRing(world))


async def test_who_asked_is_the_key_never_the_body(world: World) -> None:
    """The journal and the audit name the key's owner."""
    key = key_for(world, Scope.OPERATOR)
    world.add(1)
    async with client_of(app_of(world), key=key) as client:
        await client.post(f"{SAGA}/cancel", json=WHY)
        response = await client.post(f"{SAGA}/cancel", json={**WHY, "by": "somebody"})
        assert response.status_code == 422
    assert world.audit_rows == [
        {
            "tenant": "default",
            "who": "operator of default",
            "action": "cancel",
            "saga_id": saga_id(1),
            "step": None,
            "reason": "asked",
            "outcome": "done",
        }
    ]
