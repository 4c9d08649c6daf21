"""A command whose values are not all known when the plan is recorded.

`ReserveFlight(to=trip.to)` cannot be an instance: `trip.to` is a proxy. What can be checked is
checked here: names, what is missing, literal values by the model, and kinds of proxies.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from operator import getitem
from typing import TYPE_CHECKING, Annotated, Any, cast

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from amends_contracts.messages import Json
from amends_contracts.plan import types
from amends_contracts.plan.origins import PlanError, did_you_mean
from amends_contracts.plan.proxies import expr_of, holds_proxy, is_proxy
from amends_contracts.plan.values import render

if TYPE_CHECKING:
    from amends_contracts.command import Command


@dataclass(frozen=True, slots=True)
class Recorded:
    """A command class with values, some of them proxies; `input` is rendered."""

    model: "type[Command[Any]]"
    values: Mapping[str, object]
    """By the names under which the model reads them."""

    def input(self) -> dict[str, Json]:
        """The body, with `${ … }` for what is not known yet."""
        return {name: render(value) for name, value in self.values.items()}


def record(model: "type[Command[Any]]", values: Mapping[str, object]) -> Recorded | None:
    """A recording if any value holds a proxy; None: make an instance.

    A misspelt name raises either way: a model that passes over unknown members of what it reads
    must not pass over those that are written in code.
    """
    fields = _fields(model)
    recording = any(map(holds_proxy, values.values()))
    if model.model_config.get("extra") not in ("allow", "forbid") or recording:
        for name in values:
            if name not in fields and model.model_config.get("extra") != "allow":
                raise PlanError(
                    f"{model.__name__} has no field {name!r}", did_you_mean(name, fields)
                )
    if not recording:
        return None
    written: dict[str, object] = {}
    for name, value in values.items():
        key, field = fields.get(name, (name, None))
        written[key] = value if field is None else _checked(model, name, field, value)
    for key, field in dict(fields.values()).items():
        if field is not None and field.is_required() and key not in written:
            raise PlanError(f"{model.__name__} needs {key!r}")
    return Recorded(model, written)


def _fields(model: "type[Command[Any]]") -> dict[str, tuple[str, FieldInfo | None]]:
    """Names that the constructor accepts -> (name in the body, the field)."""
    config = model.model_config
    by_name = config.get("populate_by_name") or config.get("validate_by_name")
    accepted: dict[str, tuple[str, FieldInfo | None]] = {}
    for name, field in model.model_fields.items():
        read = types.input_name(name, field)
        accepted[read] = (read, field)
        if by_name:
            accepted[name] = (read, field)
    return accepted


def _adapter(form: Any) -> TypeAdapter[Any]:
    return TypeAdapter(form)


def _checked(model: "type[Command[Any]]", name: str, field: FieldInfo, value: object) -> object:
    if is_proxy(value):
        expr = expr_of(value)  # type: ignore[arg-type]  # is_proxy looked
        if not types.fits(expr.type, field.annotation):
            raise PlanError(
                f"{model.__name__}.{name} is {types.shown(field.annotation)},"
                f" but {expr.text} is {types.shown(expr.type)}"
            )
        return value
    if holds_proxy(value):
        have, want = types.kind(type(value)), types.kind(field.annotation)
        if None not in (have, want) and have != want:
            raise PlanError(
                f"{model.__name__}.{name} is {types.shown(field.annotation)},"
                f" but this is a {type(value).__name__}"
            )
        return value
    annotation: Any = field.annotation
    form = getitem(cast(Any, Annotated), (annotation, field))  # Annotated[annotation, field]
    adapter = _adapter(form)
    try:
        return adapter.dump_python(adapter.validate_python(value), mode="json", by_alias=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise PlanError(f"{model.__name__}.{name}: {first['msg']}, got {value!r}") from None
