"""What a check can do and see. A check is a generator of `Do`s; nothing here sends anything.

def duplicates(trial: Trial) -> Script[None]:
    step = trial.step()
    first = yield from ask(step.action())
    wants(first, SUCCEEDED, rule=rules.ONCE)
    same(first, (yield from ask(step.action(2))), rules.ROW_SUCCEEDED)
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, TypeVar, cast

from amends_contracts.amqp import AmqpMessage, HeaderValue
from amends_contracts.messages import JSON_TYPE, Command, Outcome, ProbeEffect, Reply
from amends_contracts.names import Op, SagaId
from amends_contracts.problems import PROBLEM_CONTENT_TYPE, ProblemType
from amends_orchestrator.conform import rules
from amends_orchestrator.conform.rules import Rule
from amends_orchestrator.conform.subject import Step, Trial

T = TypeVar("T")

UNDO_ATTEMPTS: Final = 40
PAUSE_S: Final = 0.25
"""Between attempts of a compensation that was told to wait."""
SHOWN_MAX: Final = 160

# --- what a script does ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tell:
    """Send all at once and hear one reply to each: `tuple[Heard, ...]`, in their order."""

    commands: tuple[Command, ...]
    headers: Mapping[str, HeaderValue] = field(default_factory=dict[str, HeaderValue])
    """In place of those that the commands have."""
    envelope: bool = False


@dataclass(frozen=True, slots=True)
class Send:
    """Send, and go on."""

    commands: tuple[Command, ...]


@dataclass(frozen=True, slots=True)
class Hear:
    """Hear replies to what was sent, at least `count`: `tuple[Heard, ...]`, one per command."""

    commands: tuple[Command, ...]
    count: int
    recovering: bool = False
    """Whether the service was killed and may need its time."""


@dataclass(frozen=True, slots=True)
class Bury:
    """Send what cannot be used: the dead letter, or None if it never died."""

    command: Command
    body: bytes | None = None
    headers: Mapping[str, HeaderValue | None] = field(default_factory=dict[str, HeaderValue | None])
    """In place of its own; None leaves one out."""


@dataclass(frozen=True, slots=True)
class Forget:
    """Tell that a saga is over; no reply is expected."""

    service: str
    saga: SagaId


@dataclass(frozen=True, slots=True)
class Strays:
    """What was heard of a saga and is nobody's reply: `tuple[AmqpMessage, ...]`."""

    saga: SagaId


@dataclass(frozen=True, slots=True)
class Count:
    """The observation for a step: a number, or None."""

    step: Step


@dataclass(frozen=True, slots=True)
class Declare:
    """Declare a lane's queue as the contract says: the broker's refusal, or None."""

    undo: bool


@dataclass(frozen=True, slots=True)
class Pause:
    """Let some time go by."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Crash:
    """Kill the service with SIGKILL and start it again."""


Do: TypeAlias = Tell | Send | Hear | Bury | Forget | Strays | Count | Declare | Pause | Crash
Script: TypeAlias = Generator[Do, Any, T]
"""Each `Do` is answered with what its docstring says."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What was heard to one delivery of a command."""

    command: Command
    reply: Reply | None
    why: str = ""
    """Where there is no reply that can be read: what there was."""

    def __str__(self) -> str:
        asked = f"{self.command.op} {self.command.type}, attempt {self.command.attempt}"
        return f"{asked}: {self.why if self.reply is None else said(self.reply)}"


# --- how a script ends ----------------------------------------------------------------------------


class Broken(Exception):
    """The service did not do what the rule says."""

    def __init__(self, rule: Rule, what: str) -> None:
        self.rule = rule
        self.what = what
        super().__init__(what)


class Skipped(Exception):
    """It cannot be told; the text says why."""


