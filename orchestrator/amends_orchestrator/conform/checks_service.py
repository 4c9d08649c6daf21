"""Checks of a service as a whole: its queues, what it does not know, what nobody can read."""

from collections.abc import Callable
from typing import Final

from amends_contracts.amqp import AmqpMessage
from amends_contracts.messages import Outcome
from amends_contracts.names import Op
from amends_contracts.problems import ProblemType
from amends_orchestrator.conform import rules
from amends_orchestrator.conform.script import (
    GONE,
    STANDS,
    Broken,
    Bury,
    Declare,
    Forget,
    Heard,
    Script,
    Skipped,
    Strays,
    Tell,
    ask,
    counted,
    counted_each,
    is_alive,
    shows,
    wants,
)
from amends_orchestrator.conform.subject import Step, Trial

FAILED: Final = Outcome.FAILED


def queues(_: Trial) -> Script[None]:
    """Its queues are declared as they must be"""
    for undo in (False, True):
        refusal: str | None = yield Declare(undo)
        if refusal is not None:
            raise Broken(rules.QUEUES, refusal)


def unknown_command(trial: Trial) -> Script[None]:
    """Commands that it does not have, in both lanes"""
    for op in (Op.ACTION, Op.COMPENSATION):
        heard = yield from ask(trial.step().unknown(op))
        wants(
            heard,
            FAILED,
            problem=ProblemType.UNKNOWN_COMMAND,
            retryable=False,
            rule=rules.UNKNOWN_COMMAND,
        )


def turn(trial: Trial) -> Script[None]:
    """A turn, which few services have"""
    heard = yield from ask(trial.step().turn())
    if heard.reply is not None and heard.reply.outcome is Outcome.SUCCEEDED:
        raise Skipped("it offers turns")
    wants(heard, FAILED, problem=ProblemType.UNSUPPORTED, retryable=False, rule=rules.UNSUPPORTED)


def undecodable(trial: Trial) -> Script[None]:
    """What cannot be read goes to the dead letters, and the lane goes on"""
    made: tuple[tuple[str, Callable[[Step], Bury]], ...] = (
        ("a body that is no JSON", lambda step: Bury(step.action(), body=b"\xff{")),
        ("a body that is no object", lambda step: Bury(step.action(), body=b"[1]")),
        ("no amends-key", lambda step: Bury(step.action(), headers={"amends-key": None})),
        ("no JSON in the undo lane", lambda step: Bury(step.compensation(), body=b"{")),
    )
    for what, bad in made:
        bury = bad(trial.step())
        letter: AmqpMessage | None = yield bury
        if letter is None:
            raise Broken(rules.UNDECODABLE, f"{what}: it did not come to the dead letters")
        lane = Op.COMPENSATION if bury.command.op is Op.COMPENSATION else Op.ACTION
        yield from is_alive(trial, lane, rules.UNDECODABLE, f"after {what}")


def other_version(trial: Trial) -> Script[None]:
    """Another wire version goes to the dead letters, and nothing is done"""
    step = trial.step()
    base = yield from counted(step)
    letter: AmqpMessage | None = yield Bury(step.action(), headers={"amends-wire": 2})
    if letter is None:
        raise Broken(rules.UNDECODABLE, "amends-wire 2: it did not come to the dead letters")
    now = yield from counted(step)
    if now != base:
        raise Broken(rules.UNDECODABLE, f"--observe shows {now} where {base} was expected")


def forget(trial: Trial) -> Script[None]:
    """`forget` is taken without a reply"""
    step = trial.step()
    yield Forget(trial.subject.service, step.saga)
    yield from is_alive(trial, Op.COMPENSATION, rules.FORGET, "after `forget`")
    replies: tuple[AmqpMessage, ...] = yield Strays(step.saga)
    if replies:
        raise Broken(rules.FORGET, f"it was answered: {replies[0].body[:80]!r}")


def envelopes(trial: Trial) -> Script[None]:
    """Commands in an envelope, one of them bad"""
    if not trial.can.batches:
        why = "hello does not announce `batch`" if trial.can.batches is False else "no hello heard"
        raise Skipped(why)
    steps = [trial.step() for _ in range(2)]
    bases = yield from counted_each(steps)
    commands = (steps[0].action(), trial.step().unknown(Op.ACTION), steps[1].action())
    heard: tuple[Heard, ...] = yield Tell(commands, envelope=True)
    outcomes = (Outcome.SUCCEEDED, FAILED, Outcome.SUCCEEDED)
    for one, outcome in zip(heard, outcomes, strict=True):
        wants(one, outcome, rule=rules.ENVELOPES, when="in an envelope")
    for step, base in zip(steps, bases, strict=True):
        yield from shows(
            trial, step, STANDS, rules.ENVELOPES, base=base, others=1, when="after the envelope"
        )
    if not trial.subject.undoable:
        return
    undos = tuple(step.compensation() for step in steps)
    heard = yield Tell(undos, envelope=True)
    for one in heard:
        wants(one, Outcome.SUCCEEDED, rule=rules.ENVELOPES, when="in an envelope")
    for step, base in zip(steps, bases, strict=True):
        yield from shows(trial, step, GONE, rules.ENVELOPES, base=base, when="after its undo")
