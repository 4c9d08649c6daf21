"""The recording proxy: stands for a value that will exist when the saga runs.

`flight.usd + hotel.usd` becomes `steps.flight.output.usd + steps.hotel.output.usd`. Attributes are
checked against the model; what cannot be said in an expression raises a PlanError with advice.
Inside an f-string a proxy leaves a marker, which rendering turns into `${ … }`.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Final, NoReturn, cast

from amends_contracts.plan import types
from amends_contracts.plan.origins import PlanError, did_you_mean
from amends_contracts.plan.types import Type, kind

_OPEN, _CLOSE = "\ue0a0", "\ue0a1"
_MARKER: Final = re.compile(f"{_OPEN}([^{_CLOSE}]*){_CLOSE}")

_OR, _AND, _COMPARE, _SUM, _PRODUCT, _UNARY, _ATOM = range(1, 8)
"""How tightly operators bind in CEL."""
_LEVELS: Final = {"||": _OR, "&&": _AND, "+": _SUM, "-": _SUM, "*": _PRODUCT, "/": _PRODUCT}


@dataclass(frozen=True, slots=True)
class Expr:
    """An expression's text and what is known of it."""

    text: str
    type: Type = None
    level: int = _ATOM
    plan: object = None
    """The plan it belongs to; None for literals."""
    loop: "Loop | None" = None
    """The innermost loop whose item, index, turn or inner step it names."""
    root: str = ""
    """Of a step's output or a part of it: the text that names the whole output."""


@dataclass(frozen=True, slots=True, eq=False)
class Loop:
    """An open or closed `each` or `repeat`; compared by identity."""

    kind: str
    id: str
    parent: "Loop | None"

    def within(self, outer: "Loop") -> bool:
        """Whether it is `outer`, or lies inside it."""
        at: Loop | None = self
        while at is not None and at is not outer:
            at = at.parent
        return at is outer


