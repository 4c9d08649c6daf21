"""Definition documents as text: JSON or YAML in, canonical JSON and digest out.

What cannot be read is a `BadDocument` whose errors name the place (JSON pointer, line, file), the
reason and the remedy. Whether a readable document can work is the verifier's subject.
"""

import difflib
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from amends_contracts import definition as documents
from amends_contracts.definition import Definition
from amends_contracts.messages import Json
from amends_contracts.problems import FieldError, Problem, ProblemType
from amends_contracts.texts import Lines, TextError, read_json, read_yaml

DOCUMENT_BYTES_MAX: Final = 1024 * 1024
EMPTY: Final = "must not be empty"
ERRORS_MAX: Final = 50
"""Errors reported of one document; the rest would be consequences."""

_STEP_MODELS: Final[Mapping[str, type[BaseModel]]] = {
    model.model_fields["kind"].default: model for model in get_args(get_args(documents.Step)[0])
}
_PART_MODELS: Final[Mapping[str, type[BaseModel]]] = {
    "retry": documents.Retry,
    "compensation": documents.Compensation,
    "limits": documents.Limits,
    "budget": documents.Budget,
    "review": documents.Guard,
    "cases": documents.Case,
    "plans": documents.AlternativePlan,
    "tools": documents.AgentTool,
}


class BadDocument(ValueError):
    """The text is no definition document; `errors` says where, why, and what to do."""

    def __init__(self, errors: Iterable[FieldError]) -> None:
        self.errors = tuple(errors)
        super().__init__("\n".join(map(describe, self.errors)))

    def problem(self) -> Problem:
        """As it is said over REST."""
        return Problem(
            type=ProblemType.BAD_DEFINITION,
            title="The document is not a definition",
            status=422,
            detail=self.errors[0].reason,
            errors=self.errors,
        )


def describe(error: FieldError) -> str:
    """`book-trip.yaml:12: /steps/1/command: is required; add it`."""
    place = ":".join(str(part) for part in (error.file, error.line) if part is not None)
    return "".join(
        (
            f"{place}: " if place else "",
            f"{error.path}: " if error.path else "",
            error.reason,
            f"; {error.remedy}" if error.remedy else "",
        )
    )


@dataclass(frozen=True, slots=True)
class Document:
    """A definition with the lines of its text, so that later errors can name them too."""

    definition: Definition
    file: str | None = None
    lines: Lines = field(default_factory=dict[str, int])

    def located(self, errors: Iterable[FieldError]) -> tuple[FieldError, ...]:
        """The errors with file and line."""
        return tuple(locate(error, self.lines, self.file) for error in errors)


def load_definition(source: str | Path) -> Definition:
    """The definition in a text or file; see `load_document`."""
    return load_document(source).definition


def load_document(source: str | Path) -> Document:
    """Read JSON or YAML from a file (a Path) or from a text (a str, never taken for a name).

    Raises BadDocument; OSError if the file cannot be read.
    """
    raw = source.read_bytes() if isinstance(source, Path) else source.encode()
    name = str(source) if isinstance(source, Path) else None
    lines: dict[str, int] = {}
    try:
        if len(raw) > DOCUMENT_BYTES_MAX:
            raise TextError(f"a document has at most {DOCUMENT_BYTES_MAX} bytes, not {len(raw)}")
        value = _read(raw, lines)
    except TextError as error:
        raise BadDocument([FieldError(**error.fields(), file=name)]) from None
    try:
        return Document(parse_definition(value), name, lines)
    except BadDocument as error:
        located = [locate(e, lines, name) for e in error.errors]
        raise BadDocument(sorted(located, key=lambda e: e.line or 0)) from None


def parse_definition(value: Json) -> Definition:
    """The definition in a JSON value; BadDocument without lines."""
    if not isinstance(value, dict):
        raise BadDocument([FieldError(path="", reason="a definition is an object")])
    try:
        return Definition.model_validate(value)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False)
        errors = {(e.path, e.reason): e for e in (_field_error(d, value) for d in details)}
        raise BadDocument(_causes(list(errors.values()))[:ERRORS_MAX]) from None


def dump_definition(definition: Definition) -> dict[str, Json]:
    """The canonical document: defaults left out, but `version` and every step's `kind` kept."""
    written = definition.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    written["version"] = definition.version
    _keep_kinds(definition.model_dump(mode="json", by_alias=True), written)
    order = [name for name in Definition.model_fields if name in written]
    return {name: written[name] for name in order}


def definition_digest(definition: Definition) -> str:
    """SHA-256 over the canonical document, members in the order of their names."""
    text = json.dumps(
        dump_definition(definition), sort_keys=True, ensure_ascii=False, separators=(",", ":")
    )
    return hashlib.sha256(text.encode()).hexdigest()


def to_text(definition: Definition) -> str:
    """The canonical document as indented JSON, for people and files."""
    return json.dumps(dump_definition(definition), ensure_ascii=False, indent=2) + "\n"


