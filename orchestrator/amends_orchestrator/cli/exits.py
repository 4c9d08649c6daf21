"""Exit codes and the one error type of the command line. docs/cli.md shows the same table."""

from enum import IntEnum
from typing import Any


class Exit(IntEnum):
    """What a command's exit code says; stable, for scripts."""

    OK = 0
    REFUSED = 1
    USAGE = 2
    UNREACHABLE = 3
    NOT_FOUND = 4
    TIMEOUT = 5
    FORBIDDEN = 6
    STUCK = 7
    INTERNAL = 70
    INTERRUPTED = 130


MEANING: dict[Exit, str] = {
    Exit.OK: "done; with `--wait`: the saga completed",
    Exit.REFUSED: "refused or failed; with `--wait`: the saga was compensated; "
    "`verify`, `doctor` and `conform`: findings",
    Exit.USAGE: "the command line or a file it names is not right",
    Exit.UNREACHABLE: "service, database or broker cannot be reached or is not ready",
    Exit.NOT_FOUND: "no such saga, step, definition or key; `conform`: nobody serves it",
    Exit.TIMEOUT: "the time given was over before the saga ended; it goes on",
    Exit.FORBIDDEN: "no API key, a wrong one, or one without the scope",
    Exit.STUCK: "with `--wait`: the saga is stuck and needs an operator",
    Exit.INTERNAL: "a fault of this program; AMENDS_DEBUG=1 shows where",
    Exit.INTERRUPTED: "ended by Ctrl-C",
}


class CliError(Exception):
    """What is wrong and what to do about it; shown on stderr, never as a traceback."""

    def __init__(
        self,
        what: str,
        do: str | None = None,
        *,
        exit_code: Exit = Exit.REFUSED,
        problem: dict[str, Any] | None = None,
    ) -> None:
        self.what = what
        self.do = do
        self.exit_code = exit_code
        self.problem = problem
        super().__init__(what)

    def to_json(self) -> dict[str, Any]:
        """The shape on stderr under `--json`."""
        said: dict[str, Any] = {"error": self.what, "exit": int(self.exit_code)}
        if self.do:
            said["do"] = self.do
        if self.problem:
            said["problem"] = self.problem
        return said
