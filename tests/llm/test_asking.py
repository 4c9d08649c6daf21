"""One attempt of a model call, over scripted models: what is asked, mended, counted and refused."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic_ai import exceptions
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart
from pydantic_ai.models import Model
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.usage import RequestUsage

from amends_contracts.messages import Usage
from amends_contracts.names import Key, SagaId
from amends_contracts.problems import ProblemType
from amends_participants import Effect, Failed, Unknown
from amends_participants.llm import Generate, Price
from amends_participants.llm.asking import Asking
from amends_participants.llm.models import Models
from amends_participants.llm.prices import Prices

CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
CHEAP = Price(input_usd=1, output_usd=10)
Said = str | Exception | ModelResponse


def model(*answers: Said, tokens: tuple[int, int] = (100, 10)) -> FunctionModel:
    """A model that says these, one after the other; an exception is raised."""
    left = list(answers)

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        said = left.pop(0)
        if isinstance(said, Exception):
            raise said
        if isinstance(said, ModelResponse):
            return said
        used = RequestUsage(input_tokens=tokens[0], output_tokens=tokens[1])
        return ModelResponse(parts=[TextPart(said)], usage=used)

    return FunctionModel(
        answer, model_name="scripted", profile={"supports_json_schema_output": False}
    )


def http(status: int, category: Any = None, **more: Any) -> Exception:
    """What pydantic-ai raises for an HTTP status."""
    return exceptions.ModelHTTPError.for_category(
        category, status_code=status, model_name="m", body={"secret": "canary"}, **more
    )


BUSY = http(429, exceptions.ModelRateLimitError, retry_after=7.0)
BROKEN = http(500, exceptions.ModelServerError)
UNPAID = http(402, exceptions.ModelQuotaExceededError)
LATE = exceptions.ModelTimeoutError("m", "late")


def effect(**more: Any) -> Effect:
    """Of an attempt that the orchestrator waits a minute for."""
    fields: dict[str, Any] = {"deadline": datetime.now(UTC) + timedelta(minutes=1), **more}
    return Effect(key=Key("k"), attempt=1, saga_id=SagaId("s"), step="ask", **fields)


async def ask(*models: Model, at: Effect | None = None, **fields: Any) -> tuple[Any, Usage | None]:
    """The output, or what was raised; and the usage that is reported."""
    names = [f"m:{n}" for n in range(len(models))]
    cmd = Generate.model_validate({"prompt": "Where?", "models": names, **fields})
    at = at or effect()
    known = Models(dict(zip(names, models, strict=True)))
    try:
        return await Asking.of(cmd, at, known, {}).answer(), at.usage
    except (Failed, Unknown) as said:
        return said, at.usage


async def test_an_answer_without_a_schema_is_a_text() -> None:
    """With model, tokens, and the digest of what was asked; its price is not known."""
    output, usage = await ask(model("In Lisbon."))
    assert output == {"text": "In Lisbon."}
    assert usage is not None
    assert usage == Usage(
        100, 10, None, "m:0", answered_by="scripted", prompt_digest=usage.prompt_digest
    )
    assert len(usage.prompt_digest or "") == 64


@pytest.mark.parametrize("text", ['{"city": "Rome"}', '```json\n{"city": "Rome"}\n```'])
async def test_an_answer_of_the_form_that_was_asked_for_is_the_output(text: str) -> None:
    """Also in the fence that models like."""
    output, _ = await ask(model(text), output=CITY)
    assert output == {"city": "Rome"}


@pytest.mark.parametrize("wrong", ["Rome", '["Rome"]', '{"town": "Rome"}', '{"city": NaN}'])
async def test_a_wrong_form_is_asked_for_again_and_all_answers_are_paid(wrong: str) -> None:
    """The model is shown what is wrong."""
    output, usage = await ask(
        model(wrong, '{"city": "Rome"}'), output=CITY, prices={"m:0": CHEAP.model_dump()}
    )
    assert output == {"city": "Rome"}
    assert usage is not None
    assert (usage.calls, usage.input_tokens, usage.usd) == (2, 200, pytest.approx(0.0004))


async def test_asking_again_ends() -> None:
    """A failure, after max_reasks."""
    said, usage = await ask(model("a", "b", "c", "d"), output=CITY, max_reasks=2)
    assert isinstance(said, Failed)
    assert (said.problem.type, said.retryable) == (ProblemType.NOT_THE_SCHEMA, False)
    assert usage is not None
    assert usage.calls == 3


async def test_the_model_is_shown_the_schema_and_what_was_wrong() -> None:
    """In the system's words first, then as another turn."""
    seen: list[list[str]] = []

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        texts = [str(getattr(p, "content", "")) for m in messages for p in m.parts]
        seen.append(texts)
        return ModelResponse(parts=[TextPart("{}" if len(seen) == 1 else '{"city": "Rome"}')])

    asked = FunctionModel(answer, profile={"supports_json_schema_output": False})
    await ask(asked, output=CITY, system="Be brief.")
    assert seen[0][0].startswith("Be brief.")
    assert json.dumps(CITY) in seen[0][0]
    assert seen[0][1:] == ["Where?"]
    assert '/: "city" is a required property' in seen[1][-1]


