"""What JSON Schemas say about places in a document: enough of draft 2020-12 to find misfits.

It never refuses what it does not understand: an answer is a schema, `MISSING`, or None (unknown).
`malformed` finds what is no schema at all, and would let every value pass.
"""

from collections.abc import Iterator
from typing import Any, Final, TypeAlias, cast

from amends_contracts.expressions import Reference
from amends_contracts.problems import FieldError

Schema: TypeAlias = dict[str, Any]
ANYTHING: Final[Schema] = {}


class Missing:
    """The schema has no such member. `known` are those it has."""

    def __init__(self, segment: str | int, known: tuple[str, ...]) -> None:
        self.segment = segment
        self.known = known


def _deref(schema: Any, root: Schema) -> Schema:
    for _ in range(20):
        if not isinstance(schema, dict):
            return ANYTHING
        found = cast(Schema, schema)
        reference = found.get("$ref")
        if not isinstance(reference, str) or not reference.startswith("#"):
            return found
        target: Any = root
        for part in reference[1:].split("/")[1:]:
            target = target.get(part.replace("~1", "/").replace("~0", "~"), {})
        schema = target
    return ANYTHING


def _alternatives(schema: Schema, root: Schema) -> list[Schema]:
    for word in ("anyOf", "oneOf"):
        if isinstance(schema.get(word), list):
            return [s for one in schema[word] for s in _alternatives(_deref(one, root), root)]
    return [schema]


def schema_at(schema: Any, segments: Reference) -> Schema | Missing:
    """The schema of what lies at `segments`; an empty schema where nothing is known."""
    root = cast(Schema, schema) if isinstance(schema, dict) else ANYTHING
    here = _deref(root, root)
    for segment in segments:
        options = [o for o in _alternatives(here, root) if types_of(o, root) != {"null"}]
        found = [_member(option, segment, root) for option in options]
        known = [f for f in found if not isinstance(f, Missing)]
        if found and not known:
            first = found[0]
            assert isinstance(first, Missing)
            return first
        here = known[0] if len(known) == 1 else ANYTHING
    if here is not root and "$defs" in root:
        return {**here, "$defs": root["$defs"]}
    return here


def _member(schema: Schema, segment: str | int, root: Schema) -> Schema | Missing:
    types = types_of(schema, root)
    if isinstance(segment, int):
        if types and "array" not in types:
            return Missing(segment, ())
        return _deref(schema.get("items", ANYTHING), root)
    if types and "object" not in types:
        return Missing(segment, ())
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        extra = schema.get("additionalProperties", ANYTHING)
        return Missing(segment, ()) if extra is False else _deref(extra, root)
    members = cast(Schema, properties)
    if segment in members:
        return _deref(members[segment], root)
    extra = schema.get("additionalProperties", False)
    if extra is False and "patternProperties" not in schema and "allOf" not in schema:
        return Missing(segment, tuple(members))
    return ANYTHING


def types_of(schema: Schema, root: Schema | None = None) -> set[str]:
    """The JSON types it allows; empty if it does not say."""
    root = schema if root is None else root
    schema = _deref(schema, root)
    options = _alternatives(schema, root)
    if options != [schema]:
        found = [types_of(option, root) for option in options]
        return {kind for kinds in found for kind in kinds} if all(found) else set[str]()
    if "const" in schema:
        return {type_of(schema["const"])}
    if isinstance(schema.get("enum"), list):
        return {type_of(value) for value in schema["enum"]}
    said = schema.get("type")
    if isinstance(said, str):
        return {said}
    return set(cast("list[str]", said)) if isinstance(said, list) else set()


def type_of(value: Any) -> str:
    """The JSON type of a value; whole numbers are integers."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "integer" if value.is_integer() else "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def fits(source: set[str], target: set[str]) -> bool:
    """Whether some value of one may be a value of the other; unknown types always fit."""
    if not source or not target:
        return True
    return bool(_widen(source) & _widen(target))


def _widen(types: set[str]) -> set[str]:
    return types | {"integer"} if "number" in types else types


def required_of(schema: Any) -> tuple[str, ...]:
    """Members that an object of this schema must have."""
    if not isinstance(schema, dict):
        return ()
    root = cast(Schema, schema)
    required = _deref(root, root).get("required")
    return tuple(cast("list[str]", required)) if isinstance(required, list) else ()


# --- what is no schema ---------------------------------------------------------------------------

_TYPES: Final = ("array", "boolean", "integer", "null", "number", "object", "string")
_ONE: Final = ("items", "additionalProperties", "contains", "propertyNames", "not")
_LISTS: Final = ("anyOf", "oneOf", "allOf", "prefixItems")
_NAMED: Final = ("properties", "patternProperties", "$defs")


def malformed(schema: Any, at: str, root: Any = None) -> Iterator[FieldError]:
    """Every place of a schema that is none, `at` being where it stands."""
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        remedy = "write an object such as {type: string}"
        yield FieldError(path=at, reason=f"{schema!r} is no JSON Schema", remedy=remedy)
        return
    said = cast(Schema, schema)
    root = said if root is None else root
    yield from _words(said, at, root)
    for word in _ONE:
        if word in said:
            yield from malformed(said[word], f"{at}/{word}", root)
    for word in _LISTS:
        for n, one in enumerate(_listed(said.get(word))):
            yield from malformed(one, f"{at}/{word}/{n}", root)
    for word in _NAMED:
        members = said.get(word, {})
        if not isinstance(members, dict):
            remedy = "write an object of names and their schemas"
            yield FieldError(path=f"{at}/{word}", reason="it is no object", remedy=remedy)
            continue
        for name, one in cast(Schema, members).items():
            yield from malformed(one, f"{at}/{word}/{name}", root)


def _words(said: Schema, at: str, root: Any) -> Iterator[FieldError]:
    types = said.get("type", [])
    for kind in [types] if isinstance(types, str) else _listed(types):
        if kind not in _TYPES:
            remedy = f"types are: {', '.join(_TYPES)}"
            yield FieldError(path=f"{at}/type", reason=f"{kind!r} is no type", remedy=remedy)
    required = said.get("required", [])
    if not isinstance(required, list) or not all(isinstance(x, str) for x in _listed(required)):
        remedy = "list the names of members, as in required: [to]"
        yield FieldError(path=f"{at}/required", reason="it is no list of names", remedy=remedy)
    target = said.get("$ref")
    if target is not None and not _is_there(target, root):
        reason = f"{target!r} leads to nothing in this schema"
        remedy = "refer to what stands in it, as in #/$defs/name: nothing is fetched"
        yield FieldError(path=f"{at}/$ref", reason=reason, remedy=remedy)


def _listed(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []


def _is_there(reference: Any, root: Any) -> bool:
    if not isinstance(reference, str) or not reference.startswith("#"):
        return False
    here = root
    for part in reference[1:].split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(here, dict) or name not in here:
            return False
        here = cast(Schema, here)[name]
    return True
