"""The expression engine: CEL by Google's C++ implementation, behind three functions.

Facts about it that shape this file: errors come back as a value of type ERROR or as RuntimeError
(the iteration budget); undeclared names are compile errors; nesting is bounded by its parser (32);
integers are 64 bits wide and never mix with doubles in arithmetic. JSON has one kind of number
(5 and 5.5 come from the same field), so an expression that fails for such a mixture is evaluated
once more with every number of its bindings as a double.
"""

import datetime as dt
import math
import re
from collections.abc import Mapping
from typing import Any, Final, cast

from cel_expr_python import cel

from amends_contracts.expressions import EXPRESSION_CHARS_MAX, ExpressionSyntaxError
from amends_contracts.messages import Json
from amends_orchestrator.core.expressions import ExpressionError

RESULT_DEPTH_MAX: Final = 64
RESULT_ITEMS_MAX: Final = 100_000
"""Values in a result, counted through all levels."""


class CelExpressions:
    """`core.expressions.Expressions` by CEL. Compiled expressions may be shared and kept."""

    def __init__(self) -> None:
        self._environments: dict[frozenset[str], Any] = {}

    def compile(self, text: str, names: frozenset[str]) -> Any:
        """A compiled expression; ExpressionSyntaxError with the position in `text`."""
        if len(text) > EXPRESSION_CHARS_MAX + 200:  # quoting step ids makes it a little longer
            raise ExpressionSyntaxError(f"an expression of {len(text)} characters")
        try:
            return self._environment(names).compile(text)
        except RuntimeError as error:
            raise _syntax_error(str(error)) from None

    def check(self, text: str, names: frozenset[str]) -> str | None:
        """Why the expression cannot be compiled, or None."""
        try:
            self.compile(text, names)
        except ExpressionSyntaxError as error:
            return error.reason
        return None

    def evaluate(self, compiled: Any, bindings: Mapping[str, Json]) -> Json | ExpressionError:
        """The value as plain JSON. Never raises for what an expression does."""
        value = _evaluate(compiled, bindings)
        if isinstance(value, ExpressionError) and _MIXED.search(value.text):
            again = _evaluate(compiled, _doubles(bindings))
            if isinstance(again, ExpressionError):
                hint = "write numbers as 1.0, or use int(…) and double(…)"
                return ExpressionError(f"{value.text}; {hint}")
            return again
        return value

    def _environment(self, names: frozenset[str]) -> Any:
        environment = self._environments.get(names)
        if environment is None:
            variables = dict.fromkeys(sorted(names), cel.Type.DYN)
            environment = cel.NewEnv(variables=variables)
            self._environments[names] = environment
        return environment


def _evaluate(compiled: Any, bindings: Mapping[str, Json]) -> Json | ExpressionError:
    try:
        result = compiled.eval(data=bindings)
    except RuntimeError as error:
        return ExpressionError(_reason(str(error)))
    if result.type() == cel.Type.ERROR:
        return ExpressionError(_reason(str(result.value())))
    try:
        return _to_json(result.plain_value(), RESULT_DEPTH_MAX, [RESULT_ITEMS_MAX])
    except ValueError as error:
        return ExpressionError(str(error))


def _doubles(value: Json) -> Json:
    match value:
        case bool():
            return value
        case int():
            return float(value)
        case list():
            return [_doubles(item) for item in cast("list[Json]", value)]
        case dict():
            members = cast("dict[str, Json]", value)
            return {name: _doubles(item) for name, item in members.items()}
        case _:
            return value


_MIXED = re.compile(r"\((int64, double|double, int64)\)")
_PLACE = re.compile(r"ERROR: <input>:(?P<line>-?\d+):(?P<column>-?\d+): (?P<reason>.*)")
_STATUS = re.compile(r"^[A-Z_]+: ")
_KNOWN: Final = (
    (re.compile(r"Key not found in map : \"?(?P<x>[^\"]*)\"?"), "there is no member {x!r}"),
    (re.compile(r"No matching overloads found : (?P<x>.*)"), "operands do not fit: {x}"),
    (re.compile(r"Index error: index=(?P<x>\S+)"), "there is no item {x}"),
    (re.compile(r"Applying SELECT to (?P<x>non-message) type"), "a member of what is no object"),
    (re.compile(r"(?P<x>Iteration budget) exceeded"), "it takes too many iterations"),
    (re.compile(r"Integer value '(?P<x>\d+)' out of range"), "{x} does not fit into 64 bits"),
)


def _reason(text: str) -> str:
    for pattern, message in _KNOWN:
        if found := pattern.search(text):
            return message.format(x=found["x"])
    return _STATUS.sub("", text)[:300]


def _syntax_error(text: str) -> ExpressionSyntaxError:
    place = _PLACE.search(text)
    if place is None:
        return ExpressionSyntaxError(_reason(text.removesuffix(" [CANCELLED]")))
    reason = place["reason"].replace(" (in container '')", "")
    return ExpressionSyntaxError(reason, max(int(place["column"]) - 1, 0))


def _to_json(value: Any, depth: int, budget: list[int]) -> Json:
    budget[0] -= 1
    if depth == 0 or budget[0] < 0:
        raise ValueError("the result is too large or nested too deeply")
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            if not math.isfinite(value):
                raise ValueError("the result is not a finite number")
            return value
        case list():
            return [_to_json(item, depth - 1, budget) for item in cast("list[Any]", value)]
        case dict():
            record: dict[str, Json] = {}
            for key, item in cast("dict[Any, Any]", value).items():
                if type(key) is not str:
                    raise ValueError("an object's member names must be strings")
                record[key] = _to_json(item, depth - 1, budget)
            return record
        case dt.datetime():
            return value.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
        case dt.timedelta():
            return f"{value.total_seconds():g}s"
        case _:
            raise ValueError(f"{type(value).__name__} is no JSON value")
