"""Checks of actions: at most one effect per key, whatever arrives. Each is played per command."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from amends_contracts.messages import Outcome, ProbeEffect, digest_of
from amends_contracts.problems import ProblemType
from amends_orchestrator.conform import rules
from amends_orchestrator.conform.script import (
    GONE,
    NEVER,
    STANDS,
    Broken,
    Hear,
    Heard,
    Script,
    Send,
    Skipped,
    Tell,
    acts,
    ask,
    counted,
    listed,
    said,
    same,
    shows,
    undoes,
    wants,
)
from amends_orchestrator.conform.subject import Trial

CROWD: Final = 6
LONG_AGO: Final = datetime(2020, 1, 1, tzinfo=UTC)
SUCCEEDED: Final = Outcome.SUCCEEDED
FAILED: Final = Outcome.FAILED


def duplicates(trial: Trial) -> Script[None]:
    """An action delivered again, and a higher attempt"""
    step = trial.step()
    base = yield from counted(step)
    first = yield from acts(step)
    yield from shows(trial, step, STANDS, rules.COMMITTED, base=base, when="right after its reply")
    for attempt in (1, 2, 1):
        heard = yield from ask(step.action(attempt))
        same(first, heard, rules.ROW_SUCCEEDED)
    yield from shows(trial, step, STANDS, rules.ONCE, base=base, when="after duplicates")


def concurrent(trial: Trial) -> Script[None]:
    """The same action many times at once"""
    step = trial.step()
    base = yield from counted(step)
    yield Send(tuple(step.action(1 + n % 2) for n in range(CROWD)))
    # Those that wait for one running attempt may have one reply, which echoes the latest of them.
    heard: tuple[Heard, ...] = yield Hear((step.action(2),), 1)
    wants(heard[0], SUCCEEDED, rule=rules.ONCE, when=f"{CROWD} at once")
    for n in range(CROWD):  # what else was said comes first, then stored replies
        again = yield from ask(step.action(1 + n % 2))
        same(heard[0], again, rules.ONCE, f"{CROWD} at once")
    yield from shows(trial, step, STANDS, rules.ONCE, base=base, when=f"after {CROWD} at once")


def key_reused(trial: Trial) -> Script[None]:
    """The same key with another digest"""
    step = trial.step()
    base = yield from counted(step)
    first = yield from acts(step)
    for attempt in (1, 2):
        command = step.action(attempt)
        other = {"amends-digest": digest_of(b"another body")}
        (heard,) = yield Tell((command,), headers=other)
        wants(heard, Outcome.UNKNOWN, problem=ProblemType.KEY_REUSED, rule=rules.KEY_REUSED)
    yield from shows(trial, step, STANDS, rules.KEY_REUSED, base=base, when="after it")
    same(first, (yield from ask(step.action(2))), rules.ROW_SUCCEEDED, "with its own digest again")


def other_types(trial: Trial) -> Script[None]:
    """Numbers as texts, and a header of a later contract"""
    step = trial.step()
    headers = {"amends-wire": "1", "amends-attempt": "1", "amends-of-a-later-contract": "x"}
    (heard,) = yield Tell((step.action(),), headers=headers)
    wants(heard, SUCCEEDED, rule=rules.HEADER_TYPES)


def expired(trial: Trial) -> Script[None]:
    """An action long past its deadline"""
    step = trial.step()
    base = yield from counted(step)
    heard = yield from ask(step.action(deadline=LONG_AGO))
    reply = wants(heard, SUCCEEDED, FAILED, rule=rules.DEADLINE)
    if reply.outcome is FAILED:
        wants(heard, FAILED, problem=ProblemType.EXPIRED, retryable=True, rule=rules.DEADLINE)
        same(heard, (yield from ask(step.action())), rules.DEADLINE, "delivered again")
        yield from acts(step, 2)
    yield from shows(trial, step, STANDS, rules.DEADLINE, base=base, when="in the end")


def returned(trial: Trial) -> Script[None]:
    """A reply that the broker returns, for nobody takes it"""
    step = trial.step()
    base = yield from counted(step)
    yield Send((replace(step.action(), reply_to=trial.place.nowhere),))
    heard = yield from ask(step.action(2))
    wants(heard, SUCCEEDED, rule=rules.ACKNOWLEDGED, when="sent again with a way to answer")
    yield from shows(trial, step, STANDS, rules.ONCE, base=base, when="after both")


def failed(trial: Trial) -> Script[None]:
    """An action that fails changes nothing, and its key is kept"""
    if trial.subject.failing is None:
        raise Skipped("no input is known with which it fails: give `failing` in --commands")
    step = trial.step(trial.subject.failing)
    base = yield from counted(step)
    heard = yield from ask(step.action())
    reply = heard.reply
    if reply is not None and reply.outcome is not FAILED:
        raise Skipped(f"the input that is to fail was answered {said(reply)}")
    reply = wants(heard, FAILED, rule=rules.FAILED)
    if "type" not in reply.json():
        raise Broken(rules.FAILED, f"its body is no problem with a `type`: {said(reply)}")
    same(heard, (yield from ask(step.action())), rules.ROW_FAILED, "delivered again")
    yield from shows(trial, step, NEVER, rules.FAILED, base=base, when="after it failed")
    if trial.subject.undoable:
        yield from undoes(step, rules.ROW_FAILED)
        for attempt in (1, 2):
            heard = yield from ask(step.action(attempt))
            wants(heard, Outcome.FENCED, rule=rules.ROW_TOMBSTONE, when="after its undo")
        yield from shows(trial, step, NEVER, rules.ROW_FAILED, base=base, when="after its undo")


def probed(trial: Trial) -> Script[None]:
    """A probe closes the attempts and says what there is"""
    step = trial.step()
    if not trial.can.probes:
        heard = yield from ask(step.probe())
        wants(
            heard, FAILED, problem=ProblemType.UNSUPPORTED, retryable=False, rule=rules.UNSUPPORTED
        )
        if trial.subject.probe:
            raise Broken(
                rules.HELLO, "hello announces `probe`, and a probe is `amends:unsupported`"
            )
        raise Skipped("it does not offer probes, and says so")
    base = yield from counted(step)
    heard = yield from ask(step.probe())
    reply = wants(heard, SUCCEEDED, Outcome.UNKNOWN, rule=rules.ROW_NONE)
    if reply.outcome is SUCCEEDED:
        if reply.json().get("effect") != NEVER:
            raise Broken(rules.ROW_NONE, f"nothing was done, and a probe says {said(reply)}")
        late = yield from ask(step.action())
        wants(
            late,
            FAILED,
            problem=ProblemType.CLOSED,
            retryable=True,
            rule=rules.ROW_CLOSED,
            when="an attempt that a probe had closed",
        )
        yield from shows_nothing(trial, base)
    first = yield from acts(step, 2)
    found = wants((yield from ask(step.probe(2))), SUCCEEDED, rule=rules.ROW_SUCCEEDED)
    assert first.reply is not None
    if found.json() != {"effect": ProbeEffect.PRESENT, "output": first.reply.json()}:
        raise Broken(
            rules.ROW_SUCCEEDED,
            f"the action was answered {said(first.reply)}, a probe {said(found)}",
        )


def shows_nothing(trial: Trial, base: float | None) -> Script[None]:
    """The observation is what it was."""
    now = yield from counted(trial.steps[-1])
    if now != base:
        raise Broken(
            rules.PROBE, f"a closed attempt took effect: --observe shows {now}, not {base}"
        )


def in_the_ledger(trial: Trial) -> Script[None]:
    """The ledger of a saga has its effects and no others"""
    step, other = trial.step(), trial.step()
    if not trial.can.ledger:
        heard = yield from ask(step.ledger())
        wants(
            heard, FAILED, problem=ProblemType.UNSUPPORTED, retryable=False, rule=rules.UNSUPPORTED
        )
        raise Skipped("it does not offer a ledger, and says so")
    yield from acts(other)
    before = listed(wants((yield from ask(step.ledger())), SUCCEEDED, rule=rules.LEDGER))
    if before:
        raise Broken(rules.LEDGER, f"a saga that nothing was done for has {before}")
    first = yield from acts(step)
    assert first.reply is not None
    wanted = {
        "key": step.key,
        "command": trial.subject.name,
        "effect": "present",
        "output": first.reply.json(),
    }
    after = listed(wants((yield from ask(step.ledger())), SUCCEEDED, rule=rules.LEDGER))
    if after != [wanted]:
        raise Broken(rules.LEDGER, f"it says {after}; expected {[wanted]}")
    if trial.subject.undoable:
        yield from undoes(step, rules.ROW_SUCCEEDED)
        yield from shows(trial, step, GONE, rules.LEDGER, base=None, when="after the undo")
