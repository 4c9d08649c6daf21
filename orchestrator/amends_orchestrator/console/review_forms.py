"""The form of an edit, made of a JSON Schema; and what was typed into it, as JSON again.

A flat object becomes one field per member; whatever is deeper is edited as JSON. What nobody
touched stays as it is, however a browser sends it back. The schema decides about the values when
they are sent: nothing is checked here but that they can be read.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, assert_never, cast

from amends_contracts.messages import Json
from amends_orchestrator.api.body import strict_json
from amends_orchestrator.api.problems import bad_field

FIELD: Final = "f."
WHOLE: Final = "body"
FIELDS_MAX: Final = 40
LONG_TEXT: Final = 80
Kind = Literal["text", "long", "number", "flag", "choice", "json"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field of the form."""

    name: str
    """Of the form's field; `body` is the whole."""
    label: str
    kind: Kind
    value: str
    hint: str = ""
    choices: tuple[str, ...] = ()
    required: bool = False
    whole: bool = False
    """A number without a fraction."""


def fields_of(form: Json, shown: Json) -> tuple[Field, ...]:
    """The fields of a form, filled with what is shown."""
    if not isinstance(form, dict):
        return ()
    schema = cast("dict[str, Any]", form)
    properties = schema.get("properties")
    if not isinstance(properties, dict) or not isinstance(shown, dict | None):
        return (Field(name=WHOLE, label="What is to run", kind="json", value=_json(shown)),)
    members = cast("dict[str, Any]", properties)
    values = cast("dict[str, Json]", shown or {})
    required = schema.get("required", ())
    return tuple(
        _field(name, part, values.get(name), required=name in required)
        for name, part in list(members.items())[:FIELDS_MAX]
    )


def _field(name: str, part: Any, value: Json, *, required: bool) -> Field:
    said = cast("dict[str, Any]", part) if isinstance(part, dict) else {}
    kind = _kind(said, value)
    choices = tuple(str(choice) for choice in said.get("enum", ()))
    return Field(
        name=FIELD + name,
        label=str(said.get("title") or name),
        kind=kind,
        value=_shown(kind, choices, value),
        hint=str(said.get("description") or _bounds(said)),
        choices=choices,
        required=required,
        whole=said.get("type") == "integer",
    )


def _kind(said: Mapping[str, Any], value: Json) -> Kind:
    choices = said.get("enum")
    if isinstance(choices, list) and all(isinstance(c, str) for c in cast("list[Any]", choices)):
        return "choice"
    match said.get("type"):
        case "string":
            return "long" if isinstance(value, str) and _is_long(value) else "text"
        case "number" | "integer":
            return "number"
        case "boolean":
            return "flag"
        case _:
            return "json"


def _is_long(value: str) -> bool:
    """Also whatever has lines: a browser takes them out of a field of one line."""
    return len(value) > LONG_TEXT or "\n" in value or "\r" in value


def _bounds(said: Mapping[str, Any]) -> str:
    low, high = said.get("minimum"), said.get("maximum")
    if low is not None and high is not None:
        return f"from {low} to {high}"
    return f"at most {high}" if high is not None else f"at least {low}" if low is not None else ""


def _shown(kind: Kind, choices: tuple[str, ...], value: Json) -> str:
    """What stands in the field; nothing where a choice is none of those that there are."""
    match kind:
        case "flag":
            return "true" if value is True else ""
        case "json":
            return _json(value)
        case "choice":
            return value if value in choices else ""
        case "text" | "long" | "number":
            return "" if value is None else str(value)
        case _:
            assert_never(kind)


def _json(value: Json) -> str:
    return "" if value is None else json.dumps(value, ensure_ascii=False, indent=2)


def edited(form: Json, shown: Json, typed: Mapping[str, str]) -> Json:
    """What the form says now: members that it does not have stay as they are. ApiProblem."""
    fields = fields_of(form, shown)
    if len(fields) == 1 and fields[0].name == WHOLE:
        text = _normal(typed.get(WHOLE, ""))
        return shown if text == _normal(fields[0].value) else _value(fields[0], text)
    kept = cast("dict[str, Json]", shown) if isinstance(shown, dict) else {}
    body = dict(kept)
    for name, value in _members(fields, typed):
        if value is None:
            body.pop(name, None)
        else:
            body[name] = value
    return body


def _members(fields: tuple[Field, ...], typed: Mapping[str, str]) -> Iterator[tuple[str, Json]]:
    """What was changed; None: taken out."""
    for field in fields:
        text = _normal(typed.get(field.name, ""))
        name = field.name.removeprefix(FIELD)
        if text == _normal(field.value):
            continue
        if field.kind == "flag":
            yield name, text == "true"
        else:
            yield name, None if text == "" else _value(field, text)


def _normal(text: str) -> str:
    """A text as it comes back from a browser, which writes line ends its own way."""
    return text.replace("\r\n", "\n").replace("\r", "\n").strip()


def _value(field: Field, text: str) -> Json:
    if field.kind in ("text", "long", "choice"):
        return text
    try:
        return strict_json(text.encode())
    except ValueError as error:
        what = "no number" if field.kind == "number" else f"not JSON: {error}"
        raise bad_field(f"/{field.label}", what) from None
