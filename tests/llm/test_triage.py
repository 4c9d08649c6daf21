"""The example `triage`, whole: models, a tool, money, and what is shown of them."""

from collections.abc import Iterator

import pytest

from llm.whole import whole
from triage.models import app as models
from triage.tools import PAID
from triage.tools import app as tools
from triage.triage import plan


@pytest.fixture(autouse=True)
def nothing_paid() -> Iterator[None]:
    """Before and after."""
    PAID.clear()
    yield
    PAID.clear()


async def test_a_ticket_is_read_paid_back_and_answered(migrated_database_url: str) -> None:
    """With what each call used, added up, and the prompt as it was asked in the journal."""
    async with whole(migrated_database_url, [plan], [models, tools]) as service:
        shown = await service.run("triage", {"order": "o-1", "text": "Broken! My money!"})
        journal = await service.journal(shown["saga_id"])
    assert (shown["status"], shown["output"]) == (
        "completed",
        {"topic": "refund", "text": "Your money is on its way."},
    )
    reading, refund, answer = shown["steps"]
    assert (reading["kind"], reading["command"]) == ("llm", "llm.generate")
    assert (refund["kind"], refund["command"]) == ("tool", "tools.refund")
    assert list(PAID.values()) == [30]
    assert reading["usage"]["usd"] > 0
    assert shown["usage"]["usd"] == pytest.approx(reading["usage"]["usd"] + answer["usage"]["usd"])
    assert [model["model"] for model in shown["usage"]["models"]] == ["scripted"]
    asked = [row["data"] for row in journal if row["kind"] == "step.dispatched"]
    assert asked[0]["input"]["prompt"] == "Read this ticket: Broken! My money!"
    assert asked[0]["reserved"] == [3, 0, 20_000_000]


@pytest.mark.parametrize(
    ("text", "failure", "refund"),
    [
        ("rude: my money!", "amends:refusal", "compensated"),
        ("all my money!", "amends:not-allowed", "failed"),
    ],
)
async def test_what_fails_takes_the_refund_back(
    migrated_database_url: str, text: str, failure: str, refund: str
) -> None:
    """A model that refuses, and a refund beyond its cap."""
    async with whole(migrated_database_url, [plan], [models, tools]) as service:
        shown = await service.run("triage", {"order": "o-1", "text": text})
    assert (shown["status"], shown["failure"]["type"]) == ("compensated", failure)
    assert [s["status"] for s in shown["steps"] if s["path"] == "refund"] == [refund]
    assert PAID == {}