class Proxy:
    """See the module. Names of its own start with an underscore, as no model's field does."""

    __slots__ = ("_expr",)
    __hash__ = object.__hash__

    def __init__(self, expr: Expr) -> None:
        object.__setattr__(self, "_expr", expr)

    def __getattr__(self, name: str) -> "Proxy":
        if name.startswith("_"):
            raise AttributeError(name)
        expr = expr_of(self)
        members = types.members_of(expr.type)
        if members is None:
            if kind(expr.type) not in (None, "object"):
                raise PlanError(
                    f"{expr.text} is of type {types.shown(expr.type)}, which has no fields",
                    f"{name!r} cannot be asked of a value that exists only when the saga runs",
                )
            return _child(
                expr, types.member_text(_at(expr, _ATOM), name), types.value_of(expr.type)
            )
        if name not in members:
            owner = types.shown(expr.type)
            raise PlanError(f"{owner} has no field {name!r}", did_you_mean(name, members))
        written, annotation = members[name]
        return _child(expr, types.member_text(_at(expr, _ATOM), written), annotation)

    def __getitem__(self, item: Any) -> "Proxy":
        expr = expr_of(self)
        if kind(expr.type) == "object" and isinstance(item, str):
            members = types.members_of(expr.type)
            if members is not None:
                return getattr(self, item)
            return _child(
                expr, types.member_text(_at(expr, _ATOM), item), types.value_of(expr.type)
            )
        if isinstance(item, slice):
            _refuse(self, "slices", "give the whole list to a command")
        index = operand(item)
        found = types.item_of(expr.type) or types.value_of(expr.type)
        text = f"{_at(expr, _ATOM)}[{index.text}]"
        return Proxy(replace(join(expr, index), text=text, type=found, root=expr.root))

    def __format__(self, spec: str) -> str:
        if spec:
            _refuse(self, f"the format {spec!r}", "send the value, let its reader format it")
        return str(self)

    def __str__(self) -> str:
        expr = expr_of(self)
        is_text = kind(expr.type) == "string"
        return f"{_OPEN}{int(is_text)}{expr.text.encode().hex()}{_CLOSE}"

    def __repr__(self) -> str:
        return f"<{expr_of(self).text}, known when the saga runs>"

    def __eq__(self, other: object) -> "Proxy":  # type: ignore[override]  # an expression, on purpose
        return compare(self, "==", other)

    def __ne__(self, other: object) -> "Proxy":  # type: ignore[override]  # an expression, on purpose
        return compare(self, "!=", other)

    def __lt__(self, other: object) -> "Proxy":
        return compare(self, "<", other)

    def __le__(self, other: object) -> "Proxy":
        return compare(self, "<=", other)

    def __gt__(self, other: object) -> "Proxy":
        return compare(self, ">", other)

    def __ge__(self, other: object) -> "Proxy":
        return compare(self, ">=", other)

    def __add__(self, other: object) -> "Proxy":
        return arithmetic(self, "+", other)

    def __radd__(self, other: object) -> "Proxy":
        return arithmetic(other, "+", self)

    def __sub__(self, other: object) -> "Proxy":
        return arithmetic(self, "-", other)

    def __rsub__(self, other: object) -> "Proxy":
        return arithmetic(other, "-", self)

    def __mul__(self, other: object) -> "Proxy":
        return arithmetic(self, "*", other)

    def __rmul__(self, other: object) -> "Proxy":
        return arithmetic(other, "*", self)

    def __truediv__(self, other: object) -> "Proxy":
        return arithmetic(self, "/", other)

    def __rtruediv__(self, other: object) -> "Proxy":
        return arithmetic(other, "/", self)

    def __neg__(self) -> "Proxy":
        expr = expr_of(self)
        return Proxy(_of(expr, f"-{_at(expr, _UNARY)}", expr.type, _UNARY))

    def __and__(self, other: object) -> "Proxy":
        return logic("&&", self, other)

    def __rand__(self, other: object) -> "Proxy":
        return logic("&&", other, self)

    def __or__(self, other: object) -> "Proxy":
        return logic("||", self, other)

    def __ror__(self, other: object) -> "Proxy":
        return logic("||", other, self)

    def __bool__(self) -> NoReturn:  # noqa: PLE0304  # it refuses
        _refuse(
            self,
            "if, and, or, not and chained comparisons",
            "use `with plan.choice() as c: with c.when(…):`, or `when=` on a step;"
            " combine conditions with plan.all, plan.any and plan.negated",
        )

    def __len__(self) -> NoReturn:  # noqa: PLE0303  # it refuses
        _refuse(self, "len()", "use plan.size(…)")

    def __contains__(self, item: object) -> NoReturn:
        _refuse(self, "`in`", "use plan.contains(values, item)")

    def __iter__(self) -> Iterator[Any]:
        _refuse(self, "loops and unpacking", "use `with plan.each(…) as item:`")

    def __call__(self, *_: Any, **__: Any) -> NoReturn:
        _refuse(self, "calls of methods", "use plan.cel('…') for what an expression can do")

    def __index__(self) -> NoReturn:  # noqa: PLE0305  # it refuses
        _refuse(self, "range() and the like", "use plan.each or plan.repeat")

    def __int__(self) -> NoReturn:
        _refuse(self, "int()", "use plan.cel('int(…)', int)")

    def __float__(self) -> NoReturn:
        _refuse(self, "float()", "use plan.cel('double(…)', float)")

    def __round__(self, ndigits: int | None = None) -> NoReturn:
        _refuse(self, "round()", "let the command's participant round")

    def __abs__(self) -> NoReturn:
        _refuse(self, "abs()", "let the command's participant do it")

    def __floordiv__(self, other: object) -> NoReturn:
        _refuse(self, "//", "use / and let the command's participant round")

    def __mod__(self, other: object) -> NoReturn:
        _refuse(self, "%", "use plan.cel('a % b', int)")

    def __pow__(self, other: object) -> NoReturn:
        _refuse(self, "**", "let the command's participant compute it")

    def __setattr__(self, name: str, value: object) -> NoReturn:
        _refuse(self, "assigning to a field", "build the new value in the command that needs it")

    def __enter__(self) -> NoReturn:
        _refuse(self, "with", "only the plan's own blocks are entered")

    def __exit__(self, *_: object) -> None: ...


