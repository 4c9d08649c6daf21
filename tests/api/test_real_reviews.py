"""Reviews over REST, the real engine and Postgres: decided once, in time, by whom they are for."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from amends_contracts.messages import Json
from amends_contracts.names import Op
from api.fakes import client_of
from api.real import Real, action, real

REFUND: Json = {
    "name": "refund",
    "version": 1,
    "input": {"type": "object", "properties": {"usd": {"type": "number"}}},
    "steps": [
        action("note", "mail.note"),
        action(
            "pay",
            "payments.refund",
            input={"usd": "${ input.usd }"},
            review={
                "title": "Refund ${ action.input.usd } USD?",
                "form": {
                    "type": "object",
                    "properties": {"usd": {"type": "number", "maximum": 500}},
                    "required": ["usd"],
                },
                "assignees": ["ann", "role:lead"],
                "quorum": 2,
                "not_requester": True,
            },
        ),
    ],
}
KEYS = {
    "shop": ("starter", ()),
    "ann": ("reviewer", ()),
    "bea": ("reviewer", ("lead",)),
    "cleo": ("reviewer", ("clerk",)),
    "root": ("admin", ("lead",)),
}


@dataclass
class Office:
    """The service, and everybody's client."""

    real: Real
    clients: dict[str, httpx.AsyncClient] = field(default_factory=dict[str, httpx.AsyncClient])

    async def post(self, who: str, path: str, **body: Json) -> tuple[int, Any]:
        """What somebody is answered."""
        response = await self.clients[who].post(path, json=body)
        return response.status_code, response.json()

    async def get(self, who: str, path: str) -> Any:
        """What somebody reads."""
        response = await self.clients[who].get(path)
        assert response.status_code == 200, response.text
        return response.json()

    async def asked(self, key: str = "t-1", usd: float = 250, by: str = "shop") -> Any:
        """A saga is started and has come to its review."""
        saga = await self.post(by, "/v1/sagas", definition="refund", key=key, input={"usd": usd})
        assert saga[0] == 201, saga
        async with asyncio.timeout(20):
            while True:
                items = (await self.get("ann", "/v1/reviews"))["items"]
                found = [item for item in items if item["saga_id"] == saga[1]["saga_id"]]
                if found:
                    return await self.get("ann", f"/v1/reviews/{found[0]['review_id']}")
                await asyncio.sleep(0.02)

    async def decide(
        self, who: str, review: Mapping[str, Any], decision: str, **more: Json
    ) -> tuple[int, Any]:
        """Somebody decides on what they were shown."""
        body = {"decision": decision, "shown_digest": review["digest"], **more}
        return await self.post(who, f"/v1/reviews/{review['review_id']}/decision", **body)

    async def ended(self, review: Mapping[str, Any]) -> Any:
        """The saga, when it is over."""
        return await self.get("ann", f"/v1/sagas/{review['saga_id']}?wait=20")

    def refunds(self) -> list[Any]:
        """What was really refunded."""
        seen = self.real.participants.seen
        return [c.json() for c in seen if (c.type, c.op) == ("payments.refund", Op.ACTION)]


@pytest.fixture
async def office(migrated_database_url: str) -> AsyncGenerator[Office]:
    """A service with keys, and the definition."""
    async with real(migrated_database_url) as made:
        office = Office(made)
        keys = {
            name: await made.keys.create(name, "default", scope, roles=roles)
            for name, (scope, roles) in KEYS.items()
        }
        async with (
            client_of(made.app, key=keys["shop"]) as office.clients["shop"],
            client_of(made.app, key=keys["ann"]) as office.clients["ann"],
            client_of(made.app, key=keys["bea"]) as office.clients["bea"],
            client_of(made.app, key=keys["cleo"]) as office.clients["cleo"],
            client_of(made.app, key=keys["root"]) as office.clients["root"],
        ):
            for client in office.clients.values():
                client.timeout = httpx.Timeout(60)
            status, said = await office.post("root", "/v1/definitions", **REFUND)
            assert status == 201, said
            yield office


async def test_two_approve_and_what_they_saw_runs(office: Office) -> None:
    """A review from request to effect, as lists, pages and the audit show it."""
    review = await office.asked()
    assert review["title"] == "Refund 250 USD?"
    assert (review["command"], review["show"]) == ("payments.refund", {"usd": 250})
    assert office.refunds() == []
    status, said = await office.decide("ann", review, "approve", comment="ok")
    assert (status, said["status"], said["saga_status"]) == (200, "open", "running")
    status, said = await office.decide("bea", review, "approve")
    assert (status, said["status"]) == (200, "approved")
    assert (await office.ended(review))["status"] == "completed"
    assert office.refunds() == [{"usd": 250}]
    over = await office.get("ann", "/v1/reviews?status=approved")
    assert [one["approved_by"] for one in over["items"]] == [["ann", "bea"]]
    whole = await office.get("ann", f"/v1/reviews/{review['review_id']}")
    assert [(d["by"], d["decision"], d["comment"]) for d in whole["decisions"]] == [
        ("ann", "approve", "ok"),
        ("bea", "approve", None),
    ]
    audited = await office.real.audit.list("default")
    assert ("ann", "review.approve", "done") in [(a.who, a.action, a.outcome) for a in audited]


