"""Checks of compensations: an effect is taken back once, and never comes after its undo.

Each is played for every command that can be undone.
"""

from typing import Final

from amends_contracts.messages import ActionOutcome, Outcome
from amends_contracts.problems import ProblemType
from amends_orchestrator.conform import rules
from amends_orchestrator.conform.script import (
    GONE,
    NEVER,
    STANDS,
    Broken,
    Heard,
    Script,
    Skipped,
    Tell,
    acts,
    ask,
    counted,
    counted_each,
    same,
    shows,
    undoes,
    wants,
)
from amends_orchestrator.conform.subject import Step, Trial

RACES: Final = 8
SUCCEEDED: Final = Outcome.SUCCEEDED


def undone(trial: Trial) -> Script[None]:
    """The effect is taken back, once, however often it is asked for"""
    step = trial.step()
    base = yield from counted(step)
    first = yield from acts(step)
    assert first.reply is not None
    output = first.reply.json()
    undo = yield from undoes(
        step, rules.ROW_SUCCEEDED, output=output, known=ActionOutcome.SUCCEEDED
    )
    yield from shows(trial, step, GONE, rules.ROW_SUCCEEDED, base=base, when="after the undo")
    last = undo.command.attempt
    for attempt in (last, last + 1):
        again = step.compensation(attempt, output=output, known=ActionOutcome.SUCCEEDED)
        same(undo, (yield from ask(again)), rules.ROW_UNDONE, "the undo again")
    yield from shows(trial, step, GONE, rules.ROW_UNDONE, base=base, when="after the undo again")


def undone_in_doubt(trial: Trial) -> Script[None]:
    """An undo that knows neither outcome nor output, then another body"""
    step = trial.step()
    base = yield from counted(step)
    first = yield from acts(step)
    assert first.reply is not None
    undo = yield from undoes(step, rules.ROW_SUCCEEDED)
    yield from shows(trial, step, GONE, rules.ROW_SUCCEEDED, base=base, when="after the undo")
    another = step.compensation(
        undo.command.attempt + 1, output=first.reply.json(), known=ActionOutcome.SUCCEEDED
    )
    same(undo, (yield from ask(another)), rules.UNDO_HAS_A_ROW, "the undo with another body")


def acts_no_more(trial: Trial) -> Script[None]:
    """An action that arrives after its undo"""
    step = trial.step()
    base = yield from counted(step)
    first = yield from acts(step)
    yield from undoes(step, rules.ROW_SUCCEEDED)
    for attempt in (1, 2):
        same(first, (yield from ask(step.action(attempt))), rules.ROW_UNDONE, "after its undo")
    yield from shows(
        trial, step, GONE, rules.ROW_UNDONE, base=base, when="after an action that came too late"
    )


def undo_first(trial: Trial) -> Script[None]:
    """The undo arrives first: there is nothing to undo, and the action is fenced"""
    step = trial.step()
    base = yield from counted(step)
    undo = yield from undoes(step, rules.ROW_NONE)
    yield from shows(trial, step, NEVER, rules.ROW_NONE, base=base, when="after an undo of nothing")
    for attempt in (1, 2):
        late = yield from ask(step.action(attempt))
        wants(late, Outcome.FENCED, rule=rules.ROW_TOMBSTONE, when="the action came after its undo")
    again = yield from ask(step.compensation(undo.command.attempt + 1))
    same(undo, again, rules.ROW_TOMBSTONE, "the undo again")
    yield from shows(trial, step, NEVER, rules.ROW_TOMBSTONE, base=base, when="after the action")


def race(trial: Trial) -> Script[None]:
    """Action and undo at the same moment"""
    for n in range(RACES):
        step = trial.step()
        base = yield from counted(step)
        both = (step.action(), step.compensation())
        heard: tuple[Heard, ...] = yield Tell(both if n % 2 else both[::-1])
        action, undo = heard if n % 2 else heard[::-1]
        when = f"{'action and undo' if n % 2 else 'undo and action'} at once"
        wants(
            action, SUCCEEDED, Outcome.FENCED, Outcome.FAILED, rule=rules.ROW_TOMBSTONE, when=when
        )
        reply = wants(undo, SUCCEEDED, Outcome.FAILED, rule=rules.ONCE, when=when)
        if reply.outcome is Outcome.FAILED:
            wants(undo, Outcome.FAILED, retryable=True, rule=rules.ONCE, when=when)
            yield from undoes(step, rules.ONCE, first=2)
        yield from _decided(trial, step, action, base)


def _decided(trial: Trial, step: Step, action: Heard, base: float | None) -> Script[None]:
    """One of the two was first, and it stays so."""
    assert action.reply is not None
    acted = action.reply.outcome is SUCCEEDED
    late = yield from ask(step.action(2))
    if acted:
        same(action, late, rules.ROW_UNDONE, "after both")
    else:
        wants(late, Outcome.FENCED, rule=rules.ROW_TOMBSTONE, when="after both")
    state = GONE if acted else NEVER
    yield from shows(trial, step, state, rules.ONCE, base=base, when="after action and undo")


def undoes_its_own(trial: Trial) -> Script[None]:
    """Of several sagas' effects the undo takes back its own, in whatever order"""
    if not trial.can.sees_each:
        raise Skipped(
            "it cannot be seen whose effect stands: no probe, no ledger, and --observe has no key"
        )
    steps = [trial.step() for _ in range(3)]
    bases = yield from counted_each(steps)
    for step in steps:
        yield from acts(step)
    standing = set(range(3))
    for gone in (1, 0, 2):
        yield from undoes(steps[gone], rules.ROW_SUCCEEDED)
        standing.discard(gone)
        for n, step in enumerate(steps):
            yield from shows(
                trial,
                step,
                STANDS if n in standing else GONE,
                rules.ROW_SUCCEEDED,
                base=bases[n],
                others=len(standing - {n}),
                when=f"after the undo of saga {gone + 1} of 3, for saga {n + 1}",
            )


def late_undo(trial: Trial) -> Script[None]:
    """A late undo: the compensation comes from another saga"""
    step = trial.step()
    base = yield from counted(step)
    yield from acts(step)
    yield from undoes(step, rules.LATE_UNDO, by=trial.new_saga(), known=ActionOutcome.SUCCEEDED)
    yield from shows(trial, step, GONE, rules.LATE_UNDO, base=base, when="after a late undo")


def forgotten(trial: Trial) -> Script[None]:
    """An undo of what is known to have succeeded, and is not there"""
    step = trial.step()
    base = yield from counted(step)
    command = step.compensation(output={}, known=ActionOutcome.SUCCEEDED)
    wants(
        (yield from ask(command)),
        Outcome.UNKNOWN,
        problem=ProblemType.FORGOTTEN,
        rule=rules.ROW_NONE,
    )
    now = yield from counted(step)
    if now != base:
        raise Broken(rules.ROW_NONE, f"--observe shows {now} where {base} was expected")
