"""The checker over hand-written histories: each rule passes a good one and finds a broken one."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from amends_contracts.names import Op, SagaId, StepPath, message_id_of
from amends_orchestrator.core import JournalRow, state_to_json
from amends_orchestrator.core.checker import (
    RULES,
    Asked,
    Change,
    Commit,
    Decided,
    Effect,
    Heard,
    History,
    Made,
    SagaPast,
    Stored,
    check,
    promises,
)
from amends_orchestrator.core.inputs import CancelRequested
from amends_orchestrator.core.plan import ActionNode
from core.dsl import (
    BEGAN,
    IDENTITY,
    Scenario,
    action,
    alternatives,
    definition,
    each,
    failed,
    given,
    repeat,
    succeeded,
    wait,
)
from core.metered import overspent
from core.reviewed_pasts import decided_twice, reviewed, sent_otherwise

SAGA = IDENTITY.saga_id
OTHER = SagaId("0195f1c0-0000-7000-8000-000000000002")
A, B = StepPath("a"), StepPath("b")


def ran(*, fails: bool = True) -> Scenario:
    """Steps a and b; b fails once for good if asked to, and a is undone."""
    saga = given(definition(action("a", timeout="PT10S"), action("b", retry={"max_attempts": 2})))
    saga.expect("as.do").reply(succeeded(n=1))
    if fails:
        saga.expect("bs.do").reply(failed(retryable=True))
        saga.wakes()
        saga.expect("bs.do").reply(failed())
        saga.expect("as.undo").reply(succeeded())
    else:
        saga.expect("bs.do").reply(succeeded(n=2))
    return saga


def past(saga: Scenario, *rows: JournalRow, **stored: Any) -> SagaPast:
    """What the store has of a scenario; other rows, or other columns, if they are given."""
    state = state_to_json(saga.saga.state)
    row = Stored(
        seq=saga.saga.seq,
        status=saga.saga.status,
        state=state,
        residue=saga.saga.residue,
        wake_at=saga.saga.wake_at,
    )
    return SagaPast(
        identity=IDENTITY,
        plan=saga.plan,
        rows=rows or tuple(saga.rows),
        stored=replace(row, **stored),
    )


def made(path: StepPath, op: Op, order: int, attempt: int = 1, **other: Any) -> Made:
    """A message of the saga."""
    one = Made(
        order=order,
        id=message_id_of(SAGA, path, op, attempt),
        saga_id=SAGA,
        path=path,
        op=op,
        attempt=attempt,
        tenant="default",
    )
    return replace(one, **other)


def effect(path: StepPath, change: Change, order: int, **other: Any) -> Effect:
    """An entry of the world's ledger."""
    receipt = {"n": 1 if path == A else 2} if change is Change.TAKEN else None
    return replace(
        Effect(order=order, saga_id=SAGA, path=path, change=change, receipt=receipt), **other
    )


def commit(loaded: int, seq: int, order: int, orchestrator: str = "o1") -> Commit:
    """Rows that one orchestrator committed."""
    return Commit(order=order, orchestrator=orchestrator, saga_id=SAGA, loaded_seq=loaded, seq=seq)


def two_in_one_place() -> History:
    """Two sagas at work at once where one may be."""
    saga = given(definition(action("a", limit={"concurrency": 1})))
    saga.grants("a")
    one = past(saga)
    other = replace(one, identity=replace(IDENTITY, saga_id=OTHER))
    work = replace(commit(0, saga.saga.seq, 1), state=state_to_json(saga.saga.state))
    return History(sagas=(one, other), commits=(work, replace(work, order=2, saga_id=OTHER)))


def good() -> History:
    """A saga that was undone: a took effect and was undone, b failed twice."""
    saga = ran()
    committed = (
        made(A, Op.ACTION, 1),
        made(B, Op.ACTION, 4),
        made(B, Op.ACTION, 6, attempt=2),
        made(A, Op.COMPENSATION, 8),
    )
    return History(
        sagas=(past(saga),),
        commits=(commit(0, 2, 1), commit(2, 4, 4), commit(4, len(saga.rows), 10)),
        committed=committed,
        published=tuple(replace(m, order=m.order + 1) for m in committed),
        settled=frozenset(m.id for m in committed),
        effects=(effect(A, Change.TAKEN, 3), effect(A, Change.UNDONE, 9)),
        asked=(
            Asked(tenant="default", what="start", answer="applied", saga_id=SAGA, created=True),
            Asked(tenant="default", what="start", answer="applied", saga_id=SAGA),
            Asked(tenant="other", what="cancel", answer="refused", saga_id=SAGA),
        ),
        decided=(),
        heard=(Heard(order=5, saga_id=SAGA, path=A),),
        quiet_at=20,
        calm=True,
    )


