"""One attempt: models in order until one answers, and that one again until its answer fits.

Only before the first answer does the next model come: then the usage is one model's. Nothing is
repeated here for having failed: that is the orchestrator's, which knows budget and deadline.
"""

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, cast

from pydantic_ai.direct import model_request
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    SystemPromptPart,
    UserPromptPart,
)
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.output import OutputObjectDefinition
from pydantic_ai.settings import ModelSettings

from amends_contracts.messages import Json, to_body
from amends_contracts.problems import ProblemType
from amends_participants.effects import Effect
from amends_participants.llm.answers import BadSchema, Form
from amends_participants.llm.command import Generate, Price
from amends_participants.llm.models import Models
from amends_participants.llm.prices import Prices, price_of
from amends_participants.llm.tally import Tally, TooMuch
from amends_participants.llm.trouble import Kind, Trouble, trouble
from amends_participants.outcomes import Failed, Unknown

PATIENCE_DEFAULT_S: Final = 60.0
"""For a command without a deadline."""
IN_TIME: Final = 0.9
"""Of the time that the orchestrator waits, so much is the provider's; the rest is the reply's."""
_CUT: Final = "length"
_FILTERED: Final = "content_filter"


@dataclass(slots=True)
class Asking:
    """The state of one attempt."""

    cmd: Generate
    effect: Effect
    models: Models
    known_prices: Mapping[str, Price]
    form: Form
    tally: Tally
    until: datetime | None

    @classmethod
    def of(
        cls, cmd: Generate, effect: Effect, models: Models, prices: Mapping[str, Price]
    ) -> "Asking":
        """Ready to ask. Failed, if the schema is none."""
        try:
            form = Form(cmd.output)
        except BadSchema as error:
            raise Failed(ProblemType.INVALID_INPUT, f"/output: {error}") from None
        asked = to_body({"system": cmd.system, "prompt": cmd.prompt})
        tally = Tally(effect, hashlib.sha256(asked).hexdigest(), cmd.models[0])
        return cls(cmd, effect, models, prices, form, tally, effect.deadline)

    async def answer(self) -> dict[str, Json]:
        """The output; Failed or Unknown otherwise."""
        if self.effect.begun_before:
            self.tally.began()  # by the process that died: nobody knows whether it was answered
        troubles: list[Trouble] = []
        for name in self.cmd.models:
            found = await self._ask(name)
            if not isinstance(found, Trouble):
                return found
            troubles.append(found)
        raise _verdict(troubles)

    async def _ask(self, name: str) -> dict[str, Json] | Trouble:
        """One model's answer in the right form; trouble before its first answer."""
        self.tally.model = name
        try:
            model = await self.models.named(name)
        except Exception as error:  # noqa: BLE001 - whatever keeps a model from being there
            return Trouble(Kind.REFUSED, f"{name}: {type(error).__name__}")
        prices = Prices(model, price_of(name, self.cmd.prices, self.known_prices))
        messages = self._first(model)
        for turn in range(self.cmd.max_reasks + 1):
            response = await self._call(name, model, prices, messages)
            if isinstance(response, Trouble):
                if turn:
                    raise _verdict([response])
                return response
            found = self._read(name, response)
            if not isinstance(found, str):
                return found
            again = f"That is not the form that was asked for:\n{found}\nAnswer again, in full."
            messages += [response, ModelRequest(parts=[UserPromptPart(again)])]
        times = self.cmd.max_reasks + 1
        detail = f"{name}: no answer of {times} has the form that was asked for"
        raise Failed(ProblemType.NOT_THE_SCHEMA, detail)

    def _first(self, model: Model) -> list[ModelMessage]:
        native = bool(model.profile.get("supports_json_schema_output"))
        told = None if native else self.form.instruction
        system = "\n\n".join(text for text in (self.cmd.system, told) if text)
        parts = [SystemPromptPart(system)] if system else []
        return [ModelRequest(parts=[*parts, UserPromptPart(self.cmd.prompt)])]

    async def _call(
        self, name: str, model: Model, prices: Prices, messages: list[ModelMessage]
    ) -> ModelResponse | Trouble:
        """One request; counted before it is made, and settled by what comes of it."""
        settings = dict(self.cmd.settings)
        most = self.cmd.limits
        if most.usd is not None and prices.most(1, 1) is None:
            return Trouble(Kind.UNPRICED, f"{name}: its price is unknown, and money is limited")
        asked = sum(len(text.encode()) for text in _texts(messages)) + self._schema_bytes()
        room = self.tally.output_max(most, asked, settings.get("max_tokens"), prices)
        if isinstance(room, TooMuch):
            raise Failed(ProblemType.OVER_BUDGET, room.text)
        if room is not None:
            settings["max_tokens"] = room
        patience = self._patience_s()
        if patience <= 0:
            why = "no time was left to ask a model in"
            raise Failed(ProblemType.EXPIRED, why, retryable=True)
        self.tally.began()
        try:
            async with asyncio.timeout(patience):
                response = await model_request(
                    model,
                    messages,
                    model_settings=cast(ModelSettings, {**settings, "max_retries": 0}),
                    model_request_parameters=self._parameters(model),
                    instrument=False,
                )
        except Exception as error:  # noqa: BLE001 - whatever a provider's client raises
            found = trouble(name, error)
            if found.kind is not Kind.UNKNOWN:
                self.tally.nothing_used()
            return found
        usd = prices.cost(response.usage)
        self.tally.answered(response.usage, usd, response.model_name)
        return response

    def _read(self, name: str, response: ModelResponse) -> dict[str, Json] | str:
        """The output, or what the model should mend."""
        if response.finish_reason == _FILTERED:
            raise Failed(ProblemType.REFUSAL, f"{name}: its provider's filter refused to answer")
        if response.finish_reason == _CUT:
            raise Failed(ProblemType.NOT_THE_SCHEMA, f"{name}: the answer was cut at its limit")
        return self.form.read(response.text or "")

    def _parameters(self, model: Model) -> ModelRequestParameters:
        if self.form.schema is None or not model.profile.get("supports_json_schema_output"):
            return ModelRequestParameters()
        described = OutputObjectDefinition(json_schema=dict(self.form.schema), name="answer")
        return ModelRequestParameters(output_mode="native", output_object=described)

    def _schema_bytes(self) -> int:
        return len((self.form.instruction or "").encode())

    def _patience_s(self) -> float:
        """How long a provider may take, so that the reply is there before the timeout."""
        if self.until is None:
            return PATIENCE_DEFAULT_S
        return (self.until - datetime.now(UTC)).total_seconds() * IN_TIME


def _texts(messages: list[ModelMessage]) -> list[str]:
    found: list[str] = []
    for message in messages:
        if isinstance(message, ModelResponse):
            found.append(message.text or "")
        else:
            contents: list[Any] = [getattr(part, "content", "") for part in message.parts]
            found += [text for text in contents if isinstance(text, str)]
    return found


def _verdict(troubles: list[Trouble]) -> Failed | Unknown:
    """What it means that no model answered: the worst that may have happened."""
    text = "; ".join(found.text for found in troubles)
    kinds = {found.kind for found in troubles}
    if Kind.UNKNOWN in kinds:
        return Unknown(ProblemType.PROVIDER, text)
    if Kind.BUSY in kinds:
        waits = [t.retry_after_s or 0.0 for t in troubles if t.kind is Kind.BUSY]
        return Failed(ProblemType.PROVIDER, text, retryable=True, retry_after=min(waits) or None)
    if Kind.FILTERED in kinds:
        return Failed(ProblemType.REFUSAL, text)
    unpriced = kinds == {Kind.UNPRICED}
    return Failed(ProblemType.NO_PRICE if unpriced else ProblemType.PROVIDER, text)
