"""The verifier: what cannot work is refused at registration, with path, reason and remedy.

This file says which steps may stand where and what they must declare; `verify_references` looks
into expressions. Rules are those of the specification's last section.
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import Final, cast

from amends_contracts import definition as document
from amends_contracts.definition import Definition
from amends_contracts.messages import CommandInfo, Effect, Reversal
from amends_contracts.names import (
    ENGINE,
    STEP_PATH_BYTES_MAX,
    is_command_name,
    service_of,
    tool_command,
)
from amends_contracts.problems import FieldError
from amends_orchestrator.core.asking import as_action
from amends_orchestrator.core.expressions import Expressions
from amends_orchestrator.core.frames import item_prefix, turn_prefix
from amends_orchestrator.core.loops import ITEMS_MAX
from amends_orchestrator.core.resolve import (
    Commands,
    compensation_of,
    effect_of,
    probe_of,
    reversal_of,
)
from amends_orchestrator.core.verify_asking import check_budget, check_llm
from amends_orchestrator.core.verify_loops import (
    check_alternatives,
    check_await,
    check_each,
    check_repeat,
    check_wait,
    items_known,
)
from amends_orchestrator.core.verify_references import References
from amends_orchestrator.core.verify_reviews import check_review, is_seen
from amends_orchestrator.core.verify_schemas import malformed

_STRICTER: Final = (Effect.TRANSACTIONAL, Effect.KEYED, Effect.QUERYABLE, Effect.NONE)
"""From the strongest promise to the weakest: a definition may only assume less."""
RATE_PER_MAX: Final = timedelta(days=1)
"""Of the stretch in which a `limit` counts: so long every grant is remembered."""
_LESS: Final = (Reversal.READ_ONLY, Reversal.COMPENSATABLE, Reversal.IRREVERSIBLE)


def verify(
    definition: Definition, commands: Commands, expressions: Expressions
) -> tuple[FieldError, ...]:
    """Everything wrong with a definition; empty if it may be registered.

    `commands` is what participants' `hello` says, as far as known; nothing is refused only
    because a participant has not spoken yet, except what would have to be guessed.
    """
    checker = _Checker(definition, commands)
    errors = [*checker.whole(), *checker.steps(definition.steps, "/steps", _Place())]
    if any(error.reason.startswith("there is another step") for error in errors):
        return tuple(errors)  # references would be ambiguous
    references = References(definition, commands, expressions)
    return (*errors, *references.check())


class _Place:
    """Where a step stands: as far as the pivot is concerned, and how long its path can get."""

    def __init__(
        self,
        *,
        holder: str | None = None,
        before: bool = True,
        after: bool = False,
        prefix: str = "",
        chosen: bool = False,
        times: int = 1,
        reviewed: bool = False,
    ) -> None:
        self.holder = holder
        """The kind around it in which no pivot may stand; None in the top sequence and its
        choices."""
        self.prefix = prefix
        """The longest that a step path here may begin with."""
        self.before = before
        """Some way to here has not passed a pivot."""
        self.after = after
        """Some way to here has."""
        self.chosen = chosen
        """Whether it is reached at all depends on a condition, on items, or on what failed."""
        self.times = times
        """How often it may run, as far as the document says."""
        self.reviewed = reviewed
        """A person has approved on every way to here."""

    def inside(
        self,
        holder: str | None = None,
        prefix: str | None = None,
        *,
        chosen: bool = False,
        times: int = 1,
    ) -> "_Place":
        return _Place(
            holder=holder or self.holder,
            before=self.before,
            after=self.after,
            prefix=self.prefix if prefix is None else prefix,
            chosen=self.chosen or chosen,
            times=self.times * times,
            reviewed=self.reviewed,
        )


_NO_PIVOT: Final = {
    "parallel": "nothing may run beside a point of no return",
    "each": "a point of no return is passed once",
    "repeat": "a point of no return is passed once",
    "alternatives": "a plan that fails is undone, and what is past the pivot is not",
}


def _error(path: str, reason: str, remedy: str | None = None) -> FieldError:
    return FieldError(path=path, reason=reason, remedy=remedy)


class _Checker:
    def __init__(self, definition: Definition, commands: Commands) -> None:
        self.definition = definition
        self.commands = commands
        self.ids: dict[str, str] = {}
        self.services = {service_of(name) for name in commands}
        self.undo_names = {
            info.compensation for info in commands.values() if info.compensation is not None
        }

    def whole(self) -> Iterator[FieldError]:
        definition = self.definition
        yield from check_budget(definition)
        if definition.deadline is not None and definition.deadline <= timedelta(0):
            yield _error("/deadline", "it would be over at once", "give it more than PT0S")
        yield from malformed(definition.input, "/input")
        properties = definition.input.get("properties")
        for n, label in enumerate(definition.labels):
            if not isinstance(properties, dict):
                break
            if label not in properties:
                known = ", ".join(sorted(cast("dict[str, object]", properties)))
                reason = f"the input has no member {label!r}"
                yield _error(f"/labels/{n}", reason, f"name one of: {known}")

    def steps(self, steps: document.Steps, at: str, place: _Place) -> Iterator[FieldError]:
        for n, step in enumerate(steps):
            yield from self.step(step, f"{at}/{n}", place)

    def step(self, step: document.Step, at: str, place: _Place) -> Iterator[FieldError]:
        if step.id in self.ids:
            reason = f"there is another step {step.id!r} at {self.ids[step.id]}"
            yield _error(f"{at}/id", reason, "ids are unique in a definition: rename one")
        self.ids.setdefault(step.id, at)
        path = place.prefix + step.id
        if len(path) > STEP_PATH_BYTES_MAX:
            reason = (
                f"its step path may become {len(path)} bytes long ({path}); "
                f"at most {STEP_PATH_BYTES_MAX} can be sent"
            )
            remedy = "shorten its id and those of the loops around it, or nest them less deeply"
            yield _error(f"{at}/id", reason, remedy)
        maybe = step.when is not None
        match step:
            case document.Action():
                yield from self.action(step, at, place)
            case document.Parallel():
                for name, body in step.branches.items():
                    inside = place.inside("parallel", chosen=maybe)
                    yield from self.steps(body, f"{at}/branches/{name}", inside)
            case document.Choice():
                yield from self.choice(step, at, place)
            case document.Each():
                yield from check_each(step, at)
                prefix = item_prefix(path, ITEMS_MAX - 1)
                inside = place.inside("each", prefix, chosen=True, times=items_known(step))
                yield from self.steps(step.steps, f"{at}/steps", inside)
            case document.Repeat():
                yield from check_repeat(step, at, after_pivot=place.after)
                prefix = turn_prefix(path, step.max)
                inside = place.inside("repeat", prefix, chosen=maybe, times=step.max)
                yield from self.steps(step.steps, f"{at}/steps", inside)
            case document.Alternatives():
                yield from check_alternatives(step, at, after_pivot=place.after)
                for n, plan in enumerate(step.plans):
                    inside = place.inside("alternatives", chosen=maybe or n > 0)
                    yield from self.steps(plan.steps, f"{at}/plans/{n}/steps", inside)
            case document.Wait():
                yield from check_wait(step, at)
            case document.Await():
                yield from check_await(step, at, after_pivot=place.after, times=place.times)
            case document.ChildSaga():
                yield from self.child(step, at, place)
            case document.Review():
                yield from check_review(step, at, after_pivot=place.after)
                place.reviewed = place.reviewed or is_seen(step)
            case document.Tool():
                yield from self.tool(step, at, place)
            case document.Llm():
                yield from check_llm(step, at, self.definition.budget, after_pivot=place.after)
            case _:
                reason = f"steps of kind {step.kind!r} cannot be run by this version"
                remedy = (
                    "use action, llm, tool, review, parallel, choice, each, repeat, alternatives, "
                    "wait, await and saga"
                )
                yield _error(f"{at}/kind", reason, remedy)

    def choice(self, step: document.Choice, at: str, place: _Place) -> Iterator[FieldError]:
        bodies = [(f"{at}/cases/{n}/steps", case.steps) for n, case in enumerate(step.cases)]
        bodies.append((f"{at}/otherwise", step.otherwise))
        ends: list[_Place] = []
        for where, body in bodies:
            inside = place.inside(chosen=True)
            yield from self.steps(body, where, inside)
            ends.append(inside)
        if step.when is not None:  # it may be passed by
            ends.append(place.inside())
        place.before = any(end.before for end in ends)
        place.after = any(end.after for end in ends)

    def child(self, step: document.ChildSaga, at: str, place: _Place) -> Iterator[FieldError]:
        if place.after:
            reason = "a child saga may fail for good, and stands after the pivot: nobody could undo"
            yield _error(f"{at}/kind", reason, "move it before the pivot")
        if step.definition == self.definition.name and step.when is None and not place.chosen:
            reason = "it would start itself without end"
            yield _error(f"{at}/definition", reason, "give it a `when`, or put it into a case")

    def tool(self, step: document.Tool, at: str, place: _Place) -> Iterator[FieldError]:
        """The action that it is; where that names a command, the document names a tool."""
        if not is_command_name(tool_command(step.tool)):
            reason = f"{step.tool!r} is no name of a tool"
            yield _error(f"{at}/tool", reason, "write refund, or service.refund, in lower case")
            return
        for error in self.action(as_action(step), at, place):
            tool = error.path == f"{at}/command"
            yield error.model_copy(update={"path": f"{at}/tool"}) if tool else error

    # --- actions

    def action(self, step: document.Action, at: str, place: _Place) -> Iterator[FieldError]:
        info = self.commands.get(step.command)
        if service_of(step.command) == ENGINE:
            reason = f"service {ENGINE!r} is the orchestrator itself"
            yield _error(f"{at}/command", reason, "use a step of kind `saga` to run another saga")
        yield from self.command(step.command, f"{at}/command", undo=False)
        yield from self.declared(step, info, at)
        yield from self.compensation(step, info, at)
        yield from self.times(step, at)
        if step.limit is not None:
            yield from self.limit(step.limit, f"{at}/limit")
        if step.review is not None:
            late = place.after and step.on_failure != "ignore"
            yield from check_review(step.review, f"{at}/review", after_pivot=late)
        yield from self.pivot(step, at, place)
        irreversible = reversal_of(step, info) is Reversal.IRREVERSIBLE
        seen = place.reviewed or is_seen(step.review)
        if irreversible and not step.pivot and place.before and not seen:
            reason = "it cannot be taken back and may run before the pivot"
            remedy = (
                "mark it `pivot: true`, move it behind the pivot, give it a compensation, "
                "or a `review` that nothing passes by"
            )
            yield _error(f"{at}/reversal", reason, remedy)
        if place.after and not step.pivot:
            yield from self.after_pivot(step, at)
        if step.pivot:
            place.before = step.when is not None and place.before
            place.after = True

    def command(self, name: str, at: str, *, undo: bool) -> Iterator[FieldError]:
        known = name in self.commands or (undo and name in self.undo_names)
        if known or service_of(name) not in self.services:
            return
        served = {*self.commands, *self.undo_names} if undo else set(self.commands)
        mine = sorted(c for c in served if service_of(c) == service_of(name))
        reason = f"service {service_of(name)!r} does not serve {name!r}"
        remedy = f"it serves {', '.join(mine)}; fix the name, or start its new version first"
        yield _error(at, reason, remedy)

    def declared(
        self, step: document.Action, info: CommandInfo | None, at: str
    ) -> Iterator[FieldError]:
        if reversal_of(step, info) is None:
            reason = f"whether {step.command!r} can be taken back is not known"
            remedy = (
                "give it a `compensation` (`{}` if the same command undoes it), or say "
                "`reversal: read_only` or `irreversible`, or start its participant first"
            )
            yield _error(f"{at}/reversal", reason, remedy)
        if info is None:
            return
        if step.effect and _STRICTER.index(step.effect) < _STRICTER.index(info.effect):
            reason = f"`{step.effect}` promises more than its participant does (`{info.effect}`)"
            yield _error(f"{at}/effect", reason, "leave it out, or assume less")
        said = reversal_of(step, None)
        if said is not None and _LESS.index(said) < _LESS.index(info.reversal):
            reason = f"its participant says {info.reversal}: it cannot be {said} here"
            where = "reversal" if step.reversal is not None else "compensation"
            yield _error(f"{at}/{where}", reason, "leave it out, or assume less")
        if step.probe and not info.probe:
            yield _error(f"{at}/probe", "its participant offers no probe", "leave `probe` out")

    def compensation(
        self, step: document.Action, info: CommandInfo | None, at: str
    ) -> Iterator[FieldError]:
        if step.compensation is not None and reversal_of(step, info) is not Reversal.COMPENSATABLE:
            reason = f"a step that is {step.reversal} has nothing to compensate"
            yield _error(f"{at}/compensation", reason, "leave out one of the two")
            return
        undo = compensation_of(step, info)
        if undo is None:
            return
        command = undo.command or step.command
        if service_of(command) != service_of(step.command):
            reason = f"{command!r} belongs to another service than {step.command!r}"
            remedy = f"name a command of {service_of(step.command)}: only it knows the effect"
            yield _error(f"{at}/compensation/command", reason, remedy)
        elif command != step.command:
            yield from self.command(command, f"{at}/compensation/command", undo=True)
        if undo.verify and not probe_of(step, info):
            reason = "`verify` needs a probe, and the action has none"
            yield _error(f"{at}/compensation/verify", reason, "say `probe: true`, or leave it out")

    def times(self, step: document.Action, at: str) -> Iterator[FieldError]:
        if step.timeout <= timedelta(0):
            yield _error(f"{at}/timeout", "every attempt would expire at once", "give it more")
        undo = step.compensation
        if undo is not None and undo.timeout <= timedelta(0):
            where = f"{at}/compensation/timeout"
            yield _error(where, "every attempt would expire at once", "give it more")
        policies = [(f"{at}/retry", step.retry)]
        if undo is not None:
            policies.append((f"{at}/compensation/retry", undo.retry))
        for where, retry in policies:
            endless = retry.max_attempts is None
            if endless and (retry.initial <= timedelta(0) or retry.max <= timedelta(0)):
                yield _error(where, "it would be tried for ever without a pause", "set `initial`")

    def limit(self, limit: document.Limit, at: str) -> Iterator[FieldError]:
        if (limit.concurrency, limit.rate, limit.total) == (None, None, None):
            remedy = "give it `concurrency`, `rate` or `total`, or leave `limit` out"
            yield _error(at, "it limits nothing", remedy)
        if limit.rate is not None and not timedelta(0) < limit.rate.per <= RATE_PER_MAX:
            reason = f"a stretch of {document.format_duration(limit.rate.per)} cannot be counted"
            yield _error(f"{at}/rate/per", reason, "give it more than PT0S, at most P1D")
        each, total = limit.concurrency, limit.total
        if each is not None and total is not None and each > total:
            reason = f"{each} of one key cannot be at work where {total} may in all"
            yield _error(f"{at}/concurrency", reason, "lower it to `total`, or leave it out")

    # --- the pivot

    def pivot(self, step: document.Action, at: str, place: _Place) -> Iterator[FieldError]:
        if not step.pivot:
            return
        if place.holder is not None:
            reason = "a pivot stands in the top sequence or in a choice of it"
            remedy = f"move it out of the {place.holder}: {_NO_PIVOT[place.holder]}"
            yield _error(f"{at}/pivot", reason, remedy)
        if place.after:
            reason = "there is a pivot before it: a saga has one point of no return"
            yield _error(f"{at}/pivot", reason, "keep the first; what follows is retried anyway")
        if step.on_failure == "ignore":
            reason = "a pivot that may fail is no point of no return"
            yield _error(f"{at}/on_failure", reason, "leave `on_failure` out")

    def after_pivot(self, step: document.Action, at: str) -> Iterator[FieldError]:
        if step.on_failure == "ignore":
            return
        if step.retry.max_attempts is not None:
            reason = "it stands after the pivot and may fail for good: nobody could undo the rest"
            remedy = "set `retry.max_attempts: null` (for ever), or `on_failure: ignore`"
            yield _error(f"{at}/retry/max_attempts", reason, remedy)
        if step.retry.except_:
            reason = "it stands after the pivot: no problem may end its attempts"
            remedy = "leave `retry.except` out, or say `on_failure: ignore`"
            yield _error(f"{at}/retry/except", reason, remedy)
        effect = effect_of(step, self.commands.get(step.command))
        if effect is Effect.NONE and not probe_of(step, self.commands.get(step.command)):
            reason = "after the pivot, one lost reply of it would leave the saga stuck"
            remedy = "make it keyed or queryable, or say `on_failure: ignore`"
            yield _error(f"{at}/effect", reason, remedy)
