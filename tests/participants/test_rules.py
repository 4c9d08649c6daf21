"""The promise table by itself: every cell, and what surrounds it."""

import itertools

import pytest

from amends_contracts.messages import ActionOutcome, Effect
from amends_contracts.names import Key
from amends_participants.barrier import rules
from amends_participants.barrier.rules import Arrival, Move, Revival, Row, State

WIRE = """
none             | -                  | run                | tombstone          | close absent
running          | joins              | joins              | amends:running     | unknown
closed           | amends:closed      | run                | tombstone          | close absent
failed_retryable | stored             | run                | tombstone          | close absent
failed           | stored             | run                | tombstone          | close absent
unknown          | stored             | if allowed         | look or undo       | look
succeeded        | stored             | stored             | undo               | present
undone           | stored             | stored             | undo's stored      | undone
tombstone        | fenced             | fenced             | undo's stored      | absent
"""
WORDS = {
    "-": Move.IMPOSSIBLE,
    "run": Move.RUN,
    "tombstone": Move.BURY,
    "close absent": Move.CLOSE,
    "joins": Move.JOIN,
    "amends:running": Move.REFUSE_RUNNING,
    "unknown": Move.IN_DOUBT,
    "amends:closed": Move.REFUSE_CLOSED,
    "stored": Move.STORED,
    "if allowed": Move.RUN_IF_ALLOWED,
    "look or undo": Move.LOOK_AND_UNDO,
    "look": Move.LOOK,
    "undo": Move.UNDO,
    "present": Move.PRESENT,
    "undo's stored": Move.UNDO_STORED,
    "undone": Move.UNDONE,
    "fenced": Move.FENCED,
    "absent": Move.ABSENT,
}
ACTION = Key("s/step/action")
UNDO = Key("s/step/compensation")


def row(state: State, key: Key = ACTION, closed: int = 1, undo_key: Key | None = None) -> Row:
    """A row in this state whose attempt 1 is closed."""
    return Row(
        key=key,
        command="bank.charge",
        state=state,
        attempt_closed=closed,
        digest="d",
        undo_key=undo_key,
    )


def compensate(own: Row | None, action: Row | None, **more: object) -> Move:
    """The move for attempt 2 of a compensation of which nothing else is said."""
    given: dict[str, object] = {
        "key": UNDO,
        "attempt": 2,
        "action_outcome": ActionOutcome.UNKNOWN,
        "effect": Effect.TRANSACTIONAL,
        **more,
    }
    return rules.on_compensation(own, action, **given)  # type: ignore[arg-type]


def test_the_table_is_the_contracts() -> None:
    """Each cell is what the wire contract says."""
    lines = [[c.strip() for c in line.split("|")] for line in WIRE.strip().splitlines()]
    read = {State(cells[0]): tuple(WORDS[c] for c in cells[1:]) for cells in lines}
    assert read == rules.TABLE


@pytest.mark.parametrize("state", [s for s in State if s is not State.NONE])
def test_an_action_meets_its_row(state: State) -> None:
    """An attempt is compared with the highest one closed; the table says the rest."""
    told = {
        attempt: rules.on_action(
            row(state), attempt=attempt, digest="d", effect=Effect.TRANSACTIONAL
        )
        for attempt in (1, 2)
    }
    higher = rules.look_up(state, Arrival.ACTION_HIGHER)
    assert told == {
        1: rules.look_up(state, Arrival.ACTION_CLOSED),
        2: Move.STORED if higher is Move.RUN_IF_ALLOWED else higher,
    }


def test_a_new_action_runs() -> None:
    """Without a row there is nothing to compare with."""
    assert rules.on_action(None, attempt=1, digest="d", effect=Effect.NONE) is Move.RUN


@pytest.mark.parametrize(
    ("effect", "move"),
    [
        (Effect.KEYED, Move.RUN),
        (Effect.QUERYABLE, Move.LOOK_AND_RUN),
        (Effect.NONE, Move.STORED),
        (Effect.TRANSACTIONAL, Move.STORED),
    ],
)
def test_a_doubt_is_settled_by_effect_class(effect: Effect, move: Move) -> None:
    """A higher attempt of an unknown outcome runs only where that is safe."""
    assert rules.on_action(row(State.UNKNOWN), attempt=2, digest="d", effect=effect) is move


