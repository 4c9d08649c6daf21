"""Over HTTP against a provider that breaks to order: what its faults mean, and what they cost."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from llmock.pytest_plugin import LLMock

from amends_contracts.problems import ProblemType
from amends_participants import Failed, Unknown
from amends_participants.llm import Generate, Price
from amends_participants.llm.asking import Asking
from amends_participants.llm.models import Models
from llm.test_asking import CITY, effect

CHAT = "openai-chat:gpt-4o-mini"
PRICES = {CHAT: Price(input_usd=1, output_usd=1)}


async def ask(at: Any = None, **fields: Any) -> Any:
    """The output, or what was raised."""
    cmd = Generate.model_validate({"prompt": "Where?", "models": [CHAT], **fields})
    models = Models({})
    try:
        return await Asking.of(cmd, at or effect(), models, PRICES).answer()
    except (Failed, Unknown) as said:
        return said
    finally:
        await models.close()


@pytest.mark.parametrize("name", [CHAT, "openai:gpt-4o-mini"])
async def test_an_answer_comes_with_tokens_money_and_the_models_full_name(
    provider: LLMock, name: str
) -> None:
    """Over both of its interfaces."""
    provider.reply("In Lisbon.")
    at = effect()
    assert await ask(at, models=[name], prices={name: PRICES[CHAT].model_dump()}) == {
        "text": "In Lisbon."
    }
    assert at.usage is not None
    assert at.usage.input_tokens > 0
    assert at.usage.usd == pytest.approx((at.usage.input_tokens + at.usage.output_tokens) / 1e6)
    assert at.usage.answered_by == "gpt-4o-mini"


async def test_a_schema_goes_to_a_provider_that_knows_schemas(provider: LLMock) -> None:
    """As `response_format`, and what comes is held against it all the same."""
    output = await ask(output=CITY)
    assert set(output) == {"city"}
    sent = provider.last_request.body["response_format"]
    assert sent["json_schema"]["schema"]["required"] == ["city"]


async def test_a_wrong_answer_is_asked_for_again(provider: LLMock) -> None:
    """With what is wrong with it."""
    provider.reply('{"town": "Rome"}').reply('{"city": "Rome"}')
    assert await ask(output=CITY) == {"city": "Rome"}
    said = provider.last_request.body["messages"][-1]["content"]
    assert "Additional properties are not allowed" in said


@pytest.mark.parametrize("status", [429, 529])
async def test_a_busy_provider_is_a_failure_that_says_when_to_come_back(
    provider: LLMock, status: int
) -> None:
    """One request: repeating it is the orchestrator's."""
    provider.fail(status, retry_after=3, times=None)
    said = await ask()
    assert isinstance(said, Failed)
    assert (said.problem.type, said.retryable, said.retry_after) == (ProblemType.PROVIDER, True, 3)
    assert len(provider.requests) == 1


async def test_a_provider_that_breaks_leaves_it_unknown(provider: LLMock) -> None:
    """It may have answered, and been paid."""
    provider.fail(500, times=None)
    at = effect()
    assert isinstance(await ask(at), Unknown)
    assert at.usage is not None
    assert (at.usage.calls, at.usage.lost, at.usage.usd) == (1, 1, None)
    assert len(provider.requests) == 1


async def test_a_slow_provider_is_left_before_the_orchestrator_stops_waiting(
    provider: LLMock,
) -> None:
    """What it does afterwards nobody knows."""
    provider.delay(5)
    at = effect(deadline=datetime.now(UTC) + timedelta(seconds=0.5))
    assert isinstance(await ask(at), Unknown)
    assert at.usage is not None
    assert at.usage.lost == 1


async def test_the_next_model_answers_when_the_first_is_down(provider: LLMock) -> None:
    """In the order of preference; a name that nobody knows is passed by."""
    provider.fail(503).reply("x")
    at = effect()
    assert await ask(at, models=[CHAT, "nobody:knows", f"{CHAT}-2"]) == {"text": "x"}
    assert [request.status for request in provider.requests] == [503, 200]
    assert at.usage is not None
    assert (at.usage.model, at.usage.calls, at.usage.lost) == (f"{CHAT}-2", 2, 0)


@pytest.mark.parametrize("status", [400, 401, 404])
async def test_a_request_that_is_not_accepted_is_a_failure(provider: LLMock, status: int) -> None:
    """For good; what the provider says of it does not travel."""
    provider.fail(status, times=None)
    said = await ask(prompt="canary")
    assert isinstance(said, Failed)
    assert not said.retryable
    assert str(status) in str(said)
    assert "canary" not in str(said)
