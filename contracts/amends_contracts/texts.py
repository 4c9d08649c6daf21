"""JSON and YAML texts as plain JSON values, with the line of every place in them.

YAML is read as people expect it who write JSON's values in it: `true`, `false`, `null` and numbers
are special, everything else is text (`no`, `on`, `12:30`, `2026-01-31` stay what they are).
Anchors, aliases and `<<` work, within limits; names that occur twice are refused in both.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from amends_contracts.messages import Json

DEPTH_MAX: Final = 64
NODES_MAX: Final = 100_000
"""Values of a text, aliases counted as often as they are used."""

Lines = Mapping[str, int]
"""JSON pointer -> line, from 1."""


class TextError(ValueError):
    """The text cannot be read; with the place, where one is known."""

    def __init__(self, reason: str, line: int | None = None, path: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.line = line
        self.path = path

    def fields(self) -> dict[str, Any]:
        """As members of a `FieldError`."""
        return {"path": self.path, "reason": self.reason, "line": self.line}


def read_json(text: str, lines: dict[str, int]) -> Json:
    """A JSON text; fills `lines`."""
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise TextError(f"not JSON: {error.msg}", error.lineno) from None
    except _Twice as error:
        line = _line_of_second(text, error.name)
        raise TextError(f"the member {error.name!r} occurs twice", line) from None
    except RecursionError:
        raise TextError(f"nested more than {DEPTH_MAX} levels deep") from None
    try:  # JSON is YAML but for tabs; its values are taken from above, its lines from here
        _Reader(lines).read(text.replace("\t", " "))
    except (TextError, yaml.YAMLError) as error:
        if isinstance(error, TextError) and "more than" in error.reason:
            raise
        lines.clear()
    return value


def read_yaml(text: str, lines: dict[str, int]) -> Json:
    """A YAML text of one document; fills `lines`."""
    try:
        return _Reader(lines).read(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark is not None else None
        raise TextError(f"not YAML: {error.problem or error.context}", line) from None
    except yaml.YAMLError as error:
        raise TextError(f"not YAML: {error}") from None
    except RecursionError:
        raise TextError(f"nested more than {DEPTH_MAX} levels deep") from None


class _Twice(ValueError):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    members: dict[str, Json] = {}
    for name, value in pairs:
        if name in members:
            raise _Twice(name)
        members[name] = value
    return members


def _no_constant(name: str) -> Json:
    raise TextError(f"{name} is no JSON number")


def _line_of_second(text: str, name: str) -> int | None:
    found = list(re.finditer(rf"{re.escape(json.dumps(name))}\s*:", text))
    return text.count("\n", 0, found[1].start()) + 1 if len(found) > 1 else None


_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_WORDS: Final[Mapping[str, Json]] = {
    "null": None,
    "Null": None,
    "NULL": None,
    "~": None,
    "": None,
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}


_TAGS: Final = frozenset(
    {"str", "int", "float", "bool", "null", "timestamp", "merge", "value", "map", "seq"}
)


class _Reader:
    """One pass over the composed nodes: values, lines and limits."""

    def __init__(self, lines: dict[str, int]) -> None:
        self._lines = lines
        self._nodes = 0
        self._open: set[int] = set()

    def read(self, text: str) -> Json:
        compose = cast(Callable[..., Node | None], yaml.compose)  # pyright: ignore[reportUnknownMemberType]  # untyped there
        node = compose(text, Loader=yaml.SafeLoader)
        if node is None:
            raise TextError("the text is empty")
        return self._value(node, "")

    def _value(self, node: Node, path: str) -> Json:
        line: int = node.start_mark.line + 1
        self._lines[path] = line
        self._nodes += 1
        if self._nodes > NODES_MAX:
            raise TextError(f"more than {NODES_MAX} values, aliases counted", line, path)
        if id(node) in self._open:
            raise TextError("an alias of what it stands in", line, path)
        if len(self._open) >= DEPTH_MAX:
            raise TextError(f"nested more than {DEPTH_MAX} levels deep", line, path)
        if node.tag.removeprefix("tag:yaml.org,2002:") not in _TAGS:
            raise TextError(f"the tag {node.tag} is not known here", line, path)
        if isinstance(node, ScalarNode):
            return _scalar(node)
        self._open.add(id(node))
        try:
            if isinstance(node, MappingNode):
                return self._mapping(node, path)
            assert isinstance(node, SequenceNode)
            items = cast(list[Node], node.value)
            return [self._value(item, f"{path}/{index}") for index, item in enumerate(items)]
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: MappingNode, path: str) -> dict[str, Json]:
        own: dict[str, Json] = {}
        merged: dict[str, Json] = {}
        for name_node, value_node in cast(list[tuple[Node, Node]], node.value):
            line: int = name_node.start_mark.line + 1
            if not isinstance(name_node, ScalarNode):
                raise TextError("names of members are texts", line, path)
            name: str = name_node.value
            at = f"{path}/{name.replace('~', '~0').replace('/', '~1')}"
            if name == "<<" and name_node.style is None:
                merged |= self._merged(value_node, path)
                continue
            if name in own:
                raise TextError(f"the member {name!r} occurs twice", line, at)
            own[name] = self._value(value_node, at)
            self._lines[at] = line
        return merged | own

    def _merged(self, node: Node, path: str) -> dict[str, Json]:
        value = self._value(node, path)
        values = cast(list[Json], value) if isinstance(value, list) else [value]
        merged: dict[str, Json] = {}
        for part in reversed(values):  # YAML: the earlier one wins
            if not isinstance(part, dict):
                raise TextError("<< takes an object", node.start_mark.line + 1, path)
            merged |= cast(dict[str, Json], part)
        return merged


def _scalar(node: ScalarNode) -> Json:
    text: str = node.value
    if node.style is not None:  # quoted or a block: a text
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _NUMBER.fullmatch(text):
        return json.loads(text) if len(text) <= 40 else text
    return text
