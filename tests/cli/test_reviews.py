"""`amends reviews`, `approve`, `reject`, `edit`: what they show, and what they decide."""

from typing import Any

import pytest

from cli.fake_service import FakeService
from cli.running import Amends

SAGA = "01976f3e-8a4b-7c1d-9e2f-3a4b5c6d7e8f"
ID = f"{SAGA}.4"
DIGEST = "a" * 64
ITEM: dict[str, Any] = {
    "review_id": ID,
    "saga_id": SAGA,
    "definition": "refund",
    "version": 1,
    "key": "ticket-17",
    "step": "pay",
    "command": "payments.refund",
    "title": "Refund 250 USD?",
    "status": "open",
    "quorum": 1,
    "assignees": ["ann", "role:lead"],
    "approved_by": [],
    "digest": DIGEST,
    "requested_at": "2026-01-05T09:30:00+00:00",
    "due": "2026-01-06T09:30:00+00:00",
    "decided_at": None,
}
WHOLE: dict[str, Any] = ITEM | {"show": {"usd": 250, "to": "Ada"}, "form": {}, "decisions": []}
DECIDED = {
    "review_id": ID,
    "status": "approved",
    "digest": DIGEST,
    "saga_id": SAGA,
    "saga_status": "running",
}


@pytest.fixture
def asked(service: FakeService) -> FakeService:
    """A service with one review."""
    service.on("GET", "/v1/reviews", {"items": [ITEM], "next": None})
    service.on("GET", f"/v1/reviews/{ID}", WHOLE)
    service.on("POST", f"/v1/reviews/{ID}/decision", DECIDED)
    return service


def test_what_waits_is_listed_with_whom_it_waits_for(amends: Amends, asked: FakeService) -> None:
    """One line each."""
    ran = amends("reviews", "--mine")
    assert ran.code == 0
    line = " ".join(ran.out.split())
    assert f"{ID} Refund 250 USD? ann, role:lead refund ticket-17" in line


def test_a_review_is_shown_with_what_would_be_sent(amends: Amends, asked: FakeService) -> None:
    """And with the digest that a decision is bound to."""
    ran = amends("reviews", ID)
    assert "would send payments.refund" in ran.out
    assert f"digest {DIGEST}" in ran.out


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        (("approve", ID), {"decision": "approve"}),
        (("reject", ID, "-c", "too much"), {"decision": "reject", "comment": "too much"}),
        (
            ("edit", ID, "--set", "usd=100"),
            {"decision": "edit", "body": {"usd": 100, "to": "Ada"}},
        ),
    ],
)
def test_a_decision_is_on_what_was_shown(
    amends: Amends, asked: FakeService, arguments: tuple[str, ...], sent: dict[str, Any]
) -> None:
    """It carries the digest of what stands above it on the screen."""
    ran = amends(*arguments)
    assert ran.code == 0, ran.err
    assert "Refund 250 USD?" in ran.out
    assert asked.asked[-1].body == sent | {"shown_digest": DIGEST}
    assert "the review is approved, the saga running" in " ".join(ran.out.split())
