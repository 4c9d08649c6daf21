"""What a participant promises, as a table: the state of a row and what arrives decide the move.

This is the table of the wire contract, word for word (docs/participants.md prints it from here).
Pure: no clock, no database, no handler; the store reads and writes rows, the runtime makes moves.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from amends_contracts.messages import ActionOutcome, Effect, Outcome, Usage
from amends_contracts.names import Key

ATTEMPT_MAX: Final = 2**31 - 1
"""`attempt_closed` of a key that no further attempt may open."""


class State(StrEnum):
    """State of a row. `NONE` is the absence of one and is never stored."""

    NONE = "none"
    RUNNING = "running"
    """An attempt is at work, or its process died and nobody has settled it yet."""
    CLOSED = "closed"
    """A probe closed the attempts so far; no effect."""
    FAILED_RETRYABLE = "failed_retryable"
    FAILED = "failed"
    UNKNOWN = "unknown"
    SUCCEEDED = "succeeded"
    UNDONE = "undone"
    TOMBSTONE = "tombstone"
    """The compensation was there first: the action never takes effect."""


class Arrival(StrEnum):
    """What may arrive for the row of an action: the columns of the table."""

    ACTION_CLOSED = "action, attempt <= closed"
    ACTION_HIGHER = "action, higher attempt"
    COMPENSATION = "compensation"
    PROBE = "probe"


class Move(StrEnum):
    """What to do. The value is the sentence that the documentation shows."""

    IMPOSSIBLE = "-"
    RUN = "run"
    RUN_IF_ALLOWED = "run, if its effect class allows, else stored reply"
    LOOK_AND_RUN = "look, run if absent"
    STORED = "stored reply"
    FENCED = "`fenced`"
    JOIN = "starts nothing; answered when the running attempt ends"
    REFUSE_CLOSED = "`failed`, retryable, `amends:closed`"
    REFUSE_RUNNING = "closes the key for further attempts; `failed`, retryable (`amends:running`)"
    REFUSE_REUSED = "`unknown`, `amends:key-reused`"
    REFUSE_FORGOTTEN = "`unknown`, `amends:forgotten`"
    BURY = "tombstone, `succeeded`"
    UNDO = "undo, then the row says undone"
    LOOK_AND_UNDO = "look, or undo without output"
    UNDO_STORED = "the undo's stored reply"
    CLOSE = "close the attempts, `absent`"
    LOOK = "look: `present`, `absent`, or `unknown`"
    PRESENT = "`present`, output"
    UNDONE = "`undone`"
    ABSENT = "`absent`"
    IN_DOUBT = "`unknown`"


TABLE: Final[Mapping[State, tuple[Move, Move, Move, Move]]] = {
    #                       action <= closed     action, higher       compensation         probe
    State.NONE: (Move.IMPOSSIBLE, Move.RUN, Move.BURY, Move.CLOSE),
    State.RUNNING: (Move.JOIN, Move.JOIN, Move.REFUSE_RUNNING, Move.IN_DOUBT),
    State.CLOSED: (Move.REFUSE_CLOSED, Move.RUN, Move.BURY, Move.CLOSE),
    State.FAILED_RETRYABLE: (Move.STORED, Move.RUN, Move.BURY, Move.CLOSE),
    State.FAILED: (Move.STORED, Move.RUN, Move.BURY, Move.CLOSE),
    State.UNKNOWN: (Move.STORED, Move.RUN_IF_ALLOWED, Move.LOOK_AND_UNDO, Move.LOOK),
    State.SUCCEEDED: (Move.STORED, Move.STORED, Move.UNDO, Move.PRESENT),
    State.UNDONE: (Move.STORED, Move.STORED, Move.UNDO_STORED, Move.UNDONE),
    State.TOMBSTONE: (Move.FENCED, Move.FENCED, Move.UNDO_STORED, Move.ABSENT),
}
_COLUMN: Final = {arrival: n for n, arrival in enumerate(Arrival)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Outcome and body of a reply, as they are stored; the rest of a reply echoes its delivery."""

    outcome: Outcome
    body: bytes = b"{}"
    retryable: bool = False
    retry_after_s: float | None = None
    usage: Usage | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of the barrier, of an action or of a compensation."""

    key: Key
    command: str
    state: State
    attempt_closed: int = 0
    """Highest attempt that will never start (again)."""
    digest: str | None = None
    """Of the action's body; None while no action has arrived."""
    undo_key: Key | None = None
    """Key of the compensation that undid it, buried it or is at it."""
    answer: Answer | None = None
    """What was answered; None while running, closed or tombstone."""


