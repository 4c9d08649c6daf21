"""The statements of `sql/*.sql`, by name. They are read there; nothing here knows what they do.

A file holds statements that each begin with a line `-- name: <name>`. Parameters are written
`:name` and become the positional ones of the driver, in the order of their first appearance.
Lines between `-- with <part>:` and `-- end` make a second statement, `<name>_with_<part>`; the
first goes without them. Of several parts there is one with each choice, named in their order.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib import resources
from itertools import combinations
from typing import Any, Final

_NAME: Final = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_PART: Final = re.compile(r"^-- with (\w+):\n(.*?)^-- end\n", re.MULTILINE | re.DOTALL)
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
        parts = list(dict.fromkeys(part[1] for part in _PART.finditer(body)))
        for count in range(len(parts) + 1):
            for chosen in combinations(parts, count):
                whole = "_".join((name, "with", *chosen)) if chosen else name
                found[whole] = _query(whole, _PART.sub(partial(_kept_in, chosen), body))
    return found


def _kept_in(parts: tuple[str, ...], part: re.Match[str]) -> str:
    return part[2] if part[1] in parts else ""


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
