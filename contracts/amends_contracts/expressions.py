"""Syntax of `${ … }` in definition documents: templates, the expressions in them, what they name.

A string that is wholly `${ … }` is an expression and keeps its type; inside a longer string it is
interpolated; `$${` stands for a literal `${`; all other JSON is literal. Expressions are CEL. This
file finds where they begin and end, tells plain paths (`steps.flight.output.price`, which need no
engine) from the rest, and lists what an expression refers to. It evaluates nothing.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast

EXPRESSION_CHARS_MAX: Final = 2_000
TEMPLATE_DEPTH_MAX: Final = 32
TEMPLATE_EXPRESSIONS_MAX: Final = 500
ROOTS: Final = frozenset({"input", "steps", "saga", "item", "index", "turn", "action", "failure"})
"""Names that expressions can refer to; which of them are there depends on the place."""

Reference: TypeAlias = tuple[str | int, ...]
"""What an expression names: `("steps", "flight", "output", "price")`, `("input", "legs", 0)`."""


class ExpressionSyntaxError(ValueError):
    """An expression cannot be read; `position` counts characters in its string, from 0."""

    def __init__(self, reason: str, position: int = 0, path: str = "") -> None:
        self.reason = reason
        self.position = position
        self.path = path
        """JSON pointer of the string inside the template that was parsed."""
        super().__init__(f"{path or '(value)'}, character {position}: {reason}")


@dataclass(frozen=True, slots=True)
class Literal:
    """A JSON value without expressions."""

    value: Any


@dataclass(frozen=True, slots=True)
class Expr:
    """One expression."""

    text: str
    """CEL source, with step ids that hold a hyphen already quoted."""
    path: Reference | None
    """The same as a plain path, if it is one."""
    references: tuple[Reference, ...]


@dataclass(frozen=True, slots=True)
class Text:
    """A string with expressions inside."""

    parts: tuple[str | Expr, ...]


@dataclass(frozen=True, slots=True)
class Record:
    """An object some of whose values hold expressions."""

    items: tuple[tuple[str, "Template"], ...]


@dataclass(frozen=True, slots=True)
class Items:
    """An array some of whose members hold expressions."""

    items: tuple["Template", ...]


Template: TypeAlias = Literal | Expr | Text | Record | Items


def parse_template(value: Any) -> Template:
    """The template of a JSON value; ExpressionSyntaxError says where it cannot be read."""
    template = _parse(value, "", 0)
    if sum(1 for _ in expressions_of(template)) > TEMPLATE_EXPRESSIONS_MAX:
        raise ExpressionSyntaxError(f"more than {TEMPLATE_EXPRESSIONS_MAX} expressions")
    return template


def parse_expression(value: str) -> Expr:
    """A string that must be wholly `${ … }`, as conditions are."""
    template = _parse(value, "", 0)
    if not isinstance(template, Expr):
        raise ExpressionSyntaxError("must be one expression, such as ${ input.total > 10 }")
    return template


def parse_source(source: str, position: int = 0, path: str = "") -> Expr:
    """The expression between the braces."""
    source = source.strip()
    if not source:
        raise ExpressionSyntaxError("an empty expression", position, path)
    if len(source) > EXPRESSION_CHARS_MAX:
        reason = f"an expression of {len(source)} characters (at most {EXPRESSION_CHARS_MAX})"
        raise ExpressionSyntaxError(reason, position, path)
    plain = _plain_path(source)
    if plain is not None:
        return Expr(source, plain, (plain,))
    text = _quote_step_ids(source)
    return Expr(text, None, tuple(dict.fromkeys(_references(text))))


def expressions_of(template: Template) -> Iterator[Expr]:
    """Every expression of a template, from left to right."""
    match template:
        case Literal():
            return
        case Expr():
            yield template
        case Text(parts):
            yield from (part for part in parts if isinstance(part, Expr))
        case Record(pairs):
            for _, item in pairs:
                yield from expressions_of(item)
        case Items(items):
            for item in items:
                yield from expressions_of(item)


def references_of(template: Template) -> tuple[Reference, ...]:
    """What a template refers to, each once, in the order of appearance."""
    found = (r for expression in expressions_of(template) for r in expression.references)
    return tuple(dict.fromkeys(found))


def show_reference(reference: Reference) -> str:
    """`steps.flight.output.legs[0]`."""
    first, *rest = reference
    return str(first) + "".join(f"[{s}]" if isinstance(s, int) else f".{s}" for s in rest)


# --- strings -----------------------------------------------------------------------------------


def _parse(value: Any, path: str, depth: int) -> Template:
    if depth > TEMPLATE_DEPTH_MAX:
        raise ExpressionSyntaxError(f"nested deeper than {TEMPLATE_DEPTH_MAX} levels", 0, path)
    if isinstance(value, str):
        return _parse_string(value, path)
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value)
        pairs = tuple(
            (name, _parse(item, f"{path}/{_pointer(name)}", depth + 1))
            for name, item in members.items()
        )
        if all(isinstance(item, Literal) for _, item in pairs):
            return Literal({name: item.value for name, item in pairs if isinstance(item, Literal)})
        return Record(pairs)
    if isinstance(value, list | tuple):
        sequence = cast("list[Any] | tuple[Any, ...]", value)
        items = tuple(_parse(item, f"{path}/{n}", depth + 1) for n, item in enumerate(sequence))
        if all(isinstance(item, Literal) for item in items):
            return Literal([item.value for item in items if isinstance(item, Literal)])
        return Items(items)
    return Literal(value)


def _pointer(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def _parse_string(text: str, path: str) -> Template:
    parts: list[str | Expr] = []
    literal: list[str] = []
    at = 0
    while (start := text.find("${", at)) >= 0:
        if start > 0 and text[start - 1] == "$":  # `$${` is a literal `${`
            literal.append(text[at : start - 1] + "${")
            at = start + 2
            continue
        end = _closing_brace(text, start + 2, path)
        literal.append(text[at:start])
        if joined := "".join(literal):
            parts.append(joined)
        literal.clear()
        parts.append(parse_source(text[start + 2 : end], start, path))
        at = end + 1
    literal.append(text[at:])
    if joined := "".join(literal):
        parts.append(joined)
    if all(isinstance(part, str) for part in parts):
        return Literal("".join(part for part in parts if isinstance(part, str)))
    if len(parts) == 1 and isinstance(parts[0], Expr):
        return parts[0]
    return Text(tuple(parts))


_STRING = re.compile(
    r"""[rR]('''.*?'''|\"\"\".*?\"\"\"|'[^'\n]*'|"[^"\n]*")"""
    r"""|'''(?:\\.|.)*?'''|\"\"\"(?:\\.|.)*?\"\"\"|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*\"""",
    re.DOTALL,
)


