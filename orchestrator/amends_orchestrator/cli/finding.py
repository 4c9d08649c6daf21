"""One finding of `amends doctor`: what was looked at, what was seen, what to do."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is; only `bad` makes the command fail."""

    OK = "ok"
    NOTE = "note"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """`do` is set for everything that is not ok."""

    check: str
    level: Level
    said: str
    do: str | None = None

    def to_json(self) -> dict[str, str]:
        """The shape under `--json`."""
        shown = {"check": self.check, "level": str(self.level), "said": self.said}
        return shown | ({"do": self.do} if self.do else {})


def ok(check: str, said: str) -> Finding:
    """As it should be."""
    return Finding(check, Level.OK, said)


def note(check: str, said: str, do: str) -> Finding:
    """Worth knowing, nothing broken."""
    return Finding(check, Level.NOTE, said, do)


def bad(check: str, said: str, do: str) -> Finding:
    """Something is wrong."""
    return Finding(check, Level.BAD, said, do)