def with_effects(*effects: Effect) -> History:
    """The good history, and another world."""
    return replace(good(), effects=effects)


def with_rows(*rows: JournalRow) -> History:
    """The good history, and another journal."""
    return replace(good(), sagas=(past(ran(), *rows),))


def stored(**columns: Any) -> History:
    """The good history, and another row of the saga."""
    return replace(good(), sagas=(past(ran(), **columns),))


def completed(*effects: Effect) -> History:
    """A saga that went well, in such a world."""
    return History(sagas=(past(ran(fails=False)),), effects=effects, quiet_at=20)


def renumbered(rows: Iterable[JournalRow]) -> list[JournalRow]:
    """The same facts, counted anew."""
    return [replace(row, seq=n) for n, row in enumerate(rows, start=1)]


def moved(kind: str, by: timedelta, nth: int = 0) -> History:
    """The good history, and one of its rows at another time."""
    rows = ran().rows
    found = [n for n, row in enumerate(rows) if row.kind == kind][nth]
    rows[found] = replace(rows[found], at=rows[found].at + by)
    return with_rows(*rows)


def undone_too_early() -> History:
    """A is compensated while b has succeeded."""
    saga = given(definition(action("a"), action("b"), action("c")))
    for name in "ab":
        saga.expect(f"{name}s.do").reply(succeeded(n=1))
    saga.expect("cs.do").reply(failed())
    rows = list(saga.rows)
    (b_undone,) = [row for row in rows if row.kind == "undo.dispatched"]
    rows[-1] = replace(b_undone, step=A)
    return History(sagas=(replace(past(saga, *rows), stored=None),))


def journal_of(saga: Scenario, rows: Iterable[JournalRow]) -> History:
    """The saga's plan, and another journal."""
    return History(sagas=(replace(past(saga, *renumbered(rows)), stored=None),))


def tried_another_plan() -> Scenario:
    """The first plan did a, failed at b and was undone; the second did c."""
    saga = given(definition(alternatives("way", p=[action("a"), action("b")], q=[action("c")])))
    saga.expect("as.do").reply(succeeded(n=1))
    saga.expect("bs.do").reply(failed())
    saga.expect("as.undo").reply(succeeded())
    saga.expect("cs.do").reply(succeeded(n=3))
    return saga


def next_plan_too_early() -> History:
    """The second plan begins, and nothing of the first is undone."""
    saga = tried_another_plan()
    return journal_of(saga, (row for row in saga.rows if not row.kind.startswith("undo.")))


def undone_and_not_turned_back() -> History:
    """A is undone although the saga is on its way forward."""
    rows = ran().rows
    return with_rows(*renumbered(row for row in rows if row.kind != "saga.compensating"))


def begun_going_back() -> History:
    """Another step begins when the saga has turned back."""
    rows = ran().rows
    back = next(n for n, row in enumerate(rows) if row.kind == "saga.compensating")
    begun = next(row for row in rows if row.kind == "step.dispatched")
    return with_rows(*renumbered([*rows[: back + 1], replace(begun, step=StepPath("c"))]))


def an_iteration_too_many() -> History:
    """The second iteration is called the third, and two are allowed."""
    saga = given(definition(repeat("poll", "${ turn == 2 }", action("a"), turns=2)))
    for _ in range(2):
        saga.expect("as.do").reply(succeeded(n=1))
    turned = [
        replace(row, data={**row.data, "turn": 3}) if row.kind == "step.turned" else row
        for row in saga.rows
    ]
    return journal_of(saga, turned[: 1 + [row.kind for row in turned].index("step.turned")])


def told_a_list() -> Scenario:
    """B is told the outputs of all items."""
    saga = given(
        definition(
            each("legs", [1, 2], action("a", input={"leg": "${ item }"})),
            action("b", input={"legs": "${ steps.a.output }"}),
        )
    )
    for n in (1, 2):
        saga.expect("as.do").reply(succeeded(n=n))
    saga.expect("bs.do").reply(succeeded(n=3))
    return saga


def told_otherwise() -> History:
    """B is told the output of the last item instead."""
    saga = told_a_list()
    rows = [
        replace(row, data={**row.data, "input": {"legs": {"n": 2}}})
        if (row.kind, row.step) == ("step.dispatched", B)
        else row
        for row in saga.rows
    ]
    return journal_of(saga, rows)


