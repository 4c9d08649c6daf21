"""What the schemas of the wire have in common."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, Final, TypeAlias

from amends_contracts.codec.headers import INTEGER_MAX
from amends_contracts.codec.members import PROSE_CHARS_MAX, TEXT_CHARS_MAX
from amends_contracts.names import COMMAND_PATTERN, NAME_PATTERN

Schema: TypeAlias = dict[str, Any]
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

SAGA_ID: Final[Schema] = {
    "type": "string",
    "pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
    "description": "UUID (version 7) in lower case",
}
NAME: Final[Schema] = {"type": "string", "pattern": NAME_PATTERN, "maxLength": TEXT_CHARS_MAX}
COMMAND: Final[Schema] = {"type": "string", "pattern": COMMAND_PATTERN}
KEY: Final[Schema] = {
    "type": "string",
    "description": "<saga_id>/<step path>/<op>; never contains the attempt",
}
TEXT: Final[Schema] = {
    "type": "string",
    "pattern": r"^[^\u0000-\u001f\u007f]+$",
    "maxLength": TEXT_CHARS_MAX,
}
PROSE: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": PROSE_CHARS_MAX}
VERSION: Final[Schema] = {"type": "integer", "minimum": 1, "maximum": INTEGER_MAX}
DURATION: Final[Schema] = {"type": "string", "format": "duration"}
TIME: Final[Schema] = {"type": "string", "format": "date-time"}
ANY: Final[Schema] = {}
OBJECT: Final[Schema] = {"type": "object"}
WIRE: Final[Schema] = {"enum": [1, "1"]}


def one_of(among: Iterable[StrEnum]) -> Schema:
    """A closed vocabulary."""
    return {"enum": [member.value for member in among]}


def integer(least: int) -> Schema:
    """An integer header; readers also accept a decimal string."""
    number = {"type": "integer", "minimum": least, "maximum": INTEGER_MAX}
    return {"anyOf": [number, {"type": "string", "pattern": "^[0-9]{1,10}$"}]}


def record(
    description: str,
    required: dict[str, Schema],
    optional: dict[str, Schema] | None = None,
    *,
    closed: bool,
) -> Schema:
    """An object. Closed: members that are not named are refused; else they are passed over."""
    schema: Schema = {
        "description": description,
        "type": "object",
        "properties": required | (optional or {}),
        "required": list(required),
    }
    if closed:
        schema["additionalProperties"] = False
    return schema
