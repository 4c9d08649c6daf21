"""Journals of earlier versions: this one folds them, and decides as they did.

`AMENDS_RECORD=0.1.0 pytest tests/core/test_corpus.py` adds, in that version's folder, lives with
the kinds of facts that none of its lives has yet. What is recorded never changes.
"""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from amends_contracts.messages import Json
from amends_contracts.names import StepPath
from amends_orchestrator.core import (
    Decision,
    JournalRow,
    Missing,
    Plan,
    Refused,
    Saga,
    compile_plan,
    decide,
    evolve,
    start,
    state_from_json,
    state_to_json,
)
from amends_orchestrator.core.kinds import Kind, UnknownKind
from core.corpus import FOLDER, Heard, Life, as_json, heard, kept, read, write
from core.corpus_lives import lives
from core.dsl import BEGAN, EXPRESSIONS, action, definition, given

RECORD = os.environ.get("AMENDS_RECORD")


def kinds_of(life: Life) -> set[str]:
    """The kinds of facts in a life."""
    return {row.kind for said in life.heard for row in said.rows}


def add_what_is_new(version: str) -> None:
    """Record lives until every kind is there."""
    there = {path for path in kept() if path.parent.name == version}
    missing = {kind.value for kind in Kind}.difference(*(kinds_of(read(path)) for path in there))
    for name, life in lives():
        if missing & kinds_of(life):
            missing -= kinds_of(life)
            write(life, FOLDER / version / f"{name}.jsonl")


if RECORD:
    add_what_is_new(RECORD)


def answer_to(
    life: Life, plan: Plan, saga: Saga | None, rows: list[JournalRow], said: Heard
) -> Decision | Refused:
    """What this version says to a recorded message."""
    if said.message is None:
        assert life.start is not None
        answer = start(plan, life.identity, life.start, said.at, said.sick)
        assert not isinstance(answer, Missing)
        return answer
    assert saga is not None
    values = {row.seq: row.data for row in rows}
    answer = decide(plan, saga, values, said.message, said.at, said.sick)
    assert not isinstance(answer, Missing)
    return answer


@pytest.mark.parametrize("path", kept(), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_recorded_saga_is_folded_and_decided_as_it_was(path: Path) -> None:
    """The same journal and message give the same rows and commands, with the same ids."""
    life = read(path)
    plan = compile_plan(life.definition, EXPRESSIONS)
    saga: Saga | None = None
    rows: list[JournalRow] = []
    for said in life.heard:
        if said.message is not None or life.start is not None:
            answer = answer_to(life, plan, saga, rows, said)
            again = heard(said.at, said.message, answer, said.sick)
            assert as_read(again) == as_read(said)
        for row in said.rows:
            saga = evolve(saga, row, life.identity)
            rows.append(row)
    assert saga is not None
    assert state_from_json(life.state) == saga.state, "what was stored is what the journal tells"


def as_read(said: Heard) -> Json:
    """A line as it is in a file."""
    return json.loads(json.dumps(as_json(said)))


def test_every_kind_of_fact_is_recorded() -> None:
    """A new kind of fact is recorded once it is there: see the first lines of this file."""
    recorded = set[str]().union(*(kinds_of(read(path)) for path in kept()))
    assert {kind.value for kind in Kind} == recorded


def test_a_kind_that_is_not_known_is_refused() -> None:
    """A newer release wrote it: nobody guesses what it means."""
    row = JournalRow(seq=2, at=BEGAN, kind="step.dreamt", step=StepPath("flight"))
    saga = given(definition(action("flight"))).saga
    with pytest.raises(UnknownKind, match=r"step\.dreamt.*row 2"):
        evolve(replace(saga, seq=1), row)


@pytest.mark.parametrize(
    "newer",
    [
        {"dream": 1},
        {"steps": {"flight": {"status": "dreaming"}}},
        {"steps": {"flight": {"status": "running", "dream": 1}}},
        {"steps": {"flight": {"status": "running", "action": {"attempt": 1, "dream": 1}}}},
    ],
)
def test_a_state_with_something_unknown_is_refused(newer: dict[str, Json]) -> None:
    """What a newer release remembers of a saga is not overlooked, or it would be lost."""
    state = state_to_json(given(definition(action("flight"))).saga.state)
    with pytest.raises(ValueError, match="dream"):
        state_from_json(state | newer)
