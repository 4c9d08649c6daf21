"""Deliberate bugs of the SDK: the barrier's table, tombstones, intents, probes."""

from collections.abc import Sequence
from typing import Final

from amends_participants.barrier.rules import TABLE, Move, Revival, State
from amends_participants.outcomes import SUCCEEDED
from amends_simulation.mutants.table import Patch, answers, answers_later, mutant

RULES: Final = "amends_participants.barrier.rules"
BARRIER: Final = "amends_participants.barrier.store"
PASSIVE: Final = "amends_participants.runtime.passive"
OUTSIDE: Final = "amends_participants.runtime.outside"


def row_with(state: State, **moves: Move) -> Sequence[Patch]:
    """The participant's table with other moves in one row."""
    columns = ("action", "higher", "compensation", "probe")
    row = [moves.get(column, move) for column, move in zip(columns, TABLE[state], strict=True)]
    return [(RULES, "TABLE", {**TABLE, state: tuple(row)})]


@mutant
def no_tombstone() -> Sequence[Patch]:
    """A compensation that finds nothing leaves nothing behind."""
    return [(PASSIVE, "bury", answers_later(SUCCEEDED))]


@mutant
def tombstone_ignored() -> Sequence[Patch]:
    """An action runs although its compensation was there first."""
    return row_with(State.TOMBSTONE, action=Move.RUN, higher=Move.RUN)


@mutant
def barrier_purged_early() -> Sequence[Patch]:
    """The row of an action that succeeded is gone when its duplicate comes."""
    return row_with(State.SUCCEEDED, action=Move.RUN)


@mutant
def success_repeated() -> Sequence[Patch]:
    """A higher attempt of an action that succeeded runs again."""
    return row_with(State.SUCCEEDED, higher=Move.RUN)


@mutant
def failure_repeated() -> Sequence[Patch]:
    """A duplicate of an attempt that failed for good runs again."""
    return row_with(State.FAILED, action=Move.RUN, higher=Move.RUN)


@mutant
def running_buried() -> Sequence[Patch]:
    """A compensation buries an action that is still at work."""
    return row_with(State.RUNNING, compensation=Move.BURY)


@mutant
def doubt_buried() -> Sequence[Patch]:
    """A compensation buries an action whose outcome is in doubt."""
    return row_with(State.UNKNOWN, compensation=Move.BURY)


@mutant
def success_buried() -> Sequence[Patch]:
    """A compensation takes an action that succeeded for one that never was."""
    return row_with(State.SUCCEEDED, compensation=Move.BURY)


@mutant
def probe_without_looking() -> Sequence[Patch]:
    """A probe calls absent what is in doubt."""
    return row_with(State.UNKNOWN, probe=Move.CLOSE)


@mutant
def probe_without_closing() -> Sequence[Patch]:
    """A probe says absent and leaves the attempts open."""
    return [
        (BARRIER, "close_attempts", answers_later(None)),
        (BARRIER, "close_absent", answers_later(True)),
    ]


@mutant
def doubt_repeated() -> Sequence[Patch]:
    """What is in doubt runs again, whether or not the outside honours the key."""
    return [(RULES, "_in_doubt", answers(Move.RUN))]


@mutant
def dead_intent_repeated() -> Sequence[Patch]:
    """What a dead process had begun runs again, whether or not the outside honours the key."""
    return [(RULES, "on_death", answers(Revival.RUN))]


@mutant
def intent_ignored() -> Sequence[Patch]:
    """What a dead process had begun is left as it is."""
    return [(OUTSIDE, "revive", answers_later([]))]


@mutant
def undone_twice() -> Sequence[Patch]:
    """A duplicate of a compensation that succeeded undoes again."""
    return [
        (RULES, "_own_move", answers(Move.RUN)),
        *row_with(State.UNDONE, compensation=Move.UNDO),
    ]
