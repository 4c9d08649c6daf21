"""Model calls in tests of the core: steps, budgets, and replies that say what was used."""

from typing import Any

from amends_contracts.messages import Usage
from core.dsl import Said, Scenario, definition, given, succeeded

CALL = "llm.generate"


def llm(step_id: str, **fields: Any) -> dict[str, Any]:
    """A model call that is asked once."""
    base = {"kind": "llm", "id": step_id, "prompt": "Say ${ input.word }", "models": ["a:one"]}
    return base | {"max_reasks": 0} | fields


def answered(said: Said, **usage: Any) -> Said:
    """The same, with what it used."""
    none: dict[str, Any] = {"input_tokens": 0, "output_tokens": 0, "usd": None, "model": "a:one"}
    return Said(said.outcome, {**said.fields, "usage": Usage(**none | usage)})


def within(**budget: Any) -> dict[str, Any]:
    """A definition's budget."""
    return {"budget": budget}


def overspent() -> Scenario:
    """A participant that used more tokens than it might, and so more than the whole budget."""
    saga = given(definition(llm("ask", limits={"tokens": 60}), **within(tokens=100)), word="hi")
    saga.expect(CALL).reply(answered(succeeded(text="x"), input_tokens=90, output_tokens=11))
    return saga
