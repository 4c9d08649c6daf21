"""docs/models.md is true: its plans may be registered, and are the same; its participant runs."""

from typing import Any

from amends_contracts.definition import Definition
from amends_contracts.documents import load_definition
from amends_orchestrator.cel import CelExpressions
from amends_orchestrator.core import verify
from amends_orchestrator.core.verify_asking import SETTINGS
from amends_participants import Participant
from docs.blocks import ROOT, blocks

PAGE = "docs/models.md"


def test_the_page_s_plans_are_accepted_and_say_the_same() -> None:
    """In Python and as a document."""
    names: dict[str, Any] = {}
    python, _ = blocks(PAGE, "python")
    exec(compile("\n" * (python.line - 1) + python.code, PAGE, "exec"), names)
    (yaml,) = blocks(PAGE, "yaml")
    written: Definition = names["plan"].document()
    read = load_definition(yaml.code)
    for definition in (written, read):
        assert verify(definition, {}, CelExpressions()) == ()
    assert [step.kind for step in written.steps] == [step.kind for step in read.steps]
    assert (written.budget, written.steps[0].id) == (read.budget, read.steps[0].id)


def test_the_page_s_participant_serves_models() -> None:
    """With the scripted model."""
    names: dict[str, Any] = {}
    _, served = blocks(PAGE, "python")
    exec(compile("\n" * (served.line - 1) + served.code, PAGE, "exec"), names)
    app: Participant = names["app"]
    app.check()
    assert [r.spec.name for r in app.registered()] == ["llm.generate"]


def test_the_settings_are_all_there() -> None:
    """Every one that a definition may give."""
    text = (ROOT / PAGE).read_text()
    assert {name for name in SETTINGS if f"`{name}`" not in text} == set()