def look_up(state: State, arrival: Arrival) -> Move:
    """One cell of the table."""
    return TABLE[state][_COLUMN[arrival]]


def on_action(row: Row | None, *, attempt: int, digest: str | None, effect: Effect) -> Move:
    """The move for an action. Tombstone and fence come before the digest: nothing was ever done."""
    if row is None:
        return look_up(State.NONE, Arrival.ACTION_HIGHER)
    if row.digest is not None and digest != row.digest and row.state is not State.TOMBSTONE:
        return Move.REFUSE_REUSED
    closed = attempt <= row.attempt_closed
    move = look_up(row.state, Arrival.ACTION_CLOSED if closed else Arrival.ACTION_HIGHER)
    return _in_doubt(effect) if move is Move.RUN_IF_ALLOWED else move


def on_compensation(
    own: Row | None,
    action: Row | None,
    *,
    key: Key,
    attempt: int,
    action_outcome: ActionOutcome | None,
    effect: Effect,
    forgotten: bool = False,
) -> Move:
    """The move for a compensation: first its own row, then that of the action it undoes.

    `forgotten`: the saga is older than the horizon for which this participant keeps rows.
    """
    first = _own_move(own, attempt, effect)
    if first is not Move.RUN:
        return first
    if action is None and (forgotten or action_outcome is ActionOutcome.SUCCEEDED):
        return Move.REFUSE_FORGOTTEN
    state = State.NONE if action is None else action.state
    if action is not None and state not in _ENDED and action.undo_key not in {None, key}:
        return Move.REFUSE_RUNNING  # another compensation of the same action is at it
    return look_up(state, Arrival.COMPENSATION)


def on_probe(row: Row | None) -> Move:
    """The move for a probe; whoever makes it closes the attempts up to the probe's own."""
    return look_up(State.NONE if row is None else row.state, Arrival.PROBE)


_ENDED: Final = frozenset({State.UNDONE, State.TOMBSTONE})


def _in_doubt(effect: Effect) -> Move:
    """A higher attempt of something whose outcome is unknown."""
    match effect:
        case Effect.KEYED:
            return Move.RUN
        case Effect.QUERYABLE:
            return Move.LOOK_AND_RUN
        case Effect.TRANSACTIONAL | Effect.NONE:
            return Move.STORED


def _own_move(own: Row | None, attempt: int, effect: Effect) -> Move:
    """The compensation's own row, read by the rules of actions; RUN: go on to the action's row."""
    if own is None:
        return Move.RUN
    closed = attempt <= own.attempt_closed
    move = look_up(own.state, Arrival.ACTION_CLOSED if closed else Arrival.ACTION_HIGHER)
    if move is not Move.RUN_IF_ALLOWED:
        return move
    doubt = _in_doubt(effect)
    return Move.LOOK_AND_UNDO if doubt is Move.LOOK_AND_RUN else doubt


class Revival(StrEnum):
    """What to do with an attempt whose process died."""

    RUN = "run"
    """Nothing was begun, or the outside honours the key."""
    LOOK = "look"
    REFUSE = "refuse"
    """Nothing was begun, and a compensation has closed the key."""
    GIVE_UP = "give up"
    """It is in doubt, and says so."""


def on_death(effect: Effect, *, started: bool, takeovers: int, closed_for_good: bool) -> Revival:
    """How a dead intent is settled, by its effect class; `takeovers` counts instances it outlived.

    A closed key (its compensation is waiting) starts nothing again. An attempt that has ended
    several processes is taken for their cause.
    """
    if not started:
        return Revival.REFUSE if closed_for_good else Revival.RUN
    match effect:
        case Effect.KEYED:
            return Revival.GIVE_UP if closed_for_good or takeovers > TAKEOVERS_MAX else Revival.RUN
        case Effect.QUERYABLE:
            return Revival.LOOK
        case Effect.TRANSACTIONAL | Effect.NONE:
            return Revival.GIVE_UP


TAKEOVERS_MAX: Final = 3