def _refuse(proxy: Proxy, what: str, advice: str) -> NoReturn:
    raise PlanError(
        f"{what} cannot be recorded: {expr_of(proxy).text} has no value until the saga runs",
        advice,
    )


def expr_of(proxy: Proxy) -> Expr:
    """What the proxy stands for."""
    return object.__getattribute__(proxy, "_expr")


def is_proxy(value: object) -> bool:
    """Whether it is a proxy; without asking the proxy anything."""
    return type(value) is Proxy


def holds_proxy(value: object) -> bool:
    """Whether a proxy or a marker stands anywhere in it."""
    if type(value) is Proxy:
        return True
    if isinstance(value, str):
        return _OPEN in value
    if isinstance(value, dict):
        return any(map(holds_proxy, cast(dict[object, object], value).values()))
    if isinstance(value, list | tuple | set | frozenset):
        return any(map(holds_proxy, cast(Iterable[object], value)))
    return False


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of an f-string's result: literal text, or an expression."""

    text: str
    is_expr: bool = False
    is_text: bool = True

    def as_text(self) -> str:
        """In CEL, as a text."""
        if not self.is_expr:
            return json.dumps(self.text, ensure_ascii=False)
        return self.text if self.is_text else f"string({self.text})"


def segments(text: str) -> Iterator[Segment]:
    """The parts of an f-string's result."""
    at = 0
    for found in _MARKER.finditer(text):
        if found.start() > at:
            yield Segment(text[at : found.start()])
        marked = found.group(1)
        yield Segment(bytes.fromhex(marked[1:]).decode(), is_expr=True, is_text=marked[0] == "1")
        at = found.end()
    if at < len(text):
        yield Segment(text[at:])


def operand(value: object) -> Expr:
    """A proxy's expression, or the literal for a plain value."""
    if isinstance(value, Proxy):
        return expr_of(value)
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, str) and _OPEN in value:
        parts = [segment.as_text() for segment in segments(value)]
        return Expr(" + ".join(parts), str, _SUM)
    if value is None or isinstance(value, bool | int | float | str):
        return Expr(json.dumps(value, ensure_ascii=False, allow_nan=False), _type_of(value))
    if isinstance(value, list | tuple):
        items = [operand(item) for item in cast(Iterable[object], value)]
        return Expr(f"[{', '.join(item.text for item in items)}]", list)
    raise PlanError(
        f"a {type(value).__name__} cannot stand in an expression",
        "numbers, texts, booleans, None and lists of them can",
    )


def compare(left: object, operator: str, right: object) -> Proxy:
    """`==`, `!=`, `<` …"""
    a, b = operand(left), operand(right)
    kinds = (kind(a.type), kind(b.type))
    ordered = operator not in ("==", "!=")
    if ordered and "text-like" in kinds:
        of = a.type if kinds[0] == "text-like" else b.type
        raise PlanError(
            f"{types.shown(of)} travels as text, which does not sort as its values do",
            "compare in plan.cel('timestamp(…) < timestamp(…)', bool), or send a number",
        )
    if None not in kinds and not types.fits(a.type, b.type) and not types.fits(b.type, a.type):
        raise PlanError(
            f"{a.text} is {types.shown(a.type)} and {b.text} is {types.shown(b.type)}:"
            f" {operator} never holds between them"
        )
    return _binary(*_alike(a, b), operator, _COMPARE, bool)


def arithmetic(left: object, operator: str, right: object) -> Proxy:
    """`+ - * /`; `+` also joins texts and lists."""
    a, b = operand(left), operand(right)
    numbers = {"integer", "number"}
    known = {k for k in (kind(a.type), kind(b.type)) if k is not None}
    joins = operator == "+" and len(known) == 1 and known <= {"string", "array"}
    if not known <= numbers and not joins:
        names = f"{types.shown(a.type)} {operator} {types.shown(b.type)}"
        advice = "an f-string joins texts and anything"
        if "text-like" in known:
            advice = "it travels as text; send numbers, such as integer cents, to compute with"
        raise PlanError(f"{names} cannot be computed in an expression", advice)
    result: Type = a.type if joins else None
    if known and known <= numbers:
        result = float if "number" in known or operator == "/" else int
    if operator == "/":
        a, b = (_as_double(side) for side in (a, b))
    else:
        a, b = _alike(a, b)
    return _binary(a, b, operator, _LEVELS[operator], result)


