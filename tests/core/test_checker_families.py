"""The checker's rules of signals, child sagas and late undos, over hand-written histories."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from amends_contracts.names import START_SAGA, Op, SagaId, StepPath
from amends_orchestrator.core import Decision, Identity, compile_plan, start, start_undone
from amends_orchestrator.core.checker import PROMISES, RULES, History, SagaPast, Sent, check
from amends_orchestrator.core.inputs import StartRequested
from amends_orchestrator.core.state import Asker
from core.dsl import (
    BEGAN,
    EXPRESSIONS,
    IDENTITY,
    Scenario,
    action,
    awaits,
    child,
    definition,
    given,
    succeeded,
)
from core.test_checker import BROKEN, past

SENT_HERE = Sent(
    tenant="default",
    id="p-1",
    event="paid",
    data={"usd": 7},
    saga_id=IDENTITY.saga_id,
    answer="taken",
)
STAY = definition(action("room"), output={"room": "${ steps.room.output.n }"})
CHILD = SagaId("0195f1c0-0000-7000-8000-00000000000c")
OTHER = SagaId("0195f1c0-0000-7000-8000-00000000000d")
BY = Asker(saga_id=IDENTITY.saga_id, path=StepPath("stay"), partition=3, op=Op.ACTION, attempt=1)


def signalled(**told: Any) -> History:
    """A saga that took a signal."""
    saga = given(definition(awaits("payment", "paid")))
    saga.signals("paid", "p-1", {"usd": 7})
    saga.ends("completed")
    history = History(sagas=(past(saga),), sent=(SENT_HERE,), dropped=frozenset(), quiet_at=9)
    return replace(history, **told)


def took_something_else() -> History:
    """The row that the step took is no signal."""
    history = signalled()
    (saga,) = history.sagas
    rows = [
        replace(row, data={**(row.data or {}), "signal": 1}) if "signalled" in row.kind else row
        for row in saga.rows
    ]
    return replace(history, sagas=(replace(saga, rows=tuple(rows)),))


def sent_otherwise() -> History:
    """Nobody sent what is recorded."""
    return signalled(sent=(replace(SENT_HERE, data={"usd": 8}, answer="none"),))


def lost() -> History:
    """A signal was accepted, and is nowhere."""
    return signalled(sent=(SENT_HERE, replace(SENT_HERE, id="p-2")))


def child_saga(*, asker: Asker = BY, undone: bool = False, tenant: str = "default") -> SagaPast:
    """The child of a step, completed or never run."""
    key = f"{IDENTITY.saga_id}/stay/action"
    identity: Identity = replace(IDENTITY, saga_id=CHILD, key=key, tenant=tenant)
    plan = compile_plan(STAY, EXPRESSIONS)
    request = StartRequested(key=key, input={}, by="saga 1", asked=asker)
    first = (start_undone if undone else start)(plan, identity, request, BEGAN)
    assert isinstance(first, Decision)
    saga = Scenario(plan, first.saga, BEGAN, [], [])
    saga.keep(first)
    if not undone:
        saga.expect("rooms.do").reply(succeeded(n=7))
        saga.ends("completed")
    return replace(past(saga), identity=identity)


def family(one: SagaPast, room: int = 7) -> History:
    """A parent that completed with what its child, perhaps, gave."""
    saga = given(definition(child("stay", "book-stay")))
    saga.expect(START_SAGA).reply(succeeded(room=room))
    saga.ends("completed")
    return History(sagas=(past(saga), one), quiet_at=9)


def other_output() -> History:
    """The parent has another room than the child gave."""
    return family(child_saga(), room=8)


def child_undone() -> History:
    """The parent completed with a child that never ran."""
    return family(child_saga(undone=True))


def child_of_nobody() -> History:
    """The parent knows no such step."""
    return family(child_saga(asker=replace(BY, path=StepPath("other"))))


def child_of_another_tenant() -> History:
    """It runs for somebody else."""
    return family(child_saga(tenant="eve"))


def undone() -> History:
    """A completed saga, and the one that takes it back."""
    saga = given(definition(action("a", compensable_for="PT1M")))
    saga.expect("as.do").reply(succeeded(n=1))
    saga.ends("completed")
    undo = saga.undone()
    undo.expect("as.undo").reply(succeeded())
    undo.ends("compensated")
    late = replace(past(undo), identity=replace(undo.saga.identity, saga_id=CHILD, key="undo:1"))
    return History(sagas=(past(saga), late))


def undone_twice() -> History:
    """By two sagas."""
    history = undone()
    late = history.sagas[1]
    again = replace(late, identity=replace(late.identity, saga_id=OTHER, key="undo:2"))
    return replace(history, sagas=(*history.sagas, again))


def undone_too_late() -> History:
    """An hour later, when its window has closed."""
    history = undone()
    late = history.sagas[1]
    rows = tuple(replace(row, at=row.at + timedelta(hours=1)) for row in late.rows)
    return replace(history, sagas=(history.sagas[0], replace(late, rows=rows, stored=None)))


FAMILIES: list[tuple[str, Callable[[], History]]] = [
    ("1 outputs of children", other_output),
    ("3 children share their parents fate", child_undone),
    ("6 children were asked for", child_of_nobody),
    ("13 signals are taken once", took_something_else),
    ("13 signals are what was sent", sent_otherwise),
    ("13 signals are not lost", lost),
    ("13 undone by one saga", undone_twice),
    ("14 windows are kept", undone_too_late),
    ("15 children are their parents", child_of_another_tenant),
]


@pytest.mark.parametrize(("rule", "history"), FAMILIES, ids=[rule for rule, _ in FAMILIES])
def test_each_rule_finds_what_breaks_it(rule: str, history: Callable[[], History]) -> None:
    """By this very rule, and by no other of its promise."""
    (asked,) = [r for r in RULES if r.name == rule]
    report = check(history(), {asked.promise})
    assert [v.promise for v in report.violations] == [asked.promise]
    assert rule in report.checked


@pytest.mark.parametrize("history", [signalled, lambda: family(child_saga()), undone])
def test_what_went_as_promised_breaks_no_rule(history: Callable[[], History]) -> None:
    """A signal that was taken, a child that completed, a saga that was undone late."""
    assert check(history()).violations == ()


def test_every_rule_has_its_broken_history() -> None:
    """No rule is there of which nobody has seen that it can fail."""
    seen = [rule for rule, _ in (*BROKEN, *FAMILIES)]
    assert sorted(seen) == sorted(rule.name for rule in RULES)
    assert {rule.promise for rule in RULES} == set(PROMISES)
