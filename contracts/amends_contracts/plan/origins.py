"""Where in the user's own code a part of a plan was written, and errors that say so."""

import difflib
import dis
import inspect
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, cast

_OURS = ("amends_contracts", "amends_participants", "pydantic", "contextlib")


@dataclass(frozen=True, slots=True)
class Origin:
    """A place in the user's file."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class PlanError(Exception):
    """A plan that cannot be recorded: `<file>:<line>: <reason>; <remedy>`."""

    def __init__(self, reason: str, remedy: str | None = None, at: Origin | None = None) -> None:
        self.reason = reason
        self.remedy = remedy
        self.at = at or here()
        super().__init__(f"{self.at}: {reason}" + (f"; {remedy}" if remedy else ""))


def here() -> Origin:
    """The user's line that is being executed."""
    frame = user_frame()
    if frame is None:
        return Origin("<unknown>", 0)
    return Origin(shown(frame.f_code.co_filename), frame.f_lineno)


def user_frame() -> FrameType | None:
    """The innermost frame that is neither ours nor pydantic's."""
    frame = inspect.currentframe()
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if module.partition(".")[0] not in _OURS:
            return frame
        frame = frame.f_back
    return None


def shown(filename: str) -> str:
    """Relative to the working directory where the file lies below it."""
    try:
        return str(Path(filename).relative_to(Path.cwd()))
    except (ValueError, OSError):
        return filename


def assigned_name() -> str | None:
    """The variable that the user's current call is assigned to: `flight = plan.do(…)`.

    Read from the bytecode that follows the call, so it works without the source text; None if the
    call is part of a larger expression, or the interpreter writes bytecode that we cannot read.
    """
    frame = user_frame()
    if frame is None:
        return None
    try:
        return _stored_after(frame.f_code, frame.f_lasti)
    except (IndexError, TypeError, ValueError):
        return None


def _stored_after(code: CodeType, offset: int) -> str | None:
    following = _after(dis.get_instructions(code), offset)
    instruction = next(following, None)
    if instruction is not None and instruction.opname == "COPY":  # a = b = plan.do(…), walrus
        instruction = next(following, None)
    if instruction is None or not instruction.opname.startswith("STORE_"):
        return None
    if instruction.opname in ("STORE_SUBSCR", "STORE_SLICE"):
        return None
    stored: Any = instruction.argval  # of a superinstruction (3.13): both names, ours first
    if isinstance(stored, tuple):
        stored = cast(tuple[Any, ...], stored)[0]
    return stored if isinstance(stored, str) else None


def _after(instructions: Iterable[dis.Instruction], offset: int) -> Iterator[dis.Instruction]:
    for instruction in instructions:
        if instruction.offset > offset and instruction.opname != "CACHE":
            yield instruction


def did_you_mean(word: str, among: Iterable[str]) -> str:
    """`did you mean 'price'?`, or the list of what there is."""
    known = sorted(among)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"there is: {', '.join(known) or 'nothing'}"
