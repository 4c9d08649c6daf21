"""What a step path says about repetition: `legs[2].poll#3.check` lies in two frames.

A frame is one run through the body of something that repeats: an item of an `each`, numbered from
0, or an iteration of a `repeat`, from 1. What only groups (parallel, choice, alternatives) adds no
frame. Paths are made by `path_of` and by the two functions here, and read by `frames_of`.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from amends_contracts.names import StepPath

_FRAME: Final = re.compile(r"([a-z][a-z0-9_-]*)(?:\[(\d+)\]|#(\d+))\.")


@dataclass(frozen=True, slots=True)
class Frame:
    """One run through a body."""

    prefix: str
    """Of the paths of the steps in it: `legs[2].`."""
    holder: StepPath
    """The step that repeats: `legs`."""
    id: str
    """That step's id."""
    number: int
    each: bool
    """An item of an `each`; else an iteration of a `repeat`."""


def prefix_of(path: str) -> str:
    """The prefix that a step shares with its neighbours; empty at the top."""
    return path[: path.rfind(".") + 1]


def item_prefix(each: str, index: int) -> str:
    """The prefix of what runs for one item."""
    return f"{each}[{index}]."


def turn_prefix(repeat: str, turn: int) -> str:
    """The prefix of what runs in one iteration."""
    return f"{repeat}#{turn}."


@lru_cache(maxsize=4096)
def frames_of(prefix: str) -> tuple[Frame, ...]:
    """The frames that a prefix (or a path) lies in, outermost first."""
    found: list[Frame] = []
    for match in _FRAME.finditer(prefix):
        name, item, turn = match.groups()
        holder = StepPath(prefix[: match.start()] + name)
        number = int(turn if item is None else item)
        found.append(Frame(prefix[: match.end()], holder, name, number, item is not None))
    return tuple(found)


def prefix_at(prefix: str, depth: int) -> str:
    """The prefix of the frame at `depth`, of those that `prefix` lies in; 0 is the top."""
    return frames_of(prefix)[depth - 1].prefix if depth else ""