def logic(operator: str, *conditions: object) -> Proxy:
    """`&&` or `||` of any number of conditions."""
    exprs = [operand(condition) for condition in conditions]
    for expr in exprs:
        if kind(expr.type) not in (None, "boolean"):
            raise PlanError(f"{expr.text} is {types.shown(expr.type)}, not a condition")
    if not exprs:
        raise PlanError("there is no condition", "name at least one")
    level = _LEVELS[operator]
    whole = exprs[0]
    for expr in exprs[1:]:
        whole = expr_of(_binary(whole, expr, operator, level, bool))
    return Proxy(whole)


def call(function: str, argument: object, result: Type) -> Proxy:
    """A function of CEL: `size(input.legs)`."""
    of = operand(argument)
    return Proxy(_of(of, f"{function}({of.text})", result, _ATOM))


def negated(condition: object) -> Proxy:
    """`!condition`."""
    of = operand(condition)
    return Proxy(_of(of, f"!{_at(of, _UNARY)}", bool, _UNARY))


def contains(values: object, item: object) -> Proxy:
    """`item in values`, or for a text whether it contains another."""
    whole, part = operand(values), operand(item)
    if kind(whole.type) == "string":
        text = f"{_at(whole, _ATOM)}.contains({part.text})"
        return Proxy(_of(join(whole, part), text, bool, _ATOM))
    return _binary(part, whole, "in", _COMPARE, bool)


def join(a: Expr, b: Expr) -> Expr:
    """Plan and innermost loop of an expression made of two; refuses two plans, or two loops."""
    if a.plan is not None and b.plan is not None and a.plan is not b.plan:
        raise PlanError(f"{a.text} and {b.text} belong to two different plans")
    outer, inner = a.loop, b.loop
    if outer is not None and inner is not None and not inner.within(outer):
        outer, inner = inner, outer
        if not inner.within(outer):
            raise PlanError(
                f"{a.text} and {b.text} belong to two loops, neither within the other",
                "collect what the first one gives with plan.collect, after it",
            )
    return Expr("", None, _ATOM, a.plan or b.plan, inner or outer)


def _binary(a: Expr, b: Expr, operator: str, level: int, result: Type) -> Proxy:
    left = _at(a, level + 1 if level == _COMPARE else level)
    right = _at(b, level if level in (_AND, _OR) else level + 1)
    return Proxy(_of(join(a, b), f"{left} {operator} {right}", result, level))


def _at(expr: Expr, level: int) -> str:
    """Its text, in parentheses where it binds less tightly than asked."""
    return expr.text if expr.level >= level else f"({expr.text})"


def _of(whole: Expr, text: str, annotation: Type, level: int) -> Expr:
    return Expr(text, annotation, level, whole.plan, whole.loop)


def _child(of: Expr, text: str, annotation: Type) -> Proxy:
    return Proxy(Expr(text, annotation, _ATOM, of.plan, of.loop, of.root))


def _alike(a: Expr, b: Expr) -> tuple[Expr, Expr]:
    """A literal integer beside a float is written as one: CEL does not mix the two."""
    if kind(a.type) == "number" and kind(b.type) == "integer":
        return a, _literal_double(b)
    if kind(b.type) == "number" and kind(a.type) == "integer":
        return _literal_double(a), b
    return a, b


def _literal_double(expr: Expr) -> Expr:
    is_literal = expr.text.removeprefix("-").isdecimal()
    return replace(expr, text=f"{expr.text}.0", type=float) if is_literal else expr


def _as_double(expr: Expr) -> Expr:
    if expr.text.removeprefix("-").isdecimal() or kind(expr.type) == "number":
        return _literal_double(expr)
    return _of(expr, f"double({expr.text})", float, _ATOM)


def _type_of(value: object) -> Type:
    return None if value is None else type(value)
