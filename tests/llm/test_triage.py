"""The example `triage`, whole: models, money, and what is shown of both."""

import pytest

from llm.whole import whole
from triage.models import app
from triage.triage import plan


async def test_a_ticket_is_read_and_answered(migrated_database_url: str) -> None:
    """With what each call used, added up, and the prompt as it was asked in the journal."""
    async with whole(migrated_database_url, [plan], [app]) as service:
        shown = await service.run("triage", {"order": "o-1", "text": "Broken! My money!"})
        journal = await service.journal(shown["saga_id"])
    assert (shown["status"], shown.get("output"), shown.get("failure")) == (
        "completed",
        {"topic": "refund", "text": "Your money is on its way."},
        None,
    )
    reading, answer = shown["steps"]
    assert (reading["kind"], reading["command"]) == ("llm", "llm.generate")
    assert reading["usage"]["usd"] > 0
    assert shown["usage"]["usd"] == pytest.approx(reading["usage"]["usd"] + answer["usage"]["usd"])
    assert [model["model"] for model in shown["usage"]["models"]] == ["scripted"]
    asked = [row["data"] for row in journal if row["kind"] == "step.dispatched"]
    assert asked[0]["input"]["prompt"] == "Read this ticket: Broken! My money!"
    assert asked[0]["reserved"] == [3, 0, 20_000_000]
