"""The statements of `sql/*.sql`, by name. They are read there; nothing here knows what they do.

A file holds statements that each begin with a line `-- name: <name>`. Parameters are written
`:name` and become the positional ones of the driver, in the order of their first appearance. Lines
between `-- only in <other>` and `-- end` belong to a second statement of that name, which is the
first one with them: what few executions need costs the others nothing.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

_NAME: Final = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_ONLY: Final = re.compile(r"^-- only in (\w+)$(.*?)^-- end$", re.MULTILINE | re.DOTALL)
_COMMENT: Final = re.compile(r"\s*--.*$", re.MULTILINE)
_PARAMETER: Final = re.compile(r"(?<![:\w]):([a-z_]+)\b")


@dataclass(frozen=True, slots=True)
class Query:
    """One statement: as the driver takes it, and what it wants to be given."""

    name: str
    text: str
    parameters: tuple[str, ...]

    def arguments(self, given: Mapping[str, Any]) -> list[Any]:
        """The given values in the driver's order; KeyError for a missing one."""
        return [given[name] for name in self.parameters]


def parse(source: str) -> dict[str, Query]:
    """All statements of one file."""
    pieces = _NAME.split(source)
    found: dict[str, Query] = {}
    for name, body in zip(pieces[1::2], pieces[2::2], strict=True):
        found[name] = _query(name, _ONLY.sub("", body))
        for other in {part[1] for part in _ONLY.finditer(body)}:
            found[other] = _query(other, _ONLY.sub(_kept_in(other), body))
    return found


def _kept_in(name: str) -> Callable[[re.Match[str]], str]:
    return lambda part: part[2] if part[1] == name else ""


def load(file: str) -> dict[str, Query]:
    """All statements of `sql/<file>.sql`."""
    folder = resources.files("amends_orchestrator.store") / "sql"
    return parse((folder / f"{file}.sql").read_text(encoding="utf-8"))


def _query(name: str, body: str) -> Query:
    parameters: dict[str, int] = {}

    def position(found: re.Match[str]) -> str:
        return f"${parameters.setdefault(found[1], len(parameters) + 1)}"

    statement = _COMMENT.sub("", body).strip().removesuffix(";")
    # The name goes along: it is what pg_stat_activity and pg_stat_statements show.
    text = f"/* amends {name} */ " + _PARAMETER.sub(position, statement)
    return Query(name, text, tuple(parameters))
