"""Evaluation of templates: plain paths by ourselves, everything else through `Expressions`.

A template is evaluated in a `Scope`, which knows the value behind each reference. What is not
there is an `ExpressionError` with a text for people, never an exception: a failing expression is
something that happens to a saga.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeAlias, cast

from amends_contracts.expressions import (
    Expr,
    ExpressionSyntaxError,
    Items,
    Literal,
    Record,
    Reference,
    Template,
    Text,
    expressions_of,
    show_reference,
)
from amends_contracts.messages import Json


@dataclass(frozen=True, slots=True)
class ExpressionError:
    """Why an expression has no value."""

    text: str


class Expressions(Protocol):
    """An expression engine of three functions; results are plain JSON values."""

    def compile(self, text: str, names: frozenset[str]) -> Any:
        """A compiled expression; ExpressionSyntaxError, also for a name not in `names`."""
        ...

    def check(self, text: str, names: frozenset[str]) -> str | None:
        """Why the expression cannot be compiled, or None."""
        ...

    def evaluate(self, compiled: Any, bindings: Mapping[str, Json]) -> Json | ExpressionError:
        """The value. Never raises for what an expression does."""
        ...


class PlainPaths:
    """Expressions without an engine: everything but a plain path is refused."""

    def compile(self, text: str, names: frozenset[str]) -> Any:
        """Refuses: plain paths never come here."""
        raise ExpressionSyntaxError(f"only plain paths are understood here, not {text!r}")

    def check(self, text: str, names: frozenset[str]) -> str | None:
        """The refusal of `compile`."""
        return f"only plain paths are understood here, not {text!r}"

    def evaluate(self, compiled: Any, bindings: Mapping[str, Json]) -> Json | ExpressionError:
        """Cannot happen: nothing was compiled."""
        raise AssertionError(compiled)


class Scope(Protocol):
    """What the references of a template mean at the place where it stands."""

    def root(self, reference: Reference) -> tuple[Json | ExpressionError, int]:
        """The value of the longest known prefix of `reference`, and that prefix's length.

        `input` is known as such (1), a step's output as `steps.<id>.output` (3).
        """
        ...

    def lenient(self, reference: Reference) -> bool:
        """Whether members of a null are null: an undo's `action.output` when it is unknown."""
        ...


Evaluate: TypeAlias = Callable[[Scope], Json | ExpressionError]


@dataclass(frozen=True, slots=True)
class CompiledTemplate:
    """A template with its expressions compiled."""

    template: Template
    references: tuple[Reference, ...]
    evaluate: Evaluate
    """The JSON value in a scope."""


def compile_template(
    template: Template, names: frozenset[str], engine: Expressions
) -> CompiledTemplate:
    """Compile every expression of `template` that is not a plain path."""
    compiled: dict[str, Any] = {}
    references: dict[Reference, None] = {}
    for expression in expressions_of(template):
        references.update(dict.fromkeys(expression.references))
        if expression.path is None:
            compiled[expression.text] = engine.compile(expression.text, names)
        elif expression.path[0] not in names:
            reason = f"undeclared reference to {expression.path[0]!r}; known: {_list(names)}"
            raise ExpressionSyntaxError(reason)
    return CompiledTemplate(template, tuple(references), _made(template, compiled, engine))


def _list(names: frozenset[str]) -> str:
    return ", ".join(sorted(names))


def _made(template: Template, compiled: Mapping[str, Any], engine: Expressions) -> Evaluate:
    """A template as one call; `compiled` has its expressions by text, plain paths have no entry."""
    match template:
        case Literal(value):
            return lambda _: value
        case Expr(text, path):
            if path is not None:
                return partial(look_up, path)
            return partial(_evaluated, template, compiled[text], engine)
        case Text(parts):
            made = [p if isinstance(p, str) else _made(p, compiled, engine) for p in parts]
            return partial(_text, made)
        case Record(pairs):
            return partial(_record, [(key, _made(v, compiled, engine)) for key, v in pairs])
        case Items(items):
            return partial(_items, [_made(item, compiled, engine) for item in items])


def _record(members: list[tuple[str, Evaluate]], scope: Scope) -> Json | ExpressionError:
    record: dict[str, Json] = {}
    for key, evaluate in members:
        value = evaluate(scope)
        if isinstance(value, ExpressionError):
            return value
        record[key] = value
    return record


def _items(items: list[Evaluate], scope: Scope) -> Json | ExpressionError:
    values: list[Json] = []
    for evaluate in items:
        value = evaluate(scope)
        if isinstance(value, ExpressionError):
            return value
        values.append(value)
    return values


def _text(parts: list[str | Evaluate], scope: Scope) -> str | ExpressionError:
    texts: list[str] = []
    for part in parts:
        if isinstance(part, str):
            texts.append(part)
            continue
        value = part(scope)
        if isinstance(value, ExpressionError):
            return value
        texts.append(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    return "".join(texts)


def _evaluated(
    expression: Expr, compiled: Any, engine: Expressions, scope: Scope
) -> Json | ExpressionError:
    bindings = _bindings(expression.references, scope)
    if isinstance(bindings, ExpressionError):
        return bindings
    value = engine.evaluate(compiled, bindings)
    if isinstance(value, ExpressionError):
        return ExpressionError(f"{expression.text}: {value.text}")
    return value


def look_up(reference: Reference, scope: Scope) -> Json | ExpressionError:
    """The value of a plain path."""
    value, known = scope.root(reference)
    if isinstance(value, ExpressionError):
        return value
    for n in range(known, len(reference)):
        segment = reference[n]
        if value is None and scope.lenient(reference):
            return None
        member = _member(value, segment)
        if isinstance(member, ExpressionError):
            what = "no member" if isinstance(segment, str) else "no item"
            holder = show_reference(reference[:n])
            return ExpressionError(f"{show_reference(reference)}: {holder} has {what} {segment!r}")
        value = member
    return value


_NOTHING = ExpressionError("nothing")


def _member(value: Json, segment: str | int) -> Json | ExpressionError:
    if isinstance(value, dict) and isinstance(segment, str):
        return cast("dict[str, Json]", value).get(segment, _NOTHING)
    if isinstance(value, list) and isinstance(segment, int):
        items = cast("list[Json]", value)
        return items[segment] if segment < len(items) else _NOTHING
    return _NOTHING


def _bindings(references: tuple[Reference, ...], scope: Scope) -> dict[str, Json] | ExpressionError:
    """Only what is referred to, cut at the first member: large values are not converted."""
    bindings: dict[str, Json] = {}
    for reference in references:
        value, known = scope.root(reference)
        if isinstance(value, ExpressionError):
            return value
        holder: dict[str, Json] = bindings
        for segment in reference[: known - 1]:
            holder = holder.setdefault(str(segment), {})
        name = str(reference[known - 1])
        member = reference[known] if len(reference) > known else None
        if not isinstance(value, dict) or not isinstance(member, str):
            holder[name] = value
            continue
        cut = holder.setdefault(name, {})
        if isinstance(cut, dict) and cut is not value and member in value:
            cut[member] = value[member]
    return bindings
