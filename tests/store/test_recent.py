"""What the store remembers of rows it wrote: bounded, and nothing of what may not be there."""

from amends_contracts.names import SagaId
from amends_orchestrator.store.recent import ROW_BYTES, SAGA_BYTES, RecentRows

A, B = SagaId("a"), SagaId("b")
EMPTY_SAGA = SAGA_BYTES + ROW_BYTES


def test_rows_are_known_by_saga_and_seq() -> None:
    """Of the sagas asked for, all rows that were kept, from whatever batch."""
    recent = RecentRows()
    recent.keep([A, B], [1, 1], ['{"n":1}', "{}"])
    recent.keep([A], [2], ['{"n":2}'])
    assert recent.of([A, SagaId("c")]) == {A: {1: '{"n":1}', 2: '{"n":2}'}}


def test_whose_turn_was_longest_ago_is_forgotten_first() -> None:
    """Two sagas fit; a third drives out the one that has not moved since."""
    recent = RecentRows(bytes_max=2 * EMPTY_SAGA + ROW_BYTES)
    recent.keep([A, B], [1, 1], ["", ""])
    recent.keep([A], [2], [""])
    recent.keep([SagaId("c")], [1], [""])
    assert recent.of([A, B, SagaId("c")]).keys() == {A, SagaId("c")}


def test_a_saga_that_has_ended_makes_room() -> None:
    """What it took is there for others again."""
    recent = RecentRows(bytes_max=EMPTY_SAGA)
    recent.keep([A], [1], [""])
    recent.forget([A, B])
    recent.keep([B], [1], [""])
    assert recent.of([A, B]) == {B: {1: ""}}


def test_nothing_is_known_after_a_clear() -> None:
    """A server that was away may come back knowing less."""
    recent = RecentRows(bytes_max=EMPTY_SAGA)
    recent.keep([A], [1], [""])
    recent.clear()
    recent.keep([B], [1], [""])
    assert recent.of([A, B]) == {B: {1: ""}}


def test_a_row_that_is_kept_again_is_counted_once() -> None:
    """A commit in doubt is repeated with the same rows."""
    recent = RecentRows(bytes_max=EMPTY_SAGA)
    for _ in range(3):
        recent.keep([A], [1], [""])
    assert recent.of([A]) == {A: {1: ""}}