@pytest.mark.parametrize("gone", [BUSY, BROKEN, UNPAID, LATE])
async def test_the_next_model_is_asked_when_one_gives_no_answer(gone: Exception) -> None:
    """Whatever the reason; the first call may be lost, and then says so."""
    output, usage = await ask(model(gone), model("x"))
    assert output == {"text": "x"}
    assert usage is not None
    assert (usage.model, usage.calls) == ("m:1", 2)
    assert usage.lost == (gone in (BROKEN, LATE))


@pytest.mark.parametrize(
    ("gone", "word", "retryable", "lost"),
    [
        ([BUSY], Failed, True, 0),
        ([UNPAID], Failed, False, 0),
        ([BROKEN], Unknown, None, 1),
        ([LATE], Unknown, None, 1),
        ([ValueError("canary")], Unknown, None, 1),
        ([UNPAID, BUSY], Failed, True, 0),
        ([BROKEN, BUSY], Unknown, None, 1),
    ],
)
async def test_what_no_answer_means(
    gone: Sequence[Exception], word: type, retryable: bool | None, lost: int
) -> None:
    """The worst that may have happened; texts of providers do not travel."""
    said, usage = await ask(*(model(error) for error in gone))
    assert isinstance(said, word)
    assert getattr(said, "retryable", None) is retryable
    assert usage is not None
    assert (usage.calls, usage.lost) == (len(gone), lost)
    assert "canary" not in str(said)


async def test_a_provider_that_asks_for_patience_gets_it() -> None:
    """The shortest of all that are busy."""
    slow = http(529, exceptions.ModelOverloadedError, retry_after=30.0)
    said, _ = await ask(model(slow), model(BUSY))
    assert isinstance(said, Failed)
    assert said.retry_after == 7.0


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("content_filter", ProblemType.REFUSAL),
        ("length", ProblemType.NOT_THE_SCHEMA),
    ],
)
async def test_a_refusal_and_a_cut_answer_are_failures(reason: Any, kind: str) -> None:
    """No other model is asked: this one has answered."""
    cut = ModelResponse(parts=[TextPart('{"city": "Ro')], finish_reason=reason)
    said, usage = await ask(model(cut), model("x"))
    assert isinstance(said, Failed)
    assert (said.problem.type, said.retryable) == (kind, False)
    assert usage is not None
    assert usage.calls == 1


async def test_after_the_first_answer_no_other_model_is_asked() -> None:
    """Its usage is one model's."""
    said, usage = await ask(model("no JSON", BUSY), model("x"), output=CITY)
    assert isinstance(said, Failed)
    assert said.retryable
    assert usage is not None
    assert (usage.model, usage.calls, usage.input_tokens) == ("m:0", 2, 100)