def said(reply: Reply) -> str:
    """A reply in one line."""
    if reply.outcome in {Outcome.SUCCEEDED, Outcome.PROGRESS}:
        shown = reply.body.decode(errors="replace")
    else:
        problem = reply.problem()
        shown = f"`{problem.type}`{' (retryable)' if reply.retryable else ''}"
        shown += f" {problem.detail or problem.title}" if problem.detail or problem.title else ""
    text = f"`{reply.outcome}` {shown}"
    return text if len(text) <= SHOWN_MAX else f"{text[: SHOWN_MAX - 1]}…"


# --- what is asked and expected -------------------------------------------------------------------


def ask(command: Command) -> Script[Heard]:
    """Send one command and hear its reply."""
    (heard,) = yield Tell((command,))
    return heard


def wants(
    heard: Heard,
    *outcomes: Outcome,
    rule: Rule,
    problem: ProblemType | None = None,
    retryable: bool | None = None,
    when: str = "",
) -> Reply:
    """The reply, if it is one of these; else the check is broken."""
    reply = heard.reply
    wanted = " or ".join(f"`{outcome}`" for outcome in outcomes)
    wanted += f" `{problem}`" if problem else ""
    wanted += "" if retryable is None else f", {'retryable' if retryable else 'final'}"
    fits = (
        reply is not None
        and reply.outcome in outcomes
        and (problem is None or reply.problem().type == problem)
        and (retryable is None or reply.retryable is retryable)
    )
    if not fits or reply is None:
        raise Broken(rule, f"{f'{when}: ' if when else ''}{heard}; expected {wanted}")
    return reply


def same(first: Heard, again: Heard, rule: Rule, when: str = "") -> None:
    """The second says what the first said."""
    wants(again, *Outcome, rule=rule, when=when)
    assert first.reply is not None
    assert again.reply is not None
    if content(again.reply) != content(first.reply):
        before = f"it was answered {said(first.reply)} before"
        raise Broken(rule, f"{f'{when}: ' if when else ''}{again}; {before}")


def content(reply: Reply) -> tuple[Outcome, Any, bool]:
    """What is stored of a reply: all but the echo."""
    return reply.outcome, reply.json(), reply.retryable


def acts(step: Step, attempt: int = 1) -> Script[Heard]:
    """The action, which succeeds."""
    heard = yield from ask(step.action(attempt))
    wants(heard, Outcome.SUCCEEDED, rule=rules.ROW_NONE)
    return heard


def undoes(step: Step, rule: Rule, *, first: int = 1, **more: Any) -> Script[Heard]:
    """The compensation, tried again while it is told to wait; it succeeds."""
    attempt = first
    while True:
        heard = yield from ask(step.compensation(attempt, **more))
        reply = heard.reply
        if reply is None or not (reply.outcome is Outcome.FAILED and reply.retryable):
            wants(heard, Outcome.SUCCEEDED, rule=rule)
            return heard
        attempt += 1
        if attempt == first + UNDO_ATTEMPTS:
            raise Broken(rule, f"the undo was told to wait {UNDO_ATTEMPTS} times: {heard}")
        yield Pause(min(reply.retry_after_s or PAUSE_S, PAUSE_S))


# --- what is seen of an effect --------------------------------------------------------------------

STANDS: Final = ProbeEffect.PRESENT
GONE: Final = ProbeEffect.UNDONE
NEVER: Final = ProbeEffect.ABSENT


def counted(step: Step) -> Script[float | None]:
    """The observation before something is done."""
    value: float | None = yield Count(step)
    return value


def counted_each(steps: Sequence[Step]) -> Script[list[float | None]]:
    """The observations before something is done."""
    values: list[float | None] = []
    for step in steps:
        value = yield from counted(step)
        values.append(value)
    return values


def shows(
    trial: Trial,
    step: Step,
    state: ProbeEffect,
    rule: Rule,
    *,
    base: float | None,
    others: int = 0,
    when: str,
) -> Script[None]:
    """Whatever can tell, says so: the observation, a probe, the ledger. It ends all attempts.

    `base` is the observation before the step, `others` how many effects of other steps stand that
    did not stand then.
    """
    can = trial.can
    if can.unit is not None and base is not None:
        standing = (1 if state is STANDS else 0) + (0 if can.by_key else others)
        value: float | None = yield Count(step)
        _observed(value, base, standing, can.unit, rule, when)
    if can.probes:
        heard = yield from ask(step.probe(2))
        _probed(heard, state, can.closes, rule, when)
    if can.ledger:
        heard = yield from ask(step.ledger())
        _listed(heard, step, state, rule, when)


