"""What is known, when a plan is recorded, of the type of a value that will exist when it runs.

Types are Python annotations; None stands for "not known", and then nothing is checked.
"""

import dataclasses
import re
import types
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import (
    Annotated,
    Any,
    Literal,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from pydantic import AliasChoices, BaseModel
from pydantic.fields import FieldInfo

Type = Any
"""An annotation, or None."""

_NUMBERS = {bool: "boolean", int: "integer", float: "number"}
_is_identifier = re.compile(r"[A-Za-z_][A-Za-z0-9_]*").fullmatch
_CEL_RESERVED = frozenset(
    [
        "as",
        "break",
        "const",
        "continue",
        "else",
        "false",
        "for",
        "function",
        "if",
        "import",
        "in",
        "let",
        "loop",
        "namespace",
        "null",
        "package",
        "return",
        "true",
        "var",
        "void",
        "while",
    ]
)


def bare(annotation: Type) -> Type:
    """Without Annotated, Optional and type variables; a union of several is not known."""
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation = get_args(annotation)[0]
        elif origin in (Union, types.UnionType):
            members = [a for a in get_args(annotation) if a is not type(None)]
            if len(members) != 1:
                return None
            annotation = members[0]
        elif isinstance(annotation, TypeVar) or annotation is Any:
            return None
        else:
            return annotation


def kind(annotation: Type) -> str | None:
    """How a value of the type looks in JSON; `text-like` for what merely travels as text."""
    known = bare(annotation)
    if known is None:
        return None
    origin: Any = get_origin(known) or known
    if origin is Literal:
        kinds = {kind(type(value)) for value in get_args(known)}
        return kinds.pop() if len(kinds) == 1 else None
    if not isinstance(origin, type):
        return None
    return _kind_of_class(cast(type[Any], origin))


def _kind_of_class(cls: type[Any]) -> str | None:
    if issubclass(cls, Enum):
        kinds = {kind(type(member.value)) for member in cls}
        return kinds.pop() if len(kinds) == 1 else None
    for number, name in _NUMBERS.items():
        if issubclass(cls, number):
            return name
    if issubclass(cls, str):
        return "string"
    if issubclass(cls, Mapping | BaseModel) or dataclasses.is_dataclass(cls):
        return "object"
    if issubclass(cls, Sequence | set | frozenset) and not issubclass(cls, bytes):
        return "array"
    if cls.__module__ in ("datetime", "decimal", "uuid", "ipaddress", "pathlib"):
        return "text-like"
    return None


def fits(given: Type, wanted: Type) -> bool:
    """Whether a value of type `given` may stand where `wanted` is; True when in doubt."""
    have, want = kind(given), kind(wanted)
    if have is None or want is None or have == want:
        return True
    if have == "integer" and want == "number":
        return True
    return {have, want} == {"string", "text-like"}


def shown(annotation: Type) -> str:
    """How an error names the type."""
    known = bare(annotation)
    return str(known) if get_args(known) else getattr(known, "__name__", str(known))


def item_of(annotation: Type) -> Type:
    """What a list holds."""
    known = bare(annotation)
    arguments = get_args(known)
    if kind(known) != "array" or not arguments:
        return None
    return arguments[0]


def value_of(annotation: Type) -> Type:
    """What a mapping holds."""
    arguments = get_args(bare(annotation))
    return arguments[1] if kind(annotation) == "object" and len(arguments) == 2 else None


def members_of(annotation: Type) -> Mapping[str, tuple[str, Type]] | None:
    """Python name -> (name in JSON, type) of an object's fields; None if they are not known."""
    known = bare(annotation)
    origin: Any = get_origin(known) or known
    if not isinstance(origin, type):
        return None
    cls = cast(type[Any], origin)
    if issubclass(cls, BaseModel):
        return _model_members(cls)
    if is_typeddict(cls) or dataclasses.is_dataclass(cls):
        return {name: (name, hint) for name, hint in get_type_hints(cls).items()}
    return None


def _model_members(model: type[BaseModel]) -> dict[str, tuple[str, Type]]:
    members = {
        name: (field.serialization_alias or input_name(name, field), field.annotation)
        for name, field in model.model_fields.items()
    }
    computed = {
        name: (field.alias or name, field.return_type)
        for name, field in model.model_computed_fields.items()
    }
    return members | computed


def input_name(name: str, field: FieldInfo) -> str:
    """The name under which a model reads the field."""
    alias = field.validation_alias
    if isinstance(alias, AliasChoices):
        alias = alias.choices[0]
    return alias if isinstance(alias, str) else name


def member_text(of: str, name: str) -> str:
    """`of.name` in CEL, or `of["name"]` where the name is no identifier there."""
    if _is_identifier(name) and name not in _CEL_RESERVED:
        return f"{of}.{name}"
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'{of}["{escaped}"]'
