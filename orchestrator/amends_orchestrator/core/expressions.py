"""Evaluation of templates: plain paths by ourselves, everything else through `Expressions`.

A template is evaluated in a `Scope`, which knows the value behind each reference. What is not
there is an `ExpressionError` with a text for people, never an exception: a failing expression is
something that happens to a saga.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

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


@dataclass(frozen=True, slots=True)
class CompiledTemplate:
    """A template with its expressions compiled."""

    template: Template
    compiled: Mapping[str, Any]
    """By source text; plain paths have no entry."""
    engine: Expressions
    references: tuple[Reference, ...]

    def evaluate(self, scope: Scope) -> Json | ExpressionError:
        """The JSON value in this scope."""
        return _evaluate(self, self.template, scope)


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
    return CompiledTemplate(template, compiled, engine, tuple(references))


def _list(names: frozenset[str]) -> str:
    return ", ".join(sorted(names))


def _evaluate(owner: CompiledTemplate, template: Template, scope: Scope) -> Json | ExpressionError:
    match template:
        case Literal(value):
            return value
        case Expr():
            return _expression(owner, template, scope)
        case Text(parts):
            return _text(owner, parts, scope)
        case Record(pairs):
            record: dict[str, Json] = {}
            for key, item in pairs:
                value = _evaluate(owner, item, scope)
                if isinstance(value, ExpressionError):
                    return value
                record[key] = value
            return record
        case Items(items):
            values: list[Json] = []
            for item in items:
                value = _evaluate(owner, item, scope)
                if isinstance(value, ExpressionError):
                    return value
                values.append(value)
            return values


def _text(
    owner: CompiledTemplate, parts: tuple[str | Expr, ...], scope: Scope
) -> str | ExpressionError:
    texts: list[str] = []
    for part in parts:
        if isinstance(part, str):
            texts.append(part)
            continue
        value = _expression(owner, part, scope)
        if isinstance(value, ExpressionError):
            return value
        texts.append(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    return "".join(texts)


def _expression(owner: CompiledTemplate, expression: Expr, scope: Scope) -> Json | ExpressionError:
    if expression.path is not None:
        return look_up(expression.path, scope)
    bindings = _bindings(expression.references, scope)
    if isinstance(bindings, ExpressionError):
        return bindings
    value = owner.engine.evaluate(owner.compiled[expression.text], bindings)
    if isinstance(value, ExpressionError):
        return ExpressionError(f"{expression.text}: {value.text}")
    return value


def look_up(reference: Reference, scope: Scope) -> Json | ExpressionError:
    """The value of a plain path."""
    value, known = scope.root(reference)
    if isinstance(value, ExpressionError):
        return value
    for n, segment in enumerate(reference[known:], start=known):
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