def _observed(
    value: float | None, base: float, standing: int, unit: float, rule: Rule, when: str
) -> None:
    wanted = base + standing * unit
    if value is None or value == wanted:
        return
    there = (value - base) / unit
    seen = f"{when}: --observe shows {value:g} where {wanted:g} was expected ({base:g} before)"
    if standing == 0 and there == 1:
        what = "the effect stands"
    elif standing == 0 and there > 0:
        what = "a part of the effect stands" if there < 1 else f"{there:g} effects stand"
    elif there < standing and there < 0:
        what = "more was taken back than was done"
    elif there > standing:
        what = f"{there:g} effects where there is one key for {standing}"
    else:
        what = "an effect is missing"
    raise Broken(rule, f"{seen}: {what}")


def _probed(heard: Heard, state: ProbeEffect, closes: bool, rule: Rule, when: str) -> None:
    reply = heard.reply
    if (
        reply is not None
        and reply.outcome is Outcome.UNKNOWN
        and state is not STANDS
        and not closes
    ):
        return  # one that cannot close attempts answers only `present` or `unknown`
    if reply is None or reply.outcome is not Outcome.SUCCEEDED:
        raise Broken(rule, f"{when}: {heard}; expected `{state}`")
    if reply.json().get("effect") != state:
        raise Broken(rule, f"{when}: a probe says {said(reply)}; expected `{state}`")


def _listed(heard: Heard, step: Step, state: ProbeEffect, rule: Rule, when: str) -> None:
    reply = wants(heard, Outcome.SUCCEEDED, rule=rules.LEDGER, when=when)
    effects = [one for one in listed(reply) if one.get("key") == step.key]
    found = effects[0].get("effect") if effects else None
    if (found == STANDS) != (state is STANDS):
        shown = "does not have it" if found is None else f"says `{found}`"
        raise Broken(rule, f"{when}: the ledger {shown}; the effect should be `{state}`")


def listed(reply: Reply) -> list[dict[str, Any]]:
    """The effects of a ledger's answer; Broken if it is none."""
    effects = cast(list[Any], reply.json().get("effects"))
    if not isinstance(effects, list) or not all(isinstance(one, dict) for one in effects):  # pyright: ignore[reportUnnecessaryIsInstance] - a stranger's JSON
        raise Broken(rules.LEDGER, f'a ledger is {{"effects": [...]}}, not {said(reply)}')
    return effects


def is_alive(trial: Trial, op: Op, rule: Rule, when: str) -> Script[None]:
    """The lane goes on: a command that nobody has is answered."""
    heard = yield from ask(trial.step().unknown(op))
    if heard.reply is None:
        raise Broken(rule, f"{when}: nothing more is answered in that lane: {heard}")


def echo_faults(command: Command, message: AmqpMessage, reply: Reply) -> list[str]:
    """What of a delivery its reply does not give back."""
    succeeded = reply.outcome is Outcome.SUCCEEDED
    expected: list[tuple[str, object, object]] = [
        ("message_id", f"{command.message_id}:reply", reply.message_id),
        ("correlation_id", command.saga_id, reply.saga_id),
        ("type", command.type, reply.type),
        ("amends-key", command.key, reply.key),
        ("amends-attempt", command.attempt, reply.attempt),
        ("amends-token", command.token, reply.token),
        ("content_type", JSON_TYPE if succeeded else PROBLEM_CONTENT_TYPE, message.content_type),
        ("routing key", command.reply_to, message.routing_key),
    ]
    return [
        f"{command.op} of {command.type}, attempt {command.attempt}: {name} is {got!r},"
        f" expected {want!r}"
        for name, want, got in expected
        if want != got
    ]
