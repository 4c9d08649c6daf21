"""The verifier's look into expressions: what they name must have run, exist, and fit."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, cast

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
from amends_orchestrator.core.asking import ANSWER, as_action
from amends_orchestrator.core.compiling import EACH_NAMES, NEXT_PLAN_NAMES, REPEAT_NAMES, UNDO_NAMES
from amends_orchestrator.core.expressions import Expressions
from amends_orchestrator.core.plan import STEP_NAMES
from amends_orchestrator.core.resolve import Commands, compensation_of, effect_of
from amends_orchestrator.core.verify_loops import check_child_key
from amends_orchestrator.core.verify_places import places_in
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
    null_at: int | None
    """How many segments of a reference (`steps.<id>.output` are 3) may turn out null: it may have
    been skipped, passed by, or ignored in its failure. None: it ran for sure."""


@dataclass(frozen=True, slots=True)
class _Around:
    """What holds for all steps of a sequence."""

    names: frozenset[str] = STEP_NAMES
    item: Schema = field(default_factory=dict[str, Any])
    """Of the innermost each."""
    guarded: bool = False
    """They have a condition, or stand in a case: they may know what ran."""


@dataclass(frozen=True, slots=True)
class _Here:
    """Where a template stands."""

    visible: dict[str, _Visible]
    around: _Around
    undoes: bool = False
    """It is the mapping of an undo."""
    undo_input: Schema = field(default_factory=dict[str, Any])
    undo_output: Schema = field(default_factory=dict[str, Any])
    lenient: bool = True
    """`action.output` may be null here."""
    guards: bool = False  # it stands in the review of an action: there is no output yet


class References:
    """One pass over a definition's expressions."""

    def __init__(
        self, definition: Definition, commands: Commands, expressions: Expressions
    ) -> None:
        self.definition = definition
        self.commands = commands
        self.expressions = expressions
        self.places = dict(places_in(definition.steps, "/steps"))

    def check(self) -> Iterator[FieldError]:
        """Every error, in the order of the document."""
        visible: dict[str, _Visible] = {}
        yield from self.sequence(self.definition.steps, "/steps", visible, _Around())
        if self.definition.output is not None:
            here = _Here(visible, _Around())
            yield from self.value(self.definition.output, "/output", here, ANYTHING)

    def sequence(
        self, steps: document.Steps, at: str, visible: dict[str, _Visible], around: _Around
    ) -> Iterator[FieldError]:
        """Checks the steps and adds to `visible` what later ones may name."""
        for n, step in enumerate(steps):
            yield from self.step(step, f"{at}/{n}", visible, around)

    def step(
        self, step: document.Step, at: str, visible: dict[str, _Visible], around: _Around
    ) -> Iterator[FieldError]:
        own = replace(around, guarded=around.guarded or step.when is not None)
        if step.when is not None:
            yield from self.condition(step.when, f"{at}/when", _Here(visible, around))
        sure = step.when is None
        match step:
            case document.Llm():
                for name, text in (("prompt", step.prompt), ("system", step.system)):
                    if text is not None:
                        yield from self.value(text, f"{at}/{name}", _Here(visible, own), _TEXT)
                visible[step.id] = _Visible(step.output or ANSWER, None if sure else _OUTPUT)
            case document.Action() | document.Tool():
                step = as_action(step) if isinstance(step, document.Tool) else step
                yield from self.action(step, at, _Here(visible, own))
                info = self.commands.get(step.command)
                output = info.output if info is not None and info.output else ANYTHING
                sure = sure and step.on_failure != "ignore"
                visible[step.id] = _Visible(output, None if sure else _OUTPUT)
            case document.Parallel():
                found: dict[str, _Visible] = {}
                for name, body in step.branches.items():
                    inside = dict(visible)
                    yield from self.sequence(body, f"{at}/branches/{name}", inside, own)
                    found |= _new(inside, visible)
                _add(visible, found, sure=sure)
            case document.Choice():
                yield from self.choice(step, at, visible, own)
            case document.Each():
                yield from self.each(step, at, visible, own)
            case document.Repeat():
                yield from self.repeat(step, at, visible, own)
            case document.Alternatives():
                yield from self.alternatives(step, at, visible, own)
            case document.Wait() if step.until is not None:
                yield from self.value(step.until, f"{at}/until", _Here(visible, own), _TEXT)
            case document.ChildSaga():
                yield from self.child(step, at, _Here(visible, own))
                visible[step.id] = _Visible(ANYTHING, None if sure else _OUTPUT)
            case document.Review():
                yield from self.value(step.show, f"{at}/show", _Here(visible, own), ANYTHING)
                yield from self.asked(step, at, _Here(visible, own))
                visible[step.id] = _Visible(step.form or ANYTHING, None if sure else _OUTPUT)
            case document.Await():
                sure = sure and step.on_timeout != "ignore"
                visible[step.id] = _Visible(ANYTHING, None if sure else _OUTPUT)
            case _:
                pass  # nothing to refer to, or refused by its kind

    def choice(
        self, step: document.Choice, at: str, visible: dict[str, _Visible], own: _Around
    ) -> Iterator[FieldError]:
        found: dict[str, _Visible] = {}
        bodies = [(f"{at}/cases/{n}/steps", case.steps) for n, case in enumerate(step.cases)]
        for n, case in enumerate(step.cases):
            yield from self.condition(case.when, f"{at}/cases/{n}/when", _Here(visible, own))
        for where, body in [*bodies, (f"{at}/otherwise", step.otherwise)]:
            inside = dict(visible)
            yield from self.sequence(body, where, inside, replace(own, guarded=True))
            found |= _new(inside, visible)
        _add(visible, found, sure=False)

    def each(
        self, step: document.Each, at: str, visible: dict[str, _Visible], own: _Around
    ) -> Iterator[FieldError]:
        here = _Here(visible, own)
        yield from self.value(step.items, f"{at}/items", here, {"type": "array"})
        names = own.names | EACH_NAMES
        inside = dict(visible)
        around = replace(own, names=names, item=self.item_of(step.items, here))
        yield from self.sequence(step.steps, f"{at}/steps", inside, around)
        for name, one in _new(inside, visible).items():
            null_at = None if one.null_at is None else one.null_at + 1
            listed: Schema = {"type": "array", "items": one.output}
            visible[name] = _Visible(listed, null_at if step.when is None else _OUTPUT)

    def item_of(self, items: Json, here: _Here) -> Schema:
        """The schema of one item, as far as it is known."""
        if not isinstance(items, str):
            return ANYTHING
        try:
            path = parse_expression(items).path
        except ExpressionSyntaxError:
            return ANYTHING
        listed = None if path is None else self.schema_of(path, here)
        found = schema_at(listed, (0,)) if isinstance(listed, dict) else ANYTHING
        return ANYTHING if isinstance(found, Missing) else found

    def repeat(
        self, step: document.Repeat, at: str, visible: dict[str, _Visible], own: _Around
    ) -> Iterator[FieldError]:
        around = replace(own, names=own.names | REPEAT_NAMES)
        inside = dict(visible)
        yield from self.sequence(step.steps, f"{at}/steps", inside, around)
        yield from self.condition(step.until, f"{at}/until", _Here(inside, around))
        _add(visible, _new(inside, visible), sure=step.when is None)

    def alternatives(
        self, step: document.Alternatives, at: str, visible: dict[str, _Visible], own: _Around
    ) -> Iterator[FieldError]:
        found: dict[str, _Visible] = {}
        for n, plan in enumerate(step.plans):
            around = replace(own, names=own.names | NEXT_PLAN_NAMES) if n else own
            inside = dict(visible)
            yield from self.sequence(plan.steps, f"{at}/plans/{n}/steps", inside, around)
            found |= _new(inside, visible)
        _add(visible, found, sure=step.when is None and len(step.plans) == 1)

    def action(self, step: document.Action, at: str, here: _Here) -> Iterator[FieldError]:
        info = self.commands.get(step.command)
        schema: Schema = info.input if info is not None and info.input else ANYTHING
        yield from self.value(step.input, f"{at}/input", here, schema)
        if step.review is not None:
            own = replace(here.around, names=here.around.names | UNDO_NAMES)
            place = _Here(here.visible, own, undo_input=schema, guards=True)
            yield from self.asked(step.review, f"{at}/review", place)
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
            replace(here.around, names=here.around.names | UNDO_NAMES),
            True,
            schema,
            info.output if info is not None and info.output else ANYTHING,
            lenient=effect_of(step, info) is not Effect.NONE,
        )
        yield from self.value(undo.input, f"{at}/compensation/input", place, target)

    def child(self, step: document.ChildSaga, at: str, here: _Here) -> Iterator[FieldError]:
        """Its input, and its key, which is another one in every frame of a loop."""
        yield from self.value(step.input, f"{at}/input", here, ANYTHING)
        if step.key is None:
            return
        yield from self.value(step.key, f"{at}/key", here, _TEXT)
        yield from check_child_key(step.key, f"{at}/key", here.around.names)

    def asked(
        self, step: document.Review | document.Guard, at: str, here: _Here
    ) -> Iterator[FieldError]:
        """What a review shows, and to whom."""
        if isinstance(step, document.Guard) and step.when is not None:
            yield from self.condition(step.when, f"{at}/when", here)
        yield from self.value(step.title or "", f"{at}/title", here, _TEXT)
        for name in ("assignees", "escalate_to"):
            yield from self.value(list(getattr(step, name)), f"{at}/{name}", here, ANYTHING)

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
            wrong = self.expressions.check(expression.text, here.around.names)
            if wrong is not None:
                known = ", ".join(sorted(here.around.names))
                yield FieldError(path=at, reason=wrong, remedy=f"names that exist here: {known}")
                return
        elif expression.path[0] not in here.around.names:
            known = ", ".join(sorted(here.around.names))
            reason = f"undeclared reference to {str(expression.path[0])!r}"
            yield FieldError(path=at, reason=reason, remedy=f"names that exist here: {known}")
            return
        looks = expression.path is None and any(g in expression.text for g in _GUARDS)
        for reference in expression.references:
            yield from self.reference(reference, at, here, looks=looks)
            if here.undoes and reference[:2] == ("action", "output"):
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
            if not here.around.guarded and not looks and _may_be_null(seen, reference):
                reason = f"step {name!r} may not have run: its output may be null"
                remedy = (
                    f"look first, as in steps.{name}.output == null ? … : …, "
                    "or give this step a `when`"
                )
                yield FieldError(path=at, reason=reason, remedy=remedy)
        found = self.schema_of(reference, here)
        if isinstance(found, Missing) and not looks:
            known = "leave that part out: what stands before it has no members"
            if found.known:
                known = f"known are: {', '.join(found.known)}"
            reason = f"{show_reference(reference)}: there is no member {found.segment!r}"
            yield FieldError(path=at, reason=reason, remedy=known)

    def unseen(self, name: str, at: str, here: _Here) -> FieldError:
        place = self.places.get(name)
        if place is not None and place.kind in _WITHOUT_OUTPUT:
            reason = f"step {name!r} is of kind {place.kind!r} and has no output of its own"
            return FieldError(path=at, reason=reason, remedy=_WITHOUT_OUTPUT[place.kind])
        if place is None:
            known = ", ".join(sorted(here.visible)) or "none"
            reason = f"there is no step {name!r}"
            return FieldError(path=at, reason=reason, remedy=f"steps before this one: {known}")
        reason = f"step {name!r} ({place.at}) has not run for sure when this is evaluated"
        remedy = "refer only to earlier steps of the same branch, case or plan"
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
            case ("item", *rest):
                return schema_at(here.around.item, tuple(rest))
            case ("index" | "turn",):
                return {"type": "integer"}
            case ("failure", *rest):
                return schema_at(_FAILURE, tuple(rest))
            case ("action", "input", *rest):
                return schema_at(here.undo_input, tuple(rest))
            case ("action", "output", *_) if here.guards:
                return Missing("output", ("input",))
            case ("action", "output", *rest):
                return schema_at(here.undo_output, tuple(rest))
            case ("action", str(name), *_):
                return Missing(name, ("input", "output"))
            case _:
                return None


