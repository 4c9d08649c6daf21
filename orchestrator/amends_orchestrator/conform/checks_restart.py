"""Checks that kill the service: what was promised before, holds after it has come back."""

from dataclasses import dataclass
from typing import Final

from amends_contracts.messages import Effect, Outcome
from amends_orchestrator.conform import rules
from amends_orchestrator.conform.script import (
    GONE,
    STANDS,
    Broken,
    Crash,
    Hear,
    Heard,
    Script,
    Send,
    Skipped,
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

IN_FLIGHT: Final = 8
AFTER: Final = "after a crash"
NO_RESTART: Final = "it cannot be killed: give --restart, and --pid"


def remembers(trial: Trial) -> Script[None]:
    """Rows, stored replies and tombstones outlive the process"""
    if not trial.can.restarts:
        raise Skipped(NO_RESTART)
    held = trial.step()
    base = yield from counted(held)
    first = yield from acts(held)
    before = (yield from _undo_some(trial)) if trial.subject.undoable else None
    yield Crash()
    same(first, (yield from ask(held.action())), rules.KEPT, AFTER)
    if before is not None:
        yield from _remembered(trial, before)
    yield from shows(trial, held, STANDS, rules.KEPT, base=base, when=AFTER)


@dataclass(frozen=True, slots=True)
class _Undone:
    """A step that was undone, and one whose undo came first, with what was said."""

    undone: Step
    base: float | None
    acted: Heard
    undo: Heard
    buried: Step


def _undo_some(trial: Trial) -> Script[_Undone]:
    undone, buried = trial.step(), trial.step()
    base = yield from counted(undone)
    acted = yield from acts(undone)
    undo = yield from undoes(undone, rules.ROW_SUCCEEDED)
    yield from undoes(buried, rules.ROW_NONE)
    return _Undone(undone, base, acted, undo, buried)


def _remembered(trial: Trial, before: _Undone) -> Script[None]:
    late = yield from ask(before.buried.action())
    when = f"{AFTER}, an action whose undo came first"
    wants(late, Outcome.FENCED, rule=rules.ROW_TOMBSTONE, when=when)
    same(before.acted, (yield from ask(before.undone.action(2))), rules.ROW_UNDONE, AFTER)
    again = before.undone.compensation(before.undo.command.attempt + 1)
    same(before.undo, (yield from ask(again)), rules.ROW_UNDONE, f"{AFTER}, the undo again")
    yield from shows(trial, before.undone, GONE, rules.ROW_UNDONE, base=before.base, when=AFTER)


def answers(trial: Trial) -> Script[None]:
    """What it was at when it was killed is answered, and done once"""
    if not trial.can.restarts:
        raise Skipped(NO_RESTART)
    steps = [trial.step() for _ in range(IN_FLIGHT)]
    bases = yield from counted_each(steps)
    commands = tuple(step.action() for step in steps)
    yield Send(commands)
    early: tuple[Heard, ...] = yield Hear(commands, 1)
    yield Crash()
    missing = tuple(one.command for one in early if one.reply is None)
    late: tuple[Heard, ...] = yield Hear(missing, len(missing), recovering=True)
    silent = [one for one in late if one.reply is None]
    if silent:
        raise Broken(
            rules.ACKNOWLEDGED,
            f"{len(silent)} of {IN_FLIGHT} actions were acknowledged before a crash, and never"
            f" answered after it",
        )
    in_doubt = () if trial.subject.effect is Effect.TRANSACTIONAL else (Outcome.UNKNOWN,)
    heard = {one.command.key: one for one in (*early, *late) if one.reply is not None}
    done = 0
    for step in steps:
        reply = wants(heard[step.key], Outcome.SUCCEEDED, *in_doubt, rule=rules.ONCE, when=AFTER)
        if reply.outcome is Outcome.SUCCEEDED:
            done += 1
            same(heard[step.key], (yield from ask(step.action(2))), rules.KEPT, AFTER)
    if done == IN_FLIGHT:
        for step, base in zip(steps, bases, strict=True):
            yield from shows(
                trial, step, STANDS, rules.ONCE, base=base, others=IN_FLIGHT - 1, when=AFTER
            )
