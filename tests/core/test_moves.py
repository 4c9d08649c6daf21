"""The table of moves: closed, reachable, and the source of the diagrams in the documentation."""

from pathlib import Path

import pytest

from amends_orchestrator.core.diagram import mermaid_saga, mermaid_steps
from amends_orchestrator.core.journal import EVENT_TYPES
from amends_orchestrator.core.kinds import Kind
from amends_orchestrator.core.moves import SAGA_MOVES, STEP_MOVE_OF, STEP_MOVES
from amends_orchestrator.core.state import TERMINAL, SagaStatus, StepStatus
from core.random_plans import random_definition
from core.world import live

PAGE = Path(__file__).parents[2] / "docs" / "state-machine.md"


def test_every_fact_of_a_step_has_its_moves() -> None:
    """A kind with a path stands in the table, one without does not."""
    with_path = {k for k, e in EVENT_TYPES.items() if "path" in e.__dataclass_fields__}
    assert {kind.value for kind in STEP_MOVES} == with_path


def test_every_status_can_be_reached_and_settled_ones_can_only_be_undone() -> None:
    """`compensated`, `skipped`, `nothing_to_compensate` absorb."""
    reached = {target for moves in STEP_MOVE_OF.values() for target in moves.values()}
    assert reached - {None} == set(StepStatus)  # None: adopted as it was
    for final in (
        StepStatus.COMPENSATED,
        StepStatus.SKIPPED,
        StepStatus.NOTHING_TO_COMPENSATE,
    ):
        assert not [kind for kind, moves in STEP_MOVE_OF.items() if final in moves]


def test_terminal_statuses_of_a_saga_absorb() -> None:
    """No fact leads out of them."""
    for kind, (sources, targets) in SAGA_MOVES.items():
        assert not TERMINAL & set(sources), kind
        assert set(targets) <= set(SagaStatus)


def test_lives_obey_the_table_of_the_saga() -> None:
    """Every status change in random lives stands in the table, under the fact that caused it."""
    seen: set[Kind] = set()
    for seed in range(60):
        world = live(random_definition(seed), seed, 60)
        before = SagaStatus.RUNNING
        for kind, status in world.saga.statuses():
            if status is not before:
                sources, targets = SAGA_MOVES[Kind(kind)]
                assert before in sources, (kind, before)
                assert status in targets, (kind, status)
                seen.add(Kind(kind))
            before = status
    assert seen >= {Kind.SAGA_COMPENSATING, Kind.SAGA_COMPLETED, Kind.SAGA_COMPENSATED}


@pytest.mark.parametrize("draw", [mermaid_saga, mermaid_steps], ids=["saga", "steps"])
def test_the_documentation_shows_the_diagram_of_the_table(draw: object) -> None:
    """docs/state-machine.md; the page holds what `core.diagram` draws."""
    assert callable(draw)
    assert str(draw()) in PAGE.read_text(encoding="utf-8")
