"""Recorded lives of sagas: what a version was told and decided, line by line, kept for ever.

A file is one saga. Its first line is the definition, who the saga is and what started it; each
line after it is one message with the time it came at, the participants that were held off then, the
rows and commands that were decided, or the type of the refusal; the last also has the state as it
was stored.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter

from amends_contracts.definition import Definition
from amends_contracts.documents import dump_definition
from amends_contracts.messages import Json
from amends_orchestrator.core import (
    Decision,
    Identity,
    JournalRow,
    Refused,
    Send,
    state_to_json,
)
from amends_orchestrator.core.inputs import Input, StartRequested
from core.dsl import Scenario

FOLDER: Final = Path(__file__).parent / "corpus"

_IDENTITY: Final = TypeAdapter(Identity)
_START: Final = TypeAdapter(StartRequested)
_ROWS: Final = TypeAdapter(tuple[JournalRow, ...])
_SENDS: Final = TypeAdapter(tuple[Send, ...])
_INPUTS: Final[dict[str, TypeAdapter[Input]]] = {
    cls.__name__: TypeAdapter(cls) for cls in Input.__args__
}


@dataclass(frozen=True)
class Heard:
    """One message, and what became of it."""

    at: datetime
    message: Input | None
    """None for what started the saga."""
    rows: tuple[JournalRow, ...] = ()
    sends: tuple[Send, ...] = ()
    refused: str | None = None
    sick: Mapping[str, timedelta] = field(default_factory=dict[str, timedelta])
    """Participants that were held off, and for how long."""


@dataclass(frozen=True)
class Life:
    """One recorded saga."""

    definition: Definition
    identity: Identity
    start: StartRequested | None
    """None for a saga that another decided to start, such as a late undo."""
    heard: tuple[Heard, ...]
    state: Json
    """As it was stored at the end."""


def heard(
    at: datetime,
    message: Input | None,
    answer: Decision | Refused,
    sick: Mapping[str, timedelta],
) -> Heard:
    """What is remembered of one answer."""
    if isinstance(answer, Refused):
        return Heard(at, message, refused=answer.type.value, sick=sick)
    return Heard(at, message, answer.rows, answer.sends, sick=sick)


def recorded(scenario: Scenario, what: Definition, start: StartRequested | None) -> Life:
    """A scenario as a life."""
    lines = tuple(heard(*said) for said in scenario.heard)
    state = state_to_json(scenario.saga.state)
    return Life(what, scenario.saga.identity, start, lines, state)


def write(life: Life, path: Path) -> None:
    """Keep a life."""
    first: dict[str, Json] = {
        "definition": dump_definition(life.definition),
        "identity": _plain(_IDENTITY, life.identity),
        "start": None if life.start is None else _plain(_START, life.start),
    }
    lines = [first, *map(as_json, life.heard), {"state": life.state}]
    text = "\n".join(json.dumps(line, ensure_ascii=False, sort_keys=True) for line in lines)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n", encoding="utf-8")


def read(path: Path) -> Life:
    """A kept life."""
    first, *lines, last = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    start = first["start"]
    return Life(
        Definition.model_validate(first["definition"]),
        _IDENTITY.validate_python(first["identity"]),
        None if start is None else _START.validate_python(start),
        tuple(map(_heard, lines)),
        last["state"],
    )


def kept() -> list[Path]:
    """All that was ever recorded, by version and name."""
    return sorted(FOLDER.glob("*/*.jsonl"))


def _plain(adapter: TypeAdapter[Any], value: Any) -> Json:
    return adapter.dump_python(value, mode="json", exclude_defaults=True)


def as_json(said: Heard) -> Json:
    """One line of a file."""
    line: dict[str, Json] = {"at": said.at.isoformat()}
    if said.message is not None:
        name = type(said.message).__name__
        line["message"] = {name: _plain(_INPUTS[name], said.message)}
    if said.sick:
        line["sick"] = {service: rest.total_seconds() for service, rest in said.sick.items()}
    if said.refused is not None:
        return line | {"refused": said.refused}
    return line | {"rows": _plain(_ROWS, said.rows), "sends": _plain(_SENDS, said.sends)}


def _heard(line: Json) -> Heard:
    message: Input | None = None
    for name, data in line.get("message", {}).items():
        message = _INPUTS[name].validate_python(data)
    return Heard(
        at=datetime.fromisoformat(line["at"]),
        message=message,
        rows=_ROWS.validate_python(line.get("rows", ())),
        sends=_SENDS.validate_python(line.get("sends", ())),
        refused=line.get("refused"),
        sick={service: timedelta(seconds=s) for service, s in line.get("sick", {}).items()},
    )