def _closing_brace(text: str, at: int, path: str) -> int:
    opened = at
    depth = 0
    while at < len(text):
        char = text[at]
        if char in "'\"" or (char in "rR" and text[at + 1 : at + 2] in ("'", '"')):
            string = _STRING.match(text, at)
            if string is None:
                raise ExpressionSyntaxError("a string that does not end", at, path)
            at = string.end()
            continue
        if char == "{":
            depth += 1
        elif char == "}":
            if depth == 0:
                return at
            depth -= 1
        at += 1
    raise ExpressionSyntaxError("`${` without its closing `}`", opened - 2, path)


# --- paths and references ------------------------------------------------------------------------

_IDENT = r"[A-Za-z_][A-Za-z0-9_]*"
_STEP_ID = r"[a-z][a-z0-9_-]*"
_SEGMENT = re.compile(
    rf"""\.(?P<name>{_IDENT})\b(?!\s*\()|\[(?P<index>\d{{1,9}})\]|\[(?P<quoted>"[^"\\]*"|'[^'\\]*')\]"""
)
_ROOT = re.compile(rf"(?<![\w.]){_IDENT}\b(?!\s*\()")
_HYPHENATED = re.compile(rf"(?<![\w.])steps\.(?P<id>{_STEP_ID})(?=\.output\b)")
_RESERVED = frozenset({"true", "false", "null", "in"})


def _plain_path(source: str) -> Reference | None:
    source = _HYPHENATED.sub(lambda m: f'steps["{m["id"]}"]', source)
    root = re.match(_IDENT, source)
    if root is None or root[0] in _RESERVED:
        return None
    segments, end = _follow(source, root.end())
    return (root[0], *segments) if end == len(source) else None


def _follow(source: str, at: int) -> tuple[list[str | int], int]:
    segments: list[str | int] = []
    while (segment := _SEGMENT.match(source, at)) is not None:
        if segment["name"] is not None:
            segments.append(segment["name"])
        elif segment["index"] is not None:
            segments.append(int(segment["index"]))
        else:
            segments.append(segment["quoted"][1:-1])
        at = segment.end()
    return segments, at


def _outside_strings(source: str) -> Iterator[tuple[bool, str]]:
    """The source in pieces, each with whether it is a string literal."""
    at = 0
    for string in _STRING.finditer(source):
        yield False, source[at : string.start()]
        yield True, string[0]
        at = string.end()
    yield False, source[at:]


def _quote_step_ids(source: str) -> str:
    def quote(match: re.Match[str]) -> str:
        return f"steps[{json.dumps(match['id'])}]" if "-" in match["id"] else match[0]

    pieces = _outside_strings(source)
    return "".join(p if is_string else _HYPHENATED.sub(quote, p) for is_string, p in pieces)


def _references(text: str) -> Iterator[Reference]:
    strings = [m.span() for m in _STRING.finditer(text)]
    for root in _ROOT.finditer(text):
        if root[0] not in ROOTS or any(a <= root.start() < b for a, b in strings):
            continue
        segments, _ = _follow(text, root.end())
        yield (root[0], *segments)