_OUTPUT: Final = 3
"""Segments of `steps.<id>.output`."""
_TEXT: Final[Schema] = {"type": "string"}
_FAILURE: Final[Schema] = {
    "type": "object",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": ["integer", "null"]},
        "instance": {"type": ["string", "null"]},
        "detail": {"type": ["string", "null"]},
        "step": {"type": ["string", "null"]},
    },
    "additionalProperties": True,
}
_INNER: Final = "name a step inside it"
_WITHOUT_OUTPUT: Final = {
    "parallel": _INNER,
    "choice": _INNER,
    "each": f"{_INNER}: its outputs are a list, one for each item",
    "repeat": f"{_INNER}: it has the output of the last iteration",
    "alternatives": f"{_INNER}: it is null unless its plan held",
    "wait": "leave it out",
}


def _may_be_null(seen: _Visible, reference: Reference) -> bool:
    """Whether something before the reference's last segment may be null."""
    return seen.null_at is not None and len(reference) > seen.null_at


def _new(inside: dict[str, _Visible], visible: dict[str, _Visible]) -> dict[str, _Visible]:
    return {name: one for name, one in inside.items() if name not in visible}


def _add(visible: dict[str, _Visible], found: dict[str, _Visible], *, sure: bool) -> None:
    for name, one in found.items():
        visible[name] = one if sure else _Visible(one.output, _OUTPUT)


def _syntax(error: ExpressionSyntaxError, at: str) -> FieldError:
    place = f"character {error.position}: " if error.position else ""
    remedy = "between ${ and } stands a path such as input.to or steps.<id>.output.x, or CEL"
    return FieldError(path=at + error.path, reason=place + error.reason, remedy=remedy)


def _mismatch(at: str, what: str, types: set[str], schema: Schema) -> Iterator[FieldError]:
    wanted = types_of(schema)
    if not fits(types, wanted):
        reason = f"{what} is {_or(types)}, and {_or(wanted)} is wanted"
        remedy = f"give {_or(wanted)} here, or mend the schema"
        yield FieldError(path=at, reason=reason, remedy=remedy)


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
