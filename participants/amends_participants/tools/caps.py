"""Caps: a condition on a tool's input, in CEL, that must hold before the tool is called.

What cannot be evaluated does not hold: a cap refuses when in doubt.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, cast

from cel_expr_python import cel

from amends_contracts.messages import Json


class BadCap(ValueError):
    """A cap that is no condition on the tool's input."""


class Cap:
    """`usd <= 2000 && currency == "EUR"`; all numbers are doubles."""

    def __init__(self, text: str, names: frozenset[str]) -> None:
        self.text = text
        environment: Any = cel.NewEnv(variables=dict.fromkeys(sorted(names), cel.Type.DYN))
        try:
            self._compiled: Any = environment.compile(text)
        except RuntimeError as error:
            known = ", ".join(sorted(names))
            reason = str(error).partition("\n")[0]
            raise BadCap(f"cap {text!r}: {reason}; known are: {known}") from None

    def holds(self, given: Mapping[str, Any]) -> bool:
        """Whether a call with this input is within the cap."""
        try:
            result = self._compiled.eval(data=_doubles(dict(given)))
        except RuntimeError:
            return False
        return result.type() == cel.Type.BOOL and result.plain_value() is True


def _doubles(value: Any) -> Json:
    match value:
        case bool() | str() | None:
            return value
        case int() | float() | Decimal():
            return float(value)
        case list():
            return [_doubles(item) for item in cast("list[Any]", value)]
        case dict():
            return {name: _doubles(item) for name, item in cast("dict[str, Any]", value).items()}
        case _:
            return str(value)
