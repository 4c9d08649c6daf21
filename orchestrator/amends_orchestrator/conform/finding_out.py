"""What is asked before and after the checks: what is offered, and that nothing stays. Pure."""

from collections.abc import Iterable

from amends_contracts.messages import Outcome, ProbeEffect
from amends_orchestrator.conform import rules
from amends_orchestrator.conform.script import (
    Broken,
    Pause,
    Script,
    ask,
    counted,
    said,
    undoes,
    wants,
)
from amends_orchestrator.conform.subject import Step, Trial

LOOKS = 8
LOOK_S = 0.25
TIDY_ATTEMPT = 1001
"""Far from those of any check: attempts never restart."""


class NoSuccess(Exception):
    """The input with which a command is to succeed does not; the text says what was answered."""


def what_it_offers(trial: Trial) -> Script[tuple[bool, bool, bool]]:
    """Whether there are a ledger and probes, and whether a probe can say `absent`."""
    listed = (yield from ask(trial.step().ledger())).reply
    looked = (yield from ask(trial.step().probe())).reply
    ledger = listed is not None and listed.outcome is Outcome.SUCCEEDED
    probes = looked is not None and looked.outcome in {Outcome.SUCCEEDED, Outcome.UNKNOWN}
    closes = (
        looked is not None
        and looked.outcome is Outcome.SUCCEEDED
        and looked.json().get("effect") == ProbeEffect.ABSENT
    )
    return ledger, probes, closes


def what_it_does(trial: Trial) -> Script[float | None]:
    """By how much one effect changes the observation; raises NoSuccess, or Broken for nothing."""
    step = trial.step()
    base = yield from counted(step)
    heard = yield from ask(step.action())
    if heard.reply is None or heard.reply.outcome is not Outcome.SUCCEEDED:
        raise NoSuccess(str(heard))
    wants(heard, Outcome.SUCCEEDED, rule=rules.OUTPUT)
    for _ in range(LOOKS):
        now = yield from counted(step)
        if base is None or now is None:
            return None
        if now != base:
            return now - base
        yield Pause(LOOK_S)
    raise Broken(
        rules.OUTPUT,
        f"it was answered {said(heard.reply)}, and --observe shows {base:g} before and after:"
        " nothing was done, or it is not what this command does (`observe` in --commands)",
    )


def tidied(steps: Iterable[Step]) -> Script[list[str]]:
    """Take back what may stand; what could not be is told."""
    left: list[str] = []
    for step in steps:
        try:
            yield from undoes(step, rules.ROW_SUCCEEDED, first=TIDY_ATTEMPT)
        except Broken as broken:
            left.append(f"{step.key}: {broken.what}")
    return left