def undone_in_the_wrong_order() -> History:
    """Both were undone, a first."""
    saga = given(definition(action("a"), action("b"), action("c")))
    for name in "ab":
        saga.expect(f"{name}s.do").reply(succeeded(n=1))
    saga.expect("cs.do").reply(failed())
    taken = (effect(A, Change.TAKEN, 1), effect(B, Change.TAKEN, 2))
    undone = (effect(A, Change.UNDONE, 3), effect(B, Change.UNDONE, 4))
    return History(sagas=(past(saga),), effects=(*taken, *undone))


def decided_otherwise() -> History:
    """A decision that does not come out again."""
    saga = given(definition(action("a")))
    decision = saga.cancels()
    again = Decided(
        message=CancelRequested(reason="another", by="ann"),
        decision=decision,  # pyright: ignore[reportArgumentType]
        now=BEGAN,
    )
    return replace(good(), sagas=(past(saga),), decided=(again,))


def endless() -> History:
    """A saga that waits for its participant for ever."""
    return replace(good(), sagas=(past(given(definition(action("a")))),), calm=True)


def asks(*asked: Asked) -> History:
    """The good history, and other requests."""
    return replace(good(), asked=asked)


def started(**fields: Any) -> Asked:
    """An answered start."""
    whole = Asked(tenant="default", what="start", answer="applied", saga_id=SAGA)
    return replace(whole, **fields)


def after_the_end() -> History:
    """A row behind the last one."""
    rows = ran().rows
    return with_rows(*rows, replace(rows[0], seq=len(rows) + 1, kind="saga.unstuck", data={}))


def too_many_attempts() -> History:
    """B is tried three times, and two are allowed."""
    rows = list(ran().rows)
    cut = next(n for n, row in enumerate(rows) if row.kind == "step.failed")
    again = [row for row in rows if row.step == B and row.kind in TRIED][1:]
    more = [
        replace(row, attempt=(row.attempt or 0) + (row.kind == "step.dispatched"))
        for row in (replace(again[0], attempt=2), again[1])
    ]
    return with_rows(*renumbered([*rows[:cut], *more]))


TRIED = ("step.dispatched", "step.retrying")
BROKEN: list[tuple[str, Callable[[], History]]] = [
    (
        "1 at most one effect",
        lambda: with_effects(effect(A, Change.TAKEN, 3), effect(A, Change.TAKEN, 4)),
    ),
    (
        "1 success is a receipt",
        lambda: with_effects(effect(A, Change.TAKEN, 3, receipt={"n": 7})),
    ),
    (
        "1 completed with effect",
        lambda: completed(
            effect(A, Change.TAKEN, 1), effect(B, Change.TAKEN, 2), effect(B, Change.UNDONE, 3)
        ),
    ),
    (
        "2 failed without effect",
        lambda: with_effects(*(good().effects or ()), effect(B, Change.TAKEN, 5)),
    ),
    ("3 undone exactly once", lambda: with_effects(effect(A, Change.TAKEN, 3))),
    (
        "3 no undo without effect",
        lambda: with_effects(*(good().effects or ()), effect(B, Change.UNDONE, 5)),
    ),
    (
        "4 nothing after its undo",
        lambda: with_effects(effect(A, Change.BURIED, 2), effect(A, Change.TAKEN, 3)),
    ),
    ("5 compensated in order", undone_too_early),
    ("5 plans begin clean", next_plan_too_early),
    ("5 undone where turned back", undone_and_not_turned_back),
    ("5 nothing begins there", begun_going_back),
    ("5 undone in order", undone_in_the_wrong_order),
    (
        "6 intent before dispatch",
        lambda: replace(good(), committed=(made(B, Op.COMPENSATION, 1),)),
    ),
    (
        "6 no effect without intent",
        lambda: with_effects(effect(StepPath("c"), Change.TAKEN, 3)),
    ),
    ("7 terminal states absorb", after_the_end),
    ("8 one decision per seq", lambda: stored(seq=3)),
    (
        "8 commits do not overlap",
        lambda: replace(good(), commits=(commit(0, 2, 1), commit(0, 2, 2, "o2"))),
    ),
    ("9 journal folds", lambda: with_rows(*renumbered([*ran().rows[:3], *ran().rows[2:]]))),
    ("9 fold is the state", lambda: stored(residue=1)),
    (
        "9 every prefix is a state",
        lambda: replace(good(), commits=(replace(commit(0, 2, 1), state={"steps": {}}),)),
    ),
    ("9 decisions are repeatable", decided_otherwise),
    ("9 inputs are what was recorded", told_otherwise),
    (
        "10 published after commit",
        lambda: replace(good(), published=(made(A, Op.ACTION, 0),)),
    ),
    ("10 everything is published", lambda: replace(good(), settled=frozenset())),
    (
        "10 decided before acknowledged",
        lambda: replace(good(), heard=(Heard(order=2, saga_id=SAGA, path=A),)),
    ),
    ("11 repetitions change nothing", lambda: replace(good(), quiet_at=8)),
    ("12 something wakes it", lambda: stored(wake_at=BEGAN)),
    ("12 every saga ends", endless),
    (
        "13 starts are unique",
        lambda: replace(
            good(),
            sagas=(past(ran()), replace(past(ran()), identity=replace(IDENTITY, saga_id=OTHER))),
        ),
    ),
    (
        "13 starts are answered alike",
        lambda: asks(started(created=True), started(digest="of another input")),
    ),
    (
        "13 operators leave their rows",
        lambda: asks(started(what="cancel")),
    ),
    ("13 decisions count once", decided_twice),
    ("13 what runs was approved", sent_otherwise),
    ("14 no timer is early", lambda: moved("step.dispatched", -timedelta(seconds=1), nth=2)),
    ("14 attempts within budget", too_many_attempts),
    ("14 loops within limits", an_iteration_too_many),
    ("14 limits hold", two_in_one_place),
    ("14 budgets hold", lambda: journal_of(overspent(), overspent().rows)),
    (
        "15 tenants are apart",
        lambda: replace(good(), committed=(made(A, Op.ACTION, 1, tenant="another"),)),
    ),
]