# --- limits --------------------------------------------------------------------------------------


async def test_money_is_limited_only_where_prices_are_known() -> None:
    """A model of unknown price is not asked; the next one is."""
    said, _ = await ask(model("x"), limits={"usd": 1})
    assert isinstance(said, Failed)
    assert said.problem.type == ProblemType.NO_PRICE
    output, usage = await ask(
        model("x"), model("y"), limits={"usd": 1}, prices={"m:1": CHEAP.model_dump()}
    )
    assert output == {"text": "y"}
    assert usage is not None
    assert usage.usd == pytest.approx(0.0002)


async def test_a_question_that_may_pass_the_limit_is_not_asked() -> None:
    """A token is at least a byte."""
    said, usage = await ask(model("x"), prompt="w" * 1000, limits={"tokens": 1000})
    assert isinstance(said, Failed)
    assert said.problem.type == ProblemType.OVER_BUDGET
    assert usage is None


@pytest.mark.parametrize(
    ("limits", "settings", "room"),
    [
        ({"tokens": 1000}, {}, 1000 - 256 - 6),
        ({"tokens": 1000}, {"max_tokens": 50}, 50),
        ({"tokens": 100_000}, {}, 4096),
        ({"usd": 0.005}, {}, 473),
        ({}, {}, None),
    ],
)
async def test_answers_are_no_longer_than_what_is_left(
    limits: Any, settings: Any, room: int | None
) -> None:
    """The provider is told so."""
    told: list[Any] = []

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        told.append((info.model_settings or {}).get("max_tokens"))
        return ModelResponse(parts=[TextPart("x")])

    prices = {"m:0": CHEAP.model_dump()}
    await ask(FunctionModel(answer), limits=limits, settings=settings, prices=prices)
    assert told == [room]


async def test_a_run_that_another_process_began_counts_as_lost() -> None:
    """What that one has used, nobody knows."""
    output, usage = await ask(model("x"), at=effect(begun_before=True))
    assert output == {"text": "x"}
    assert usage is not None
    assert (usage.calls, usage.lost) == (2, 1)


async def test_past_its_deadline_nothing_is_asked() -> None:
    """Nobody waits for it any more."""
    over = datetime.now(UTC) - timedelta(seconds=1)
    said, usage = await ask(model("x"), at=effect(deadline=over))
    assert isinstance(said, Failed)
    assert (said.problem.type, said.retryable, usage) == (ProblemType.EXPIRED, True, None)


async def test_a_schema_that_is_none_is_a_bad_input() -> None:
    """And nothing is asked."""
    said, usage = await ask(model("x"), output={"type": "odd"})
    assert isinstance(said, Failed)
    assert (said.problem.type, usage) == (ProblemType.INVALID_INPUT, None)


# --- prices --------------------------------------------------------------------------------------


def priced(name: str, url: str | None, system: str = "openai") -> Model:
    """A model of this name at this address."""

    class At(FunctionModel):
        @property
        def base_url(self) -> str | None:
            return url

        @property
        def system(self) -> str:
            return system

    return At(lambda messages, info: ModelResponse(parts=[]), model_name=name)


@pytest.mark.parametrize(
    ("name", "url", "usd"),
    [
        ("gpt-4o-mini", "https://api.openai.com/v1/", 0.000021),
        ("gpt-4o-mini", None, 0.000021),
        ("gpt-4o-mini", "http://localhost:8000/v1", None),
        ("nobody-knows", "https://api.openai.com/v1/", None),
    ],
)
def test_a_price_is_that_of_the_address_that_was_asked(
    name: str, url: str | None, usd: float | None
) -> None:
    """A server of one's own that calls its model by a known name has no known price."""
    cost = Prices(priced(name, url), None).most(100, 10)
    assert cost == (None if usd is None else pytest.approx(usd))
