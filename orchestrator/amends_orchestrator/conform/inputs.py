"""An example of what a JSON Schema accepts, made by taking the first that comes to mind. Pure.

What people wrote into the schema for this (`examples`, `default`) comes first. Whoever needs more
than types and bounds, such as a city that there is, gives an example of their own.
"""

from collections.abc import Mapping
from typing import Any, Final, cast

from amends_contracts.messages import Json
from amends_orchestrator.engine.catalog import Schema

DEPTH_MAX: Final = 12
ITEMS_MAX: Final = 50
_TEXTS: Final[Mapping[str, str]] = {
    "date": "2030-01-31",
    "date-time": "2030-01-31T12:00:00Z",
    "time": "12:00:00Z",
    "duration": "PT1H",
    "email": "ada@example.com",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "uri": "https://example.com/",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
}


def make_input(schema: Json) -> Json:
    """An object that the schema accepts, or None if none could be made."""
    if not isinstance(schema, dict):
        return None
    value = _value(cast(dict[str, Any], schema), cast(dict[str, Any], schema), DEPTH_MAX)
    fits = isinstance(value, dict) and not Schema(schema).errors(value)
    return cast(Json, value) if fits else None


def make_refused(schema: Json, accepted: Json) -> Json:
    """The accepted object without a member that is required; None if the schema requires none."""
    if not isinstance(schema, dict) or not isinstance(accepted, dict):
        return None
    whole = cast(dict[str, Any], accepted)
    for name in whole:
        less = {key: value for key, value in whole.items() if key != name}
        if Schema(schema).errors(less):
            return less
    return None


def _value(schema: Json, root: dict[str, Any], depth: int) -> Json:
    if not isinstance(schema, dict) or depth == 0:
        return {} if depth else None
    read = _resolved(cast(dict[str, Any], schema), root)
    for said in ("const", "default"):
        if said in read and read[said] is not None:
            return read[said]
    for listed in ("examples", "enum"):
        if read.get(listed):
            return read[listed][0]
    for several in ("anyOf", "oneOf"):
        if read.get(several):
            rest = {key: value for key, value in read.items() if key != several}
            return _value({**rest, **_resolved(read[several][0], root)}, root, depth - 1)
    if read.get("allOf"):
        return _value(_all_of(read, root), root, depth - 1)
    return _of_type(read, root, depth)


def _of_type(schema: dict[str, Any], root: dict[str, Any], depth: int) -> Json:
    said: Any = schema.get("type", "object" if "properties" in schema else "string")
    kind: Any = cast(list[Any], said)[0] if isinstance(said, list) else said
    match kind:
        case "object":
            properties = schema.get("properties", {})
            wanted = schema.get("required", ())
            return {name: _value(properties.get(name, {}), root, depth - 1) for name in wanted}
        case "array":
            count = min(schema.get("minItems", 0), ITEMS_MAX)
            return [_value(schema.get("items", {}), root, depth - 1) for _ in range(count)]
        case "integer" | "number":
            return _number(schema, 1 if schema.get("type") == "integer" else 0.5)
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return _text(schema)


def _number(schema: dict[str, Any], step: float) -> float:
    least = schema.get("minimum")
    above, most = schema.get("exclusiveMinimum"), schema.get("maximum")
    value = least if least is not None else 1
    if above is not None and value <= above:
        value = above + step
    if most is not None and value > most:
        value = most
    multiple = schema.get("multipleOf")
    if multiple:
        value = -(-value // multiple) * multiple
    return value


def _text(schema: dict[str, Any]) -> str:
    text = _TEXTS.get(schema.get("format", ""), "example")
    least, most = schema.get("minLength", 0), schema.get("maxLength")
    text = text.ljust(least, "x")
    return text if most is None else text[:most]


def _resolved(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    """With what a `$ref` within the document names."""
    for _ in range(DEPTH_MAX):
        ref = schema.get("$ref")
        if not isinstance(ref, str) or not ref.startswith("#/"):
            break
        target: Any = root
        for part in ref[2:].split("/"):
            found = cast(dict[str, Any], target) if isinstance(target, dict) else {}
            target = found.get(part.replace("~1", "/").replace("~0", "~"), {})
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        schema = {**cast(dict[str, Any], target), **rest}
    return schema


def _all_of(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    joined = {key: value for key, value in schema.items() if key != "allOf"}
    for each in schema["allOf"]:
        part = _resolved(each, root)
        properties = {**joined.get("properties", {}), **part.get("properties", {})}
        required = [*joined.get("required", ()), *part.get("required", ())]
        joined = {**joined, **part}
        if properties:
            joined["properties"] = properties
        if required:
            joined["required"] = list(dict.fromkeys(required))
    return joined