async def test_what_does_not_count_is_refused_and_nothing_happens(office: Office) -> None:
    """The wrong person, another digest, twice, the requester, a misfit, and after the end."""
    review = await office.asked()
    path = f"/v1/reviews/{review['review_id']}/decision"
    body: dict[str, Json] = {"decision": "approve", "shown_digest": review["digest"]}

    async def kind(who: str, **more: Json) -> tuple[int, str]:
        status, said = await office.post(who, path, **(body | more))
        return status, said["type"]

    assert await kind("cleo") == (403, "amends:forbidden")
    assert await kind("shop") == (403, "amends:forbidden")
    assert await kind("ann", shown_digest="0" * 64) == (409, "amends:review-changed")
    assert await kind("ann", body={"usd": 1}) == (422, "amends:bad-request")
    assert await kind("ann", decision="edit") == (422, "amends:bad-request")
    for misfit in ({"usd": 501}, {"usd": "9"}, {}, [1]):
        assert await kind("ann", decision="edit", body=misfit) == (422, "amends:bad-request")
    assert (await office.decide("ann", review, "approve"))[0] == 200
    assert await kind("ann") == (409, "amends:wrong-state")
    assert await kind("ann", decision="reject") == (409, "amends:wrong-state")
    missing = f"/v1/reviews/{review['saga_id']}.999/decision"
    assert (await office.post("ann", missing, **body))[0] == 404
    assert office.refunds() == []
    assert (await office.decide("bea", review, "reject", comment="no"))[0] == 200
    saga = await office.ended(review)
    assert (saga["status"], saga["failure"]["type"]) == ("compensated", "amends:rejected")
    assert await kind("bea") == (409, "amends:wrong-state")
    assert office.refunds() == []


async def test_who_started_it_does_not_approve_it(office: Office) -> None:
    """Whatever their scope and role."""
    review = await office.asked(by="root")
    status, said = await office.decide("root", review, "approve")
    assert (status, said["type"]) == (403, "amends:forbidden")


async def test_an_edit_runs_in_place_of_what_was_shown(office: Office) -> None:
    """It voids ann's approval: the editor and somebody else make the two."""
    review = await office.asked()
    await office.decide("ann", review, "approve")
    status, said = await office.decide("bea", review, "edit", body={"usd": 100})
    assert (status, said["status"]) == (200, "open")
    status, stale = await office.decide("ann", review, "approve")
    assert (status, stale["type"]) == (409, "amends:review-changed")
    changed = await office.get("ann", f"/v1/reviews/{review['review_id']}")
    assert (changed["show"], changed["approved_by"]) == ({"usd": 100}, ["bea"])
    assert (await office.decide("ann", changed, "approve"))[0] == 200
    await office.ended(review)
    assert office.refunds() == [{"usd": 100}]


async def test_many_decide_at_once_and_each_counts_once(office: Office) -> None:
    """However often a decision is sent, and whatever races it."""
    review = await office.asked()
    answers = await asyncio.gather(
        *(office.decide(who, review, "approve") for who in ("ann", "bea", "ann", "bea", "ann"))
    )
    assert sorted(status for status, _ in answers) == [200, 200, 409, 409, 409]
    await office.ended(review)
    assert office.refunds() == [{"usd": 250}]


async def test_lists_are_pages_and_know_who_asks(office: Office) -> None:
    """Longest waiting first; `mine` leaves out what others are to decide."""
    asked = [(await office.asked(f"t-{n}"))["review_id"] for n in range(3)]
    first = await office.get("ann", "/v1/reviews?limit=2&mine=true")
    assert [item["review_id"] for item in first["items"]] == asked[:2]
    rest = await office.get("ann", f"/v1/reviews?limit=2&cursor={first['next']}")
    assert ([item["review_id"] for item in rest["items"]], rest["next"]) == (asked[2:], None)
    assert (await office.get("cleo", "/v1/reviews?mine=true"))["items"] == []
    assert len((await office.get("cleo", "/v1/reviews"))["items"]) == 3
    bad = await office.clients["ann"].get("/v1/reviews?cursor=x")
    assert bad.status_code == 422


async def test_a_saga_that_is_cancelled_asks_nobody_any_more(office: Office) -> None:
    """The request is withdrawn, and what follows it is refused."""
    review = await office.asked()
    await office.post("shop", f"/v1/sagas/{review['saga_id']}/cancel", reason="mistake")
    assert (await office.ended(review))["status"] == "compensated"
    gone = await office.get("ann", f"/v1/reviews/{review['review_id']}")
    assert gone["status"] == "withdrawn"
    assert (await office.decide("ann", review, "approve"))[0] == 409


async def test_what_was_approved_and_undone_is_said(office: Office) -> None:
    """A late undo rolls back what two people approved."""
    review = await office.asked()
    await office.decide("ann", review, "approve")
    await office.decide("bea", review, "approve")
    await office.ended(review)
    status, undo = await office.post("shop", f"/v1/sagas/{review['saga_id']}/undo", reason="oops")
    assert status == 201, undo
    await office.get("ann", f"/v1/sagas/{undo['saga_id']}?wait=20")
    assert (await office.get("ann", f"/v1/reviews/{review['review_id']}"))["status"] == (
        "rolled_back"
    )
