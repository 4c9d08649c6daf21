"""The service `llm` as a participant, with models and prices of your own where you have them."""

import logging
from collections.abc import Mapping
from typing import Any, Final

from pydantic import Field
from pydantic_ai.models import Model
from pydantic_settings import BaseSettings, SettingsConfigDict

from amends_contracts.names import MODELS
from amends_participants.app import Participant
from amends_participants.effects import Effect
from amends_participants.llm.asking import Asking
from amends_participants.llm.command import Generate, Price
from amends_participants.llm.models import Models

TELLING: Final = ("openai", "anthropic", "httpx", "httpx2", "httpcore", "httpcore2", "pydantic_ai")
"""Libraries that log what is asked and answered, at the level DEBUG."""


class LlmSettings(BaseSettings):
    """From the environment of the participant."""

    model_config = SettingsConfigDict(env_prefix="AMENDS_LLM_", extra="ignore", frozen=True)

    prices: dict[str, Price] = Field(default_factory=dict[str, Price])
    """AMENDS_LLM_PRICES, by model: `{"openai:my-model": {"input_usd": 1, "output_usd": 2}}`."""
    log_content: bool = False
    """Whether the libraries underneath may log prompts and answers."""


def participant(
    models: Mapping[str, Model] | None = None, *, prices: Mapping[str, Price] | None = None
) -> Participant:
    """The service; `models` by the names that definitions use, before those that are known."""
    made = Participant(MODELS)
    known = Models(models or {})
    given = dict(prices or {})

    @made.on_start
    async def prepare() -> None:
        settings = LlmSettings()
        given.update(settings.prices)
        if not settings.log_content:
            keep_quiet()

    @made.on_stop
    async def close() -> None:
        await known.close()

    @made.action(Generate)
    async def generate(cmd: Generate, effect: Effect) -> dict[str, Any]:
        return await Asking.of(cmd, effect, known, given).answer()

    return made


def keep_quiet() -> None:
    """Nothing that was asked or answered gets into a log, whatever its level."""
    for name in TELLING:
        logging.getLogger(name).setLevel(logging.WARNING)


app = participant()