@pytest.mark.parametrize("state", [s for s in State if s is not State.NONE])
@pytest.mark.parametrize("attempt", [1, 2])
def test_another_body_under_the_same_key_does_nothing(state: State, attempt: int) -> None:
    """A key with another digest is refused in every state but the tombstone, which fences."""
    move = rules.on_action(row(state), attempt=attempt, digest="other", effect=Effect.KEYED)
    assert move is (Move.FENCED if state is State.TOMBSTONE else Move.REFUSE_REUSED)


@pytest.mark.parametrize("state", list(State))
def test_a_compensation_meets_the_actions_row(state: State) -> None:
    """With no row of its own, the action's decides."""
    action = None if state is State.NONE else row(state)
    assert compensate(None, action) is rules.look_up(state, Arrival.COMPENSATION)


def test_an_effect_we_are_told_of_but_do_not_know_is_forgotten() -> None:
    """No row, yet the engine knows of a success: never a null compensation."""
    told = compensate(None, None, action_outcome=ActionOutcome.SUCCEEDED)
    assert told is Move.REFUSE_FORGOTTEN
    assert compensate(None, None, forgotten=True) is Move.REFUSE_FORGOTTEN


@pytest.mark.parametrize(
    ("own", "effect", "move"),
    [
        (State.RUNNING, Effect.KEYED, Move.JOIN),
        (State.SUCCEEDED, Effect.KEYED, Move.STORED),
        (State.FAILED, Effect.KEYED, Move.UNDO),
        (State.FAILED_RETRYABLE, Effect.KEYED, Move.UNDO),
        (State.UNKNOWN, Effect.KEYED, Move.UNDO),
        (State.UNKNOWN, Effect.QUERYABLE, Move.LOOK_AND_UNDO),
        (State.UNKNOWN, Effect.NONE, Move.STORED),
    ],
)
def test_a_compensation_has_a_row_of_its_own(own: State, effect: Effect, move: Move) -> None:
    """A higher attempt of an undo meets its own row first, by the rules of actions."""
    told = compensate(row(own, UNDO), row(State.SUCCEEDED), effect=effect)
    assert told is move


def test_a_repeated_attempt_of_an_undo_is_answered_as_before() -> None:
    """Attempt 1 again, whatever it was answered."""
    for state in (State.FAILED_RETRYABLE, State.FAILED, State.UNKNOWN, State.SUCCEEDED):
        told = compensate(row(state, UNDO), row(State.SUCCEEDED), attempt=1)
        assert told is Move.STORED


def test_two_undos_of_one_action_do_not_overlap() -> None:
    """Another compensation at the same action waits; once undone, it hears the same."""
    other = Key("late/step/compensation")
    assert compensate(None, row(State.SUCCEEDED, undo_key=other)) is Move.REFUSE_RUNNING
    assert compensate(None, row(State.SUCCEEDED, undo_key=UNDO)) is Move.UNDO
    assert compensate(None, row(State.UNDONE, undo_key=other)) is Move.UNDO_STORED


@pytest.mark.parametrize("state", list(State))
def test_a_probe_meets_the_actions_row(state: State) -> None:
    """The table again."""
    probed = None if state is State.NONE else row(state)
    assert rules.on_probe(probed) is rules.look_up(state, Arrival.PROBE)


def test_what_died_unstarted_is_never_in_doubt() -> None:
    """Nothing was begun: it runs, unless its compensation has closed the key."""
    for effect, closed in itertools.product(Effect, (False, True)):
        way = rules.on_death(effect, started=False, takeovers=0, closed_for_good=closed)
        assert way is (Revival.REFUSE if closed else Revival.RUN)


@pytest.mark.parametrize(
    ("effect", "takeovers", "closed", "way"),
    [
        (Effect.KEYED, 1, False, Revival.RUN),
        (Effect.KEYED, 1, True, Revival.GIVE_UP),
        (Effect.KEYED, rules.TAKEOVERS_MAX + 1, False, Revival.GIVE_UP),
        (Effect.QUERYABLE, 1, False, Revival.LOOK),
        (Effect.QUERYABLE, 1, True, Revival.LOOK),
        (Effect.NONE, 1, False, Revival.GIVE_UP),
    ],
)
def test_what_died_at_work_is_settled_by_effect_class(
    effect: Effect, takeovers: int, closed: bool, way: Revival
) -> None:
    """Run again under the same key, look, or say unknown."""
    told = rules.on_death(effect, started=True, takeovers=takeovers, closed_for_good=closed)
    assert told is way
