"""`llm.generate`: what a step of kind `llm` sends."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from amends_contracts.command import Command
from amends_contracts.names import GENERATE


class Price(BaseModel):
    """What a million tokens cost."""

    model_config = ConfigDict(frozen=True)

    input_usd: Annotated[float, Field(ge=0)]
    output_usd: Annotated[float, Field(ge=0)]


class Most(BaseModel):
    """What one attempt may use, all its calls together."""

    model_config = ConfigDict(frozen=True)

    tokens: Annotated[int, Field(ge=1)] | None = None
    usd: Annotated[float, Field(ge=0)] | None = None


class Generate(Command[dict[str, Any]], name=GENERATE, effect="keyed", reversal="read_only"):
    """Ask a model; nothing changes in the world but what is spent."""

    prompt: str
    system: str | None = None
    models: Annotated[tuple[str, ...], Field(min_length=1)]
    """In the order of preference."""
    settings: dict[str, Any] = Field(default_factory=dict[str, Any])
    output: dict[str, Any] | None = None
    """JSON Schema of the answer; without one it is `{"text": …}`."""
    max_reasks: Annotated[int, Field(ge=0, le=10)] = 1
    limits: Most = Most()
    prices: dict[str, Price] = Field(default_factory=dict[str, Price])
