"""The pages in a real browser: they change by themselves, show text as text, and act."""

import asyncio
from typing import Any

import pytest
from playwright.async_api import Browser, Locator, Page, expect

from amends_contracts.names import SagaId, StepPath
from amends_orchestrator.api.ports import Scope
from amends_orchestrator.core.inputs import CancelRequested, SkipRequested
from amends_orchestrator.core.state import SagaStatus
from api.fakes import PAST_PIVOT, World, app_of, key_for
from console.conftest import Site, serving
from console.test_drills import keep, run_of

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]
EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>"


def step(path: str, status: str, **more: Any) -> dict[str, Any]:
    """A step of a view."""
    return {"path": path, "kind": "action", "status": status, "attempt": 1, **more}


def trip(flight: str, hotel: str, **more: Any) -> dict[str, Any]:
    """The view of a trip: flight and hotel side by side, then the card."""
    both = step(
        "book",
        "running",
        children=[
            step("flight", flight, command="flights.reserve", branch="flight"),
            step("hotel", hotel, command="hotels.book", branch="hotel"),
        ],
    )
    both["kind"] = "parallel"
    return {"tree": [both, step("card", "pending", pivot=True)], **more}


def shown(page: Page, path: str) -> Locator:
    """The step's element."""
    return page.locator(f"[id='step-{path}']")


async def test_a_tree_changes_while_one_watches(site: Site) -> None:
    """Steps move on the page as they move in the database, and the page itself is never loaded."""
    made = site.world.add(1)
    site.world.views[made] = trip("running", "pending")
    page = await site.open(f"/console/sagas/{made}")
    await page.evaluate("window.stayed = true")
    await expect(shown(page, "flight")).to_have_attribute("data-status", "running")
    await expect(page.locator("#live-state")).to_have_text("live")

    site.world.views[made] = trip("succeeded", "running")
    site.world.move(made)
    await expect(shown(page, "flight").locator(".word")).to_have_text("done")
    await expect(shown(page, "hotel").locator(".word")).to_have_text("running")

    problem = {"type": "sold-out", "title": "sold-out", "detail": "no room in Oslo"}
    site.world.views[made] = trip(
        "compensated", "failed", failure={"step": "hotel", "problem": problem}
    )
    site.world.move(made, status=SagaStatus.COMPENSATED)
    await expect(page.locator(".status.big")).to_have_text("compensated")
    await expect(page.locator(".callout")).to_contain_text("hotel failed. sold-out: no room")
    await expect(shown(page, "card").locator(".word")).to_have_text("not run")
    await expect(page.locator("#live-state")).to_have_text("ended")
    assert await page.evaluate("window.stayed") is True


async def test_what_one_is_writing_survives_a_change(site: Site) -> None:
    """An open form keeps its place, its text and the focus while steps move around it."""
    made = site.world.add(1)
    site.world.views[made] = trip("running", "pending")
    page = await site.open(f"/console/sagas/{made}")
    await page.locator("#act-cancel > summary").click()
    reason = page.locator("#act-cancel input[name=reason]")
    await reason.fill("customer")
    site.world.views[made] = trip("succeeded", "running", held=["flight"])
    site.world.move(made)
    await expect(shown(page, "flight").locator(".word")).to_have_text("done")
    await reason.press_sequentially(" called")
    assert await reason.input_value() == "customer called"


async def test_the_list_grows_by_itself(site: Site) -> None:
    """A saga that starts or ends shows up, with the counts of each status."""
    page = await site.open()
    await expect(page.locator(".empty")).to_contain_text("No saga has been started yet")
    await expect(page.locator("#live-state")).to_have_text("live")
    made = site.world.add(1, key="order-1")
    row = page.locator(f"[id='s-{made}']")
    await expect(row.locator(".status")).to_have_text("running")
    site.world.move(made, status=SagaStatus.STUCK, residue=2)
    await expect(row.locator(".status")).to_have_text("stuck")
    await expect(row.locator(".residue-badge")).to_contain_text("2 residue")
    await page.locator(".filters a.bad").click()
    await expect(page.locator(".sagas tbody tr")).to_have_count(1)
    await expect(page.locator(".filters a[aria-current]")).to_contain_text("stuck 1")


