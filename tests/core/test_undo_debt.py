"""What a version still needs, read from its document whatever kinds its steps have."""

from datetime import timedelta
from typing import Any

from amends_orchestrator.core.undo_debt import commands_needed, steps_in, undo_window
from core.dsl import action, choice, parallel

EACH: dict[str, Any] = {"kind": "each", "id": "e", "items": [], "steps": [action("a")]}
PLANS = [{"name": "one", "steps": [action("b", compensable_for="P2D")]}]
ALTERNATIVES: dict[str, Any] = {"kind": "alternatives", "id": "x", "plans": PLANS}
LATER = {"kind": "of-a-later-release", "id": "l", "command": "ls.do"}
DOCUMENT: dict[str, Any] = {
    "name": "t",
    "steps": [
        parallel("p", one=[EACH], two=[ALTERNATIVES]),
        choice("c", ("${ true }", [action("d", compensable_for="PT1H")]), otherwise=[LATER]),
        action("f", input={"steps": [{"kind": "no step", "command": "no.command"}]}),
    ],
}


def test_every_step_is_seen_and_nothing_else() -> None:
    """However deep it stands; what only looks like a step within an input is none."""
    seen = [step["id"] for step in steps_in(DOCUMENT)]
    assert seen == ["p", "e", "a", "x", "b", "c", "d", "l", "f"]


def test_what_is_needed_are_commands_and_their_compensations() -> None:
    """Of every step."""
    steps = ("a", "b", "d", "f")
    both = {f"{name}s.{verb}" for name in steps for verb in ("do", "undo")}
    assert commands_needed(DOCUMENT) == both | {"ls.do"}


def test_the_longest_window_counts() -> None:
    """Without any, nothing is owed after the end."""
    assert undo_window(DOCUMENT) == timedelta(days=2)
    assert undo_window({"steps": [action("a")]}) == timedelta(0)
