"""The console's cookie and forms, against what a browser would not send."""

import base64
import json
import time

import httpx
import pytest

from amends_orchestrator.api.guard import REMEMBERED_S
from amends_orchestrator.api.ports import Scope
from amends_orchestrator.console.session import SESSION_S, safe_next
from api.fakes import World, app_of, client_of, key_for

SECRET = b"a secret of sixteen"
OURS = {"Origin": "http://localhost"}


async def logged_in(client: httpx.AsyncClient, key: str) -> str:
    """The cookie that a key gives."""
    response = await client.post("/console/login", data={"key": key}, headers=OURS)
    assert response.status_code == 303
    return response.cookies["amends_console"]


async def sees(client: httpx.AsyncClient) -> bool:
    """Whether the list is shown, and not the way to the login."""
    response = await client.get("/console/")
    assert response.status_code in {200, 303}
    return response.status_code == 200


async def test_a_cookie_of_ours_is_believed_by_every_process(world: World) -> None:
    """Another process with the same secrets takes it; one with others does not."""
    key = key_for(world, Scope.OPERATOR)
    async with client_of(app_of(world, secrets=[SECRET])) as client:
        cookie = await logged_in(client, key)
        assert await sees(client)
    for secrets, believed in ([b"new one", SECRET], True), ([b"another"], False), ([], False):
        async with client_of(app_of(world, secrets=secrets)) as client:
            client.cookies.set("amends_console", cookie, path="/console")
            assert await sees(client) == believed


async def test_a_changed_or_old_cookie_is_worth_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A payload with another scope under the old signature, rubbish, and yesterday's."""
    key = key_for(world, Scope.VIEWER)
    async with client_of(app_of(world, secrets=[SECRET])) as client:
        text, signature = (await logged_in(client, key)).split(".")
        payload = json.loads(base64.urlsafe_b64decode(text))
        payload["s"] = "admin"
        forged = base64.urlsafe_b64encode(json.dumps(payload).encode()).decode()
        for cookie in (f"{forged}.{signature}", "x", ".", f"{text}.", "é.é"):
            client.cookies.clear()
            headers = [(b"Cookie", f"amends_console={cookie}".encode())]
            response = await client.get("/console/", headers=headers)
            assert response.status_code == 303, cookie
        client.cookies.set("amends_console", f"{text}.{signature}", path="/console")
        assert await sees(client)
        later = time.time() + SESSION_S + 1
        monkeypatch.setattr(time, "time", lambda: later)
        assert not await sees(client)


async def test_a_revoked_key_ends_its_sessions(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within seconds, the time for which checks are remembered."""
    key = key_for(world, Scope.ADMIN)
    key_for(world, Scope.VIEWER)
    async with client_of(app_of(world, secrets=[SECRET])) as client:
        await logged_in(client, key)
        assert await sees(client)
        del world.known_keys[key]
        later = time.monotonic() + REMEMBERED_S + 1
        monkeypatch.setattr(time, "monotonic", lambda: later)
        assert not await sees(client)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "cross-site", **OURS},
    ],
)
async def test_a_foreign_form_does_nothing(world: World, headers: dict[str, str]) -> None:
    """Without keys and with a session alike: only our own pages may send forms."""
    made = world.add(1)
    async with client_of(app_of(world)) as client:
        for path in (f"/console/sagas/{made}/cancel", "/console/demo/x", "/console/login"):
            response = await client.post(path, data={"reason": "r"}, headers=headers)
            assert response.status_code == 403, path
    assert world.submitted == []


async def test_a_viewer_cannot_act(world: World) -> None:
    """A form sent past the page is refused by scope, and said."""
    key = key_for(world, Scope.VIEWER)
    made = world.add(1)
    async with client_of(app_of(world)) as client:
        await logged_in(client, key)
        path = f"/console/sagas/{made}/cancel"
        response = await client.post(path, data={"reason": "r"}, headers=OURS)
        assert response.status_code == 303
        page = await client.get(f"/console/sagas/{made}")
        assert "needs starter" in page.text
    assert world.submitted == []


async def test_the_cookie_opens_no_api(world: World) -> None:
    """REST takes keys alone, so no page can make a browser use it."""
    key = key_for(world, Scope.ADMIN)
    async with client_of(app_of(world)) as client:
        await logged_in(client, key)
        assert (await client.get("/v1/sagas")).status_code == 401


async def test_live_pages_need_a_session_too(world: World) -> None:
    """A stream is refused, not redirected."""
    key_for(world, Scope.ADMIN)
    made = world.add(1)
    async with client_of(app_of(world)) as client:
        for path in ("/console/live", f"/console/sagas/{made}/live"):
            assert (await client.get(path)).status_code == 401


@pytest.mark.parametrize(
    ("wanted", "to"),
    [
        ("/console/sagas/1", "/console/sagas/1"),
        ("//evil.example/console/", "/console/"),
        ("https://evil.example/console/", "/console/"),
        ("/v1/sagas", "/console/"),
        ("/console", "/console/"),
    ],
)
def test_login_leads_only_into_the_console(wanted: str, to: str) -> None:
    """Whatever the address says, nobody is led elsewhere."""
    assert safe_next(wanted) == to


async def test_what_is_not_there_is_a_page(world: World) -> None:
    """404 with a way back, for ids, actions and files alike."""
    made = world.add(1)
    async with client_of(app_of(world)) as client:
        for path in ("/console/sagas/x", "/console/static/../pages.py", "/console/nothing"):
            response = await client.get(path)
            assert response.status_code == 404
            assert "/console/" in response.text
        path = f"/console/sagas/{made}/explode"
        response = await client.post(path, data={"reason": "r"}, headers=OURS)
        assert response.status_code == 404
