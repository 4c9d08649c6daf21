"""Reviews in a browser, on a phone, over the real engine: the inbox, a review, an edit, a link."""

import os
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from amends_contracts.messages import Json
from amends_contracts.names import Op
from api.fakes import until
from api.real import Real, action, real
from console.conftest import serving

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

TEXT = "**Ada** wrote:\n\n- <script>alert(1)</script>\n- [a shop](https://example.com) ![x](y.png)"
REFUND: Json = {
    "name": "refund",
    "version": 1,
    "steps": [
        {
            "id": "look",
            "kind": "review",
            "title": "Is this a complaint?",
            "show": {"markdown": TEXT, "usd": 250},
            "expires": "P1D",
        },
        action(
            "pay",
            "payments.refund",
            input={"usd": 250, "reason": "broken", "fast": False},
            review={
                "title": "Refund ${ action.input.usd } USD to Ada?",
                "assignees": ["ann"],
                "form": {
                    "type": "object",
                    "properties": {
                        "usd": {"type": "number", "title": "US dollars", "maximum": 500},
                        "reason": {"enum": ["broken", "late"]},
                        "fast": {"type": "boolean"},
                    },
                },
            },
        ),
    ],
}


@pytest_asyncio.fixture(loop_scope="module")
async def service(migrated_database_url: str) -> AsyncGenerator[Real]:
    """The service over a database of its own."""
    async with real(migrated_database_url) as made:
        yield made


async def look(page: Page, name: str) -> None:
    """Keep a picture, where somebody wants to look at it."""
    if folder := os.environ.get("AMENDS_PICTURES"):
        await page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


async def fits(page: Page) -> None:
    """Nothing lies beside the screen of a phone."""
    wide = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0


async def test_one_decides_on_a_phone(service: Real, browser: Browser) -> None:
    """What waits appears by itself; text is text; what is changed in the form is what is sent."""
    async with serving(service.app) as url, httpx.AsyncClient(base_url=url, timeout=60) as rest:
        assert (await rest.post("/v1/definitions", json=REFUND)).status_code == 201
        page = await browser.new_page(viewport={"width": 390, "height": 844})
        await page.goto(f"{url}/console/reviews")
        await expect(page.locator(".empty")).to_contain_text("Nothing waits for you")
        start: dict[str, Any] = {"definition": "refund", "key": "t-1", "input": {}}
        await rest.post("/v1/sagas", json=start)
        await expect(page.locator(".inbox .ask")).to_have_text("Is this a complaint?")
        await look(page, "inbox")
        await fits(page)

        await page.locator(".inbox a").click()
        await expect(page.locator(".prose strong")).to_have_text("Ada")
        await expect(page.locator(".prose")).to_contain_text("<script>alert(1)</script>")
        assert await page.locator(".prose script, .prose img").count() == 0
        assert await page.locator(".prose a").get_attribute("rel") == "noreferrer noopener nofollow"
        await page.get_by_label("Comment").fill("yes")
        await look(page, "text")
        await fits(page)
        await page.locator("button.approve").click()
        await expect(page.locator(".notice.done")).to_contain_text("Approved.")
        await expect(page.locator(".said")).to_contain_text("local approved: yes")

        await page.locator(".places a", has_text="Reviews").click()
        await page.locator(".inbox a", has_text="Refund 250 USD to Ada?").click()
        await expect(page.locator("#shown-title code")).to_have_text("payments.refund")
        await page.locator("#edit > summary").click()
        await page.locator("[name='f.usd']").fill("501")
        await look(page, "edit")
        await fits(page)
        await page.locator("#edit button").click()
        await expect(page.locator(".notice.refused")).to_contain_text("501")
        await page.locator("#edit > summary").click()
        await page.locator("[name='f.usd']").fill("120.5")
        await page.locator("[name='f.reason']").select_option("late")
        await page.locator("[name='f.fast']").check()
        await page.locator("[name='f.usd']").press("Enter")
        await expect(page.locator(".notice.done")).to_contain_text("as you changed it")
        await expect(page.locator(".status.big")).to_have_text("approved")
        await page.close()
    seen = [c for c in service.participants.seen if c.op is Op.ACTION]
    assert [c.json() for c in seen] == [{"usd": 120.5, "reason": "late", "fast": True}]


async def asked(rest: httpx.AsyncClient, key: str, title: str) -> str:
    """A saga's open review with this title: its id."""
    await rest.post("/v1/sagas", json={"definition": "refund", "key": key, "input": {}})
    found: list[str] = []

    async def there() -> bool:
        items = (await rest.get("/v1/reviews")).json()["items"]
        found[:] = [i["review_id"] for i in items if (i["key"], i["title"]) == (key, title)]
        return bool(found)

    while not await there():
        pass
    return found[0]


async def approved(rest: httpx.AsyncClient, review_id: str) -> None:
    """It is approved over REST."""
    digest = (await rest.get(f"/v1/reviews/{review_id}")).json()["digest"]
    body = {"decision": "approve", "shown_digest": digest}
    assert (await rest.post(f"/v1/reviews/{review_id}/decision", json=body)).status_code == 200


async def test_a_link_decides_once_and_only_what_it_was_made_for(
    service: Real, browser: Browser
) -> None:
    """GET shows, POST decides; used twice, tampered, and after an edit: refused."""
    async with serving(service.app) as url, httpx.AsyncClient(base_url=url, timeout=60) as rest:
        assert (await rest.post("/v1/definitions", json=REFUND)).status_code == 201
        await approved(rest, await asked(rest, "t-1", "Is this a complaint?"))
        review_id = await asked(rest, "t-1", "Refund 250 USD to Ada?")
        nobody = await rest.post(f"/v1/reviews/{review_id}/links", json={"reviewer": "bea"})
        assert nobody.status_code == 422
        made = await rest.post(f"/v1/reviews/{review_id}/links", json={"reviewer": "ann"})
        link = made.json()["url"]
        assert link.startswith(url)
        for _ in range(2):
            assert (await rest.get(link)).status_code == 200
        tampered = link[:-1] + ("0" if link[-1] != "0" else "1")
        assert (await rest.get(tampered)).status_code == 401
        assert (await rest.post(f"{link}/approve")).status_code == 403  # not from our page
        assert (await rest.get(f"/v1/reviews/{review_id}")).json()["status"] == "open"

        page = await browser.new_page(viewport={"width": 390, "height": 844})
        await page.goto(link)
        await expect(page.locator("form.decide").first).to_contain_text("You decide as ann")
        await look(page, "link")
        await page.locator("button.approve").click()
        await expect(page.locator(".notice.done")).to_contain_text("Approved.")
        await expect(page.locator("form.decide")).to_have_count(0)
        said = await page.evaluate(
            """link => fetch(link + '/approve', {method: 'POST', redirect: 'follow',
               headers: {'Content-Type': 'application/x-www-form-urlencoded'}, body: 'x=1'})
               .then(answer => answer.text())""",
            link,
        )
        assert "Refused." in said
        await page.close()
    await until(lambda: len(service.participants.seen) == 1)
