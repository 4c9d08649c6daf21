"""The page over the real engine and Postgres: what runs there is what one sees."""

from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from amends_contracts.messages import Command
from api.real import TRIP, Real, real
from console.conftest import serving
from engine.scripted import failed, succeeded

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(loop_scope="module")
async def service(migrated_database_url: str) -> AsyncGenerator[Real]:
    """The service over a database of its own."""
    async with real(migrated_database_url) as made:
        yield made


async def test_one_watches_a_saga_being_cancelled(service: Real, browser: Browser) -> None:
    """The pivot's service is silent; the operator cancels on the page; the undo shows live."""
    held: list[Command] = []
    service.participants.on("payments.charge", held.append)
    service.participants.on("flights.reserve", succeeded(code="7C"))
    service.participants.on("mail.card", failed("no-paper"))
    async with serving(service.app) as url, httpx.AsyncClient(base_url=url, timeout=60) as rest:
        assert (await rest.post("/v1/definitions", json=TRIP)).status_code == 201
        page = await browser.new_page()
        await page.goto(url)
        await expect(page.locator("#live-state")).to_have_text("live")
        body: dict[str, Any] = {"definition": "book-trip", "key": "order-1", "input": {"to": "A"}}
        await rest.post("/v1/sagas", json=body)
        await page.locator(".c-key a", has_text="order-1").click()
        await expect(page.locator("#step-pay")).to_have_attribute("data-status", "running")
        await expect(page.locator("#step-flight .how")).to_contain_text("done")
        await expect(page.locator("ol.effects li")).to_have_count(3)
        await expect(page.locator("#step-card .word")).to_have_text("not run")

        await page.locator("#act-cancel > summary").click()
        await page.locator("#act-cancel input[name=reason]").fill("customer called")
        await page.locator("#act-cancel button").click()
        await expect(page.locator(".notice.done")).to_contain_text("Cancelled")
        await expect(page.locator(".callout")).to_contain_text("Cancelled by local.")
        await expect(page.locator(".callout")).to_contain_text("customer called")
        await expect(page.locator(".status.big")).to_have_text("compensated", timeout=30_000)
        await expect(page.locator("#step-flight .word")).to_have_text("undone")
        await expect(page.locator("#live-state")).to_have_text("ended")

        await page.locator(".places a", has_text="Drills").click()
        await expect(page.locator(".empty")).to_contain_text("Nothing was drilled here yet")
        await page.close()
    assert held