def locate(error: FieldError, lines: Lines, file: str | None) -> FieldError:
    """The error with the line of the innermost place that the text has."""
    pointer = error.path
    while pointer and pointer not in lines:
        pointer = pointer.rpartition("/")[0]
    return error.model_copy(update={"line": lines.get(pointer), "file": file})


def _read(raw: bytes, lines: dict[str, int]) -> Json:
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TextError(f"the text is not UTF-8 (byte {error.start})") from None
    if text.lstrip()[:1] in ("{", "["):
        return read_json(text, lines)
    return read_yaml(text, lines)


# --- pydantic's errors in our words ------------------------------------------------------------


def _field_error(detail: ErrorDetails, document: Json) -> FieldError:
    path, container = _walk(detail["loc"], document)
    if detail["type"] == "union_tag_invalid":
        path.append("kind")
    pointer = "".join(f"/{_escape(str(part))}" for part in path)
    reason, remedy = _words(detail, path, container)
    return FieldError(path=pointer, reason=reason, remedy=remedy)


def _causes(errors: list[FieldError]) -> list[FieldError]:
    """Without those that only follow from others: a sequence is "empty" if its steps are bad."""
    return [
        error
        for error in errors
        if error.reason != EMPTY or not any(e.path.startswith(f"{error.path}/") for e in errors)
    ]


def _walk(
    location: tuple[int | str, ...], document: Json
) -> tuple[list[int | str], Mapping[str, Json]]:
    """The place in the document, and the object around it. Tags of unions are no places."""
    path: list[int | str] = []
    at: Json = document
    container: Mapping[str, Json] = document
    for part in location:
        if isinstance(at, dict):
            members = cast(dict[str, Json], at)
            if path and isinstance(path[-1], int) and members.get("kind") == part:
                continue
            container = members
            path.append(part)
            at = members.get(str(part))
        elif isinstance(at, list) and isinstance(part, int):
            items = cast(list[Json], at)
            path.append(part)
            at = items[part] if part < len(items) else None
        elif at is None:
            path.append(part)
    return path, container


def _words(
    detail: ErrorDetails, path: list[int | str], container: Mapping[str, Json]
) -> tuple[str, str | None]:
    match detail["type"]:
        case "missing":
            return "is required", None
        case "too_short":
            return EMPTY, None
        case "extra_forbidden":
            return "there is no such member", _did_you_mean(path, container)
        case "union_tag_not_found":
            return "a step has a kind", f"one of {', '.join(_STEP_MODELS)}"
        case "union_tag_invalid":
            kind = str(cast(Mapping[str, Json], detail["input"]).get("kind"))
            return f"there is no kind {kind!r}", _closest(kind, _STEP_MODELS)
        case "string_pattern_mismatch" if str(path[-1]) == "command":
            return f"{detail['input']!r} is no command", "<service>.<verb>, such as flights.reserve"
        case "string_pattern_mismatch":
            return f"{detail['input']!r} is no name", "lower case letters, digits, _ and -"
        case _:
            message = detail["msg"].removeprefix("Value error, ")
            message = message.replace("Input should", "must")
            reason = message[:1].lower() + message[1:]
            shown = repr(detail["input"])
            given = "" if len(shown) > 60 or shown in reason else f", not {shown}"
            return f"{reason}{given}", None


def _did_you_mean(path: list[int | str], container: Mapping[str, Json]) -> str | None:
    model = _model_at(path, container)
    known = [field.alias or name for name, field in model.model_fields.items()]
    return _closest(str(path[-1]), known)


def _model_at(path: list[int | str], container: Mapping[str, Json]) -> type[BaseModel]:
    if len(path) == 1:
        return Definition
    if str(container.get("kind")) in _STEP_MODELS:
        return _STEP_MODELS[str(container["kind"])]
    names = [part for part in path[:-1] if isinstance(part, str)]
    return _PART_MODELS.get(names[-1], Definition)


def _closest(word: str, known: Iterable[str]) -> str:
    among = list(known)
    close = difflib.get_close_matches(word, among, n=1)
    return f"did you mean {close[0]!r}?" if close else f"there is: {', '.join(among)}"


def _escape(part: str) -> str:
    return part.replace("~", "~0").replace("/", "~1")


def _keep_kinds(full: Json, written: Json) -> None:
    """Put `kind` back, which is a default of each step's model, in front of the other members."""
    if isinstance(written, list):
        for inner_full, inner in zip(full, cast(list[Json], written), strict=True):
            _keep_kinds(inner_full, inner)
        return
    members: dict[str, Json] = written
    if "kind" in full and "id" in full:
        rest = {name: value for name, value in members.items() if name != "id"}
        members.clear()
        members.update({"id": full["id"], "kind": full["kind"]} | rest)
    for name in ("steps", "otherwise", "cases", "plans"):
        if name in members:
            _keep_kinds(full[name], members[name])
    for name, branch in members.get("branches", {}).items():
        _keep_kinds(full["branches"][name], branch)