async def test_foreign_text_is_text(site: Site) -> None:
    """Markup in keys, labels, problems, outputs and effects is shown, never run."""
    made = site.world.add(1, key=EVIL, labels={"who": EVIL})
    problem = {"type": EVIL, "title": EVIL, "detail": EVIL}
    site.world.views[made] = {
        "tree": [step("flight", "failed", command=EVIL, problem=problem, output={"x": EVIL})],
        "failure": {"step": EVIL, "problem": problem},
        "held": [{"path": EVIL, "command": EVIL}],
        "residue": [{"path": EVIL, "reason": EVIL, "owner": EVIL}],
        "output": {"x": EVIL},
    }
    site.page.on("dialog", lambda dialog: site.wrong.append(f"dialog: {dialog.message}"))
    page = await site.open()
    await expect(page.locator(".c-key a")).to_have_text(EVIL)
    await page.locator(".c-key a").click()
    await expect(page.locator("h1")).to_have_text(EVIL)
    site.world.move(made)
    await expect(page.locator("#live-state")).to_have_text("live")
    site.world.views[made]["output"] = {"x": EVIL, "y": 1}
    site.world.move(made)
    await expect(page.locator(".panel pre")).to_contain_text('"y": 1')
    assert await page.locator("img, #main script").count() == 0


async def test_an_operators_buttons_act(site: Site) -> None:
    """Cancel and skip reach the engine with their reason; a refusal is said on the page."""
    made = site.world.add(1, status=SagaStatus.STUCK)
    site.world.views[made] = {"tree": [step("flight", "compensation_failed")], "status": "stuck"}
    page = await site.open(f"/console/sagas/{made}")
    flight = shown(page, "flight")
    await expect(flight.locator("summary", has_text="needs you")).to_be_visible()
    await flight.locator(".act summary", has_text="Skip").click()
    await flight.locator("input[name=owner]").fill("ada")
    await flight.locator(".act[open] input[name=reason]").fill("hotel closed")
    await flight.locator(".act[open] button").click()
    await expect(page.locator(".notice.done")).to_have_text("Skipped.")
    skip = SkipRequested(path=StepPath("flight"), reason="hotel closed", by="local", owner="ada")
    assert site.world.submitted == [("default", made, skip)]

    site.world.refusal = PAST_PIVOT
    await page.locator("#act-cancel > summary").click()
    await page.locator("#act-cancel input[name=reason]").fill("late")
    await page.locator("#act-cancel button").click()
    await expect(page.locator(".notice.refused")).to_contain_text("The pivot has succeeded.")
    await page.reload()
    await expect(page.locator(".notice")).to_have_count(0)
    site.world.refusal = None

    await page.locator("#act-cancel > summary").press("Enter")
    await page.locator("#act-cancel input[name=reason]").fill("customer called")
    await page.keyboard.press("Enter")
    await expect(page.locator(".notice.done")).to_contain_text("Cancelled")
    assert site.world.submitted[-1][2] == CancelRequested(reason="customer called", by="local")
    assert [row["outcome"] for row in site.world.audit_rows] == [
        "done",
        "amends:past-pivot",
        "done",
    ]


async def test_a_bad_form_is_refused_on_the_page(site: Site) -> None:
    """An output that is no JSON reaches nobody."""
    made = site.world.add(1, status=SagaStatus.STUCK)
    site.world.views[made] = {"tree": [step("flight", "unknown")], "status": "stuck"}
    page = await site.open(f"/console/sagas/{made}")
    flight = shown(page, "flight")
    await flight.locator(".act summary", has_text="Resolve").click()
    await flight.locator("textarea").fill("{nope")
    await flight.locator(".act[open] input[name=reason]").fill("r")
    await flight.locator(".act[open] button").click()
    await expect(page.locator(".notice.refused")).to_contain_text("/output")
    assert site.world.submitted == []


