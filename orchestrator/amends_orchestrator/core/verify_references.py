"""The verifier's look into expressions: what they name must have run, exist, and fit."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from amends_contracts import definition as document
from amends_contracts.definition import Definition
from amends_contracts.expressions import (
    Expr,
    ExpressionSyntaxError,
    Items,
    Literal,
    Record,
    Reference,
    Template,
    Text,
    parse_expression,
    parse_template,
    show_reference,
)
from amends_contracts.messages import Effect, Json
from amends_contracts.problems import FieldError
from amends_orchestrator.core.expressions import Expressions
from amends_orchestrator.core.plan import STEP_NAMES, UNDO_NAMES
from amends_orchestrator.core.resolve import Commands, compensation_of, effect_of
from amends_orchestrator.core.verify_schemas import (
    ANYTHING,
    Missing,
    Schema,
    fits,
    required_of,
    schema_at,
    type_of,
    types_of,
)

_KEY: Schema = {"type": ["string", "integer", "number", "boolean"]}
"""What a limit may tell sagas apart by."""
_GUARDS = ("null", "has(")
"""An expression with one of these is taken to look before it reads."""


@dataclass(frozen=True, slots=True)
class _Visible:
    """A step whose output can be named."""

    output: Schema
    certain: bool
    """False if it may have been skipped, passed by, or ignored in its failure."""


@dataclass(frozen=True, slots=True)
class _Here:
    """Where a template stands."""

    visible: dict[str, _Visible]
    names: frozenset[str]
    guarded: bool = False
    """The step has a condition of its own, or stands in a case: it may know what ran."""
    undo_input: Schema = field(default_factory=dict[str, Any])
    undo_output: Schema = field(default_factory=dict[str, Any])
    lenient: bool = True
    """`action.output` may be null here."""


class References:
    """One pass over a definition's expressions."""

    def __init__(
        self, definition: Definition, commands: Commands, expressions: Expressions
    ) -> None:
        self.definition = definition
        self.commands = commands
        self.expressions = expressions
        self.places = dict(_places(definition.steps, "/steps"))

    def check(self) -> Iterator[FieldError]:
        """Every error, in the order of the document."""
        visible: dict[str, _Visible] = {}
        yield from self.sequence(self.definition.steps, "/steps", visible, guarded=False)
        if self.definition.output is not None:
            here = _Here(visible, STEP_NAMES)
            yield from self.value(self.definition.output, "/output", here, ANYTHING)

    def sequence(
        self, steps: document.Steps, at: str, visible: dict[str, _Visible], *, guarded: bool
    ) -> Iterator[FieldError]:
        """Checks the steps and adds to `visible` what later ones may name."""
        for n, step in enumerate(steps):
            yield from self.step(step, f"{at}/{n}", visible, guarded=guarded)

    def step(
        self, step: document.Step, at: str, visible: dict[str, _Visible], *, guarded: bool
    ) -> Iterator[FieldError]:
        own = guarded or step.when is not None
        if step.when is not None:
            here = _Here(visible, STEP_NAMES, guarded)
            yield from self.condition(step.when, f"{at}/when", here)
        match step:
            case document.Action():
                yield from self.action(step, at, _Here(visible, STEP_NAMES, own))
                info = self.commands.get(step.command)
                output = info.output if info is not None and info.output else ANYTHING
                certain = step.when is None and step.on_failure != "ignore"
                visible[step.id] = _Visible(output, certain)
            case document.Parallel():
                found: dict[str, _Visible] = {}
                for name, body in step.branches.items():
                    inside = dict(visible)
                    yield from self.sequence(body, f"{at}/branches/{name}", inside, guarded=own)
                    found |= {k: v for k, v in inside.items() if k not in visible}
                _add(visible, found, certain=step.when is None)
            case document.Choice():
                yield from self.choice(step, at, visible, guarded=own)
            case _:
                pass  # refused by its kind

    def choice(
        self,
        step: document.Choice,
        at: str,
        visible: dict[str, _Visible],
        *,
        guarded: bool,
    ) -> Iterator[FieldError]:
        found: dict[str, _Visible] = {}
        bodies = [(f"{at}/cases/{n}/steps", case.steps) for n, case in enumerate(step.cases)]
        for n, case in enumerate(step.cases):
            here = _Here(visible, STEP_NAMES, guarded)
            yield from self.condition(case.when, f"{at}/cases/{n}/when", here)
        for where, body in [*bodies, (f"{at}/otherwise", step.otherwise)]:
            inside = dict(visible)
            yield from self.sequence(body, where, inside, guarded=True)
            found |= {k: v for k, v in inside.items() if k not in visible}
        _add(visible, found, certain=False)

    def action(self, step: document.Action, at: str, here: _Here) -> Iterator[FieldError]:
        info = self.commands.get(step.command)
        schema: Schema = info.input if info is not None and info.input else ANYTHING
        yield from self.value(step.input, f"{at}/input", here, schema)
        if step.limit is not None and step.limit.key is not None:
            yield from self.value(step.limit.key, f"{at}/limit/key", here, _KEY)
        undo = compensation_of(step, info)
        if undo is None or undo.input is None:
            return
        declared = self.commands.get(undo.command or "")
        target: Schema = ANYTHING
        if declared is not None and declared.input and undo.command != step.command:
            target = declared.input
        place = _Here(
            here.visible,
            UNDO_NAMES,
            here.guarded,
            schema,
            info.output if info is not None and info.output else ANYTHING,
            lenient=effect_of(step, info) is not Effect.NONE,
        )
        yield from self.value(undo.input, f"{at}/compensation/input", place, target)

    # --- values

    def condition(self, text: str, at: str, here: _Here) -> Iterator[FieldError]:
        try:
            expression = parse_expression(text)
        except ExpressionSyntaxError as error:
            yield _syntax(error, at)
            return
        yield from self.expression(expression, at, here, {"type": ["boolean", "null"]})

    def value(self, value: Json, at: str, here: _Here, schema: Schema) -> Iterator[FieldError]:
        try:
            template = parse_template(value)
        except ExpressionSyntaxError as error:
            yield _syntax(error, at)
            return
        yield from self.template(template, at, here, schema)

    def template(
        self, template: Template, at: str, here: _Here, schema: Schema
    ) -> Iterator[FieldError]:
        match template:
            case Expr():
                yield from self.expression(template, at, here, schema)
            case Text(parts):
                yield from _mismatch(at, "text", {"string"}, schema)
                for part in parts:
                    if isinstance(part, Expr):
                        yield from self.expression(part, at, here, ANYTHING, in_text=True)
            case Record(items):
                members: dict[str, Template] = dict(items)
                yield from self.record(members, at, here, schema)
            case Items(items):
                yield from _mismatch(at, "a list", {"array"}, schema)
                for n, item in enumerate(items):
                    inner = schema_at(schema, (0,))
                    known = ANYTHING if isinstance(inner, Missing) else inner
                    yield from self.template(item, f"{at}/{n}", here, known)
            case Literal(value):
                if isinstance(value, dict):
                    literals = cast("dict[str, Json]", value)
                    members = {name: Literal(item) for name, item in literals.items()}
                    yield from self.record(members, at, here, schema)
                    return
                yield from _mismatch(at, repr(value), {type_of(value)}, schema)

    def record(
        self, members: Mapping[str, Template], at: str, here: _Here, schema: Schema
    ) -> Iterator[FieldError]:
        yield from _mismatch(at, "an object", {"object"}, schema)
        for name in required_of(schema):
            if name not in members:
                reason = f"the required member {name!r} is not given"
                yield FieldError(path=at, reason=reason, remedy=f"add {name!r}")
        for name, item in members.items():
            inner = schema_at(schema, (name,))
            if isinstance(inner, Missing):
                if inner.known:
                    reason = f"there is no member {name!r}"
                    remedy = f"known are: {', '.join(inner.known)}"
                    yield FieldError(path=f"{at}/{name}", reason=reason, remedy=remedy)
                inner = ANYTHING
            yield from self.template(item, f"{at}/{name}", here, inner)

    # --- expressions

    def expression(
        self, expression: Expr, at: str, here: _Here, schema: Schema, *, in_text: bool = False
    ) -> Iterator[FieldError]:
        if expression.path is None:
            wrong = self.expressions.check(expression.text, here.names)
            if wrong is not None:
                known = ", ".join(sorted(here.names))
                yield FieldError(path=at, reason=wrong, remedy=f"names that exist here: {known}")
                return
        elif expression.path[0] not in here.names:
            known = ", ".join(sorted(here.names))
            reason = f"undeclared reference to {str(expression.path[0])!r}"
            yield FieldError(path=at, reason=reason, remedy=f"names that exist here: {known}")
            return
        looks = expression.path is None and any(g in expression.text for g in _GUARDS)
        for reference in expression.references:
            yield from self.reference(reference, at, here, looks=looks)
            if here.names is UNDO_NAMES and reference[:2] == ("action", "output"):
                plain = expression.path is not None and not in_text
                yield from _null_output(reference, at, here, schema, fine=looks, plain=plain)
        if expression.path is not None and not in_text:
            found = self.schema_of(expression.path, here)
            if isinstance(found, dict):
                shown = show_reference(expression.path)
                yield from _mismatch(at, shown, types_of(found), schema)

    def reference(
        self, reference: Reference, at: str, here: _Here, *, looks: bool
    ) -> Iterator[FieldError]:
        if reference[0] == "steps":
            if len(reference) < 3 or reference[2] != "output":
                reason = f"{show_reference(reference)} names no output"
                remedy = "write steps.<id>.output"
                yield FieldError(path=at, reason=reason, remedy=remedy)
                return
            name = str(reference[1])
            seen = here.visible.get(name)
            if seen is None:
                yield self.unseen(name, at, here)
                return
            if not seen.certain and not here.guarded and not looks and len(reference) > 3:
                reason = f"step {name!r} may not have run: its output may be null"
                remedy = (
                    f"look first, as in steps.{name}.output == null ? … : …, "
                    "or give this step a `when`"
                )
                yield FieldError(path=at, reason=reason, remedy=remedy)
        found = self.schema_of(reference, here)
        if isinstance(found, Missing) and not looks:
            known = f"known are: {', '.join(found.known)}" if found.known else None
            reason = f"{show_reference(reference)}: there is no member {found.segment!r}"
            yield FieldError(path=at, reason=reason, remedy=known)

    def unseen(self, name: str, at: str, here: _Here) -> FieldError:
        if name not in self.places:
            known = ", ".join(sorted(here.visible)) or "none"
            reason = f"there is no step {name!r}"
            return FieldError(path=at, reason=reason, remedy=f"steps before this one: {known}")
        reason = f"step {name!r} ({self.places[name]}) has not run for sure when this is evaluated"
        remedy = "refer only to earlier steps of the same branch or case"
        return FieldError(path=at, reason=reason, remedy=remedy)

    def schema_of(self, reference: Reference, here: _Here) -> Schema | Missing | None:
        match reference:
            case ("input", *rest):
                return schema_at(self.definition.input, tuple(rest))
            case ("steps", str(name), "output", *rest) if name in here.visible:
                return schema_at(here.visible[name].output, tuple(rest))
            case ("saga", str(name), *_) if name not in ("id", "key"):
                return Missing(name, ("id", "key"))
            case ("saga", _):
                return {"type": "string"}
            case ("action", "input", *rest):
                return schema_at(here.undo_input, tuple(rest))
            case ("action", "output", *rest):
                return schema_at(here.undo_output, tuple(rest))
            case ("action", str(name), *_):
                return Missing(name, ("input", "output"))
            case _:
                return None