@pytest.mark.parametrize(("rule", "history"), BROKEN, ids=[rule for rule, _ in BROKEN])
def test_each_rule_finds_what_breaks_it(rule: str, history: Callable[[], History]) -> None:
    """A history that breaks one rule is reported under its promise, by this very rule."""
    (asked,) = [r for r in RULES if r.name == rule]
    promise = asked.promise
    report = check(history(), {promise})
    assert rule in report.checked
    assert {violation.promise for violation in report.violations} == {promise}


@pytest.mark.parametrize(
    "history",
    [
        good(),
        completed(effect(A, Change.TAKEN, 1), effect(B, Change.TAKEN, 2)),
        History(sagas=(past(reviewed()),)),
    ],
    ids=["undone", "completed", "reviewed"],
)
def test_a_good_history_passes(history: History) -> None:
    """What went as promised breaks no rule."""
    assert check(history).violations == ()


def test_a_failed_plan_is_undone_and_the_saga_completed() -> None:
    """What the plan that failed did is undone before the next one begins, and breaks no rule."""
    saga = tried_another_plan()
    a = (effect(A, Change.TAKEN, 1), effect(A, Change.UNDONE, 2))
    c = effect(StepPath("c"), Change.TAKEN, 3, receipt={"n": 3})
    history = History(sagas=(past(saga),), effects=(*a, c), quiet_at=9)
    assert check(history).violations == ()
    left = replace(history, effects=(a[0], c))
    assert {violation.promise for violation in check(left).violations} == {3}


def test_an_each_is_a_list_outside() -> None:
    """What a step is told of the items before it is what they were answered, in their order."""
    assert check(History(sagas=(past(told_a_list()),))).violations == ()


def test_a_kind_that_no_rule_knows_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not passed in silence."""
    saga = given(definition(wait("pause", **{"for": "PT1S"}), action("a")))
    assert check(History(sagas=(past(saga),)), {5}).not_checked.get(STRANGE) is None
    monkeypatch.setattr(promises, "JUDGED", (ActionNode,))
    report = check(History(sagas=(past(saga),)), {5})
    assert report.not_checked[STRANGE] == ("WaitNode",)


STRANGE = "steps of other kinds"


def test_what_a_source_does_not_know_is_said() -> None:
    """Without the world's ledger the promises about effects are not passed but not checked."""
    report = check(replace(good(), effects=None), {1, 4})
    assert (report.violations, report.checked) == ((), ("1 outputs of children",))
    assert report.not_checked == {
        "1 at most one effect": ("effects",),
        "1 success is a receipt": ("effects",),
        "1 completed with effect": ("effects",),
        "4 nothing after its undo": ("effects",),
    }


def test_a_journal_that_lost_rows_is_reported_and_not_stumbled_over() -> None:
    """What is left of it is still read by every rule."""
    saga = given(definition(action("a")))
    report = check(History(sagas=(past(saga, *saga.rows[:1]),)))
    assert {violation.promise for violation in report.violations} == {8, 9}


def test_a_person_may_say_otherwise() -> None:
    """Of a step that an operator skipped nobody promises what became of its effect."""
    saga = given(definition(action("a", effect="none"), action("b")))
    saga.expect("as.do")
    saga.skips("a")
    saga.cancels()
    history = History(sagas=(past(saga),), effects=(effect(A, Change.TAKEN, 1),), quiet_at=9)
    assert check(history).violations == ()