async def test_the_demos_buttons_make_it_fail(site: Site) -> None:
    """A press performs the action and says what was done, as text."""
    page = await site.open()
    await page.get_by_role("button", name="Fail the hotel").click()
    await expect(page.locator(".notice.done")).to_have_text("Done: fail-hotel <b>now</b>")
    assert site.demo.performed == ["fail-hotel"]


async def test_pages_work_without_scripts(world: World, browser: Browser) -> None:
    """The list, the tree and the forms are complete in what the server sends."""
    made = world.add(1)
    world.views[made] = trip("running", "pending")
    async with serving(app_of(world)) as url:
        context = await browser.new_context(java_script_enabled=False)
        page = await context.new_page()
        await page.goto(url)
        await page.locator(".c-key a").click()
        await expect(shown(page, "flight")).to_be_visible()
        await page.locator("#act-suspend > summary").click()
        await page.locator("#act-suspend input[name=reason]").fill("wait")
        await page.locator("#act-suspend button").click()
        await expect(page.locator(".notice.done")).to_have_text("Suspended.")
        await context.close()


async def test_with_keys_the_console_asks_for_one(world: World, browser: Browser) -> None:
    """A wrong key is refused; a right one leads on, sees its tenant alone, and what it may do."""
    key = key_for(world, Scope.VIEWER, "a")
    mine, other = world.add(1, tenant="a"), world.add(2, tenant="b")
    async with serving(app_of(world)) as url:
        context = await browser.new_context()
        page = await context.new_page()
        await page.goto(f"{url}/console/sagas/{mine}")
        await page.locator("input[name=key]").fill("wrong")
        await page.get_by_role("button", name="Log in").click()
        await expect(page.locator(".notice.refused")).to_contain_text("unknown or revoked")
        await page.locator("input[name=key]").fill(key)
        await page.get_by_role("button", name="Log in").click()
        await expect(page.locator("h1")).to_have_text("order-1")
        await expect(page.locator(".act")).to_have_count(0)
        [cookie] = await context.cookies()
        assert (cookie.get("httpOnly"), cookie.get("sameSite")) == (True, "Strict")
        assert cookie.get("path") == "/console"
        answer = await page.goto(f"{url}/console/sagas/{other}")
        assert answer is not None
        assert answer.status == 404
        await page.goto(f"{url}/console/")
        await expect(page.locator(".sagas tbody tr")).to_have_count(1)
        await page.get_by_role("button", name="Log out").click()
        await page.goto(f"{url}/console/")
        await expect(page.locator("input[name=key]")).to_be_visible()
        await context.close()


async def test_a_narrow_page_does_not_scroll_sideways(site: Site) -> None:
    """At the width of a phone everything is within it."""
    made = site.world.add(1, key="k" * 120, labels={"a": "b" * 150})
    site.world.views[made] = trip("succeeded", "retrying", held=["flight"])
    await site.page.set_viewport_size({"width": 360, "height": 740})
    run = keep(site.world, run_of(1, against="b" * 120, held=("h" * 120,)))
    for path in ("/console/", f"/console/sagas/{made}", "/console/drills", run):
        page = await site.open(path)
        assert await page.evaluate("document.documentElement.scrollWidth") <= 360, path


async def test_a_mark_of_a_drill_opens_what_stands_behind_it(site: Site) -> None:
    """Without a script of ours: the address of a cell unfolds it."""
    page = await site.open(keep(site.world, run_of(1)))
    why = page.locator("#cell-2")
    await expect(why).to_be_hidden()
    await page.locator(".matrix a.undoing").click()
    await expect(why).to_be_visible()


async def test_nothing_is_asked_while_nobody_watches(site: Site) -> None:
    """When the last page is closed the polls end."""
    made: SagaId = site.world.add(1)
    site.world.views[made] = trip("running", "pending")
    page = await site.open(f"/console/sagas/{made}")
    await expect(page.locator("#live-state")).to_have_text("live")
    await page.goto("about:blank")
    await asyncio.sleep(1.2)
    polls = site.world.polls
    await asyncio.sleep(0.7)
    assert site.world.polls == polls