def _add(visible: dict[str, _Visible], found: dict[str, _Visible], *, certain: bool) -> None:
    for name, one in found.items():
        visible[name] = _Visible(one.output, one.certain and certain)


def _places(steps: document.Steps, at: str) -> Iterator[tuple[str, str]]:
    for n, step in enumerate(steps):
        here = f"{at}/{n}"
        yield step.id, here
        match step:
            case document.Parallel():
                for name, body in step.branches.items():
                    yield from _places(body, f"{here}/branches/{name}")
            case document.Choice():
                for c, case in enumerate(step.cases):
                    yield from _places(case.steps, f"{here}/cases/{c}/steps")
                yield from _places(step.otherwise, f"{here}/otherwise")
            case _:
                pass


def _syntax(error: ExpressionSyntaxError, at: str) -> FieldError:
    reason = f"character {error.position}: {error.reason}"
    return FieldError(path=at + error.path, reason=reason, remedy="see the syntax of ${ … }")


def _mismatch(at: str, what: str, types: set[str], schema: Schema) -> Iterator[FieldError]:
    wanted = types_of(schema)
    if not fits(types, wanted):
        reason = f"{what} is {_or(types)}, and {_or(wanted)} is wanted"
        yield FieldError(path=at, reason=reason, remedy=None)


def _or(types: set[str]) -> str:
    return " or ".join(sorted(types))


def _null_output(
    reference: Reference, at: str, here: _Here, schema: Schema, *, fine: bool, plain: bool
) -> Iterator[FieldError]:
    """The output is null when the action's outcome is unknown: the mapping must bear that."""
    if not here.lenient or fine:
        return
    wanted = types_of(schema)
    if plain and (not wanted or "null" in wanted):
        return
    reason = f"{show_reference(reference)} is null when the action's outcome is unknown"
    remedy = "put it alone into a nullable field, or write action.output == null ? … : …"
    yield FieldError(path=at, reason=reason, remedy=remedy)
