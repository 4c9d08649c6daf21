"""Rendering: Python values with proxies in them become the JSON of a definition document."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Literal, cast

from pydantic import BaseModel, TypeAdapter
from pydantic_core import PydanticSerializationError

from amends_contracts.definition import Retry, format_duration, parse_duration
from amends_contracts.messages import Json
from amends_contracts.plan.origins import PlanError
from amends_contracts.plan.proxies import Expr, Proxy, expr_of, holds_proxy, segments

Span = timedelta | str
"""`"30s"`, `"2h"`, `"1h30m"`, `"PT30S"`, or a timedelta."""

forever = Retry(max_attempts=None, max=timedelta(minutes=5))
"""Attempts without end, backing off up to five minutes."""

_ANY: TypeAdapter[Any] = TypeAdapter(Any)


def render(value: object) -> Json:
    """The value as JSON; proxies as `${ … }`, and a user's own `${` so that it stays one."""
    if isinstance(value, Proxy):
        return template(expr_of(value))
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, BaseModel):
        return render(value.model_dump(mode="json", by_alias=True, exclude_unset=True))
    if isinstance(value, Mapping):
        members = cast(Mapping[object, object], value)
        return {_name(name): render(member) for name, member in members.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [render(item) for item in cast(list[object], value)]
    try:
        return _ANY.dump_python(value, mode="json")
    except PydanticSerializationError:
        raise PlanError(f"a {type(value).__name__} cannot be written as JSON") from None


def template(expr: Expr) -> str:
    """`${ … }`."""
    return f"${{ {expr.text} }}"


def _text(value: str) -> str:
    if not holds_proxy(value):
        return _literal(value)
    parts = list(segments(value))
    if len(parts) == 1:  # wholly an expression, which would keep its type: an f-string is a text
        return f"${{ {parts[0].as_text()} }}"
    written = [f"${{ {part.text} }}" if part.is_expr else _literal(part.text) for part in parts]
    for index, part in enumerate(parts[1:]):
        if part.is_expr and written[index].endswith("$"):  # "$" and "${ … }" would read as "$${"
            written[index] = f'{written[index][:-1]}${{ "$" }}'
    return "".join(written)


def _literal(text: str) -> str:
    """A user's own `${`, so that it stays one."""
    return text.replace("${", "$${")


def _name(name: object) -> str:
    if isinstance(name, str) and not holds_proxy(name):
        return name
    raise PlanError(f"{name!r} cannot name a member of an object", "names are literal texts")


def span(value: Span) -> str:
    """The duration in ISO 8601, as documents have it."""
    if isinstance(value, timedelta):
        if value < timedelta(0):
            raise PlanError(f"{value} is a negative duration")
        return format_duration(value)
    text = value.strip()
    iso = text.upper() if text[:1] in "Pp" else _iso(text)
    try:
        return format_duration(parse_duration(iso))
    except ValueError:
        raise PlanError(
            f"{value!r} is no duration", 'write "30s", "5m", "2h", "1d", "1h30m" or a timedelta'
        ) from None


def _iso(text: str) -> str:
    """`1d2h30m` -> `P1DT2H30M`; nonsense stays nonsense."""
    compact = text.upper().replace(" ", "")
    for unit in ("W", "D"):
        if unit in compact:
            days, _, clock = compact.rpartition(unit)
            return f"P{days}{unit}T{clock}" if clock else f"P{days}{unit}"
    return f"PT{compact}"


def retry(value: int | Retry | None) -> Json:
    """`retry=3` means at most three attempts."""
    if value is None:
        return None
    policy = value if isinstance(value, Retry) else Retry(max_attempts=_attempts(value))
    return policy.model_dump(mode="json", by_alias=True, exclude_defaults=True) or None


def _attempts(value: int) -> int:
    if isinstance(value, bool) or value < 1:
        raise PlanError(f"retry={value!r} is no number of attempts", "1 is the first attempt alone")
    return value


def given(**fields: Json) -> dict[str, Json]:
    """Only the fields that are set; a trailing underscore is not part of the name."""
    return {name.rstrip("_"): value for name, value in fields.items() if value is not None}


OnFailure = Literal["compensate", "ignore"]
