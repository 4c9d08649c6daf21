"""What a definition version still owes the world, read from its document alone.

As long as a saga of it has not ended, or a completed one may still be undone, its commands and
their compensations are needed. Documents of every kind and release are read: by shape alone.
"""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, cast

from amends_contracts.definition import parse_duration
from amends_contracts.messages import Json


def undo_window(document: Json) -> timedelta:
    """How long after its end a completed saga can still owe an undo: its longest `compensable_for`.

    A window opens when its step succeeds, so this errs to the long side. A step that declares none
    is waited for by nobody.
    """
    windows = (step.get("compensable_for") for step in steps_in(document))
    found = (parse_duration(window) for window in windows if isinstance(window, str))
    return max(found, default=timedelta(0))


def commands_needed(document: Json) -> frozenset[str]:
    """Every command and compensation that a saga of a resolved document may send."""
    needed: set[str] = set()
    for step in steps_in(document):
        undo = step.get("compensation")
        named = [step.get("command")]
        if isinstance(undo, dict):
            named.append(cast("dict[str, Any]", undo).get("command"))
        needed.update(name for name in named if isinstance(name, str))
    return frozenset(needed)


def steps_in(part: Json) -> Iterator[Mapping[str, Any]]:
    """Every step of a document, in its order, whatever holds it."""
    if isinstance(part, list):
        for one in cast("list[Any]", part):
            yield from steps_in(one)
    if not isinstance(part, dict):
        return
    members = cast("dict[str, Any]", part)
    if "kind" in members:
        yield members
    for name in ("steps", "cases", "otherwise", "plans"):
        yield from steps_in(members.get(name))
    branches = members.get("branches")
    if isinstance(branches, dict):
        yield from steps_in(list(cast("dict[str, Any]", branches).values()))
