"""What facts between sagas change (adopted steps, who asked); a part of `evolve`."""

from typing import TYPE_CHECKING

from amends_orchestrator.core.journal_undo import StepAdopted
from amends_orchestrator.core.state import Asker, replace
from amends_orchestrator.core.state_json import step_from_json

if TYPE_CHECKING:
    from amends_orchestrator.core.evolve import Draft


def apply_adopted(draft: "Draft", event: StepAdopted, seq: int) -> None:
    """The step is as it was, with its payloads in this row."""
    assert event.path not in draft.steps, f"{event.path} is adopted twice"
    step = step_from_json(event.state)
    loop = step.loop
    draft.steps[event.path] = replace(
        step,
        input_seq=seq if step.input_seq else 0,
        output_seq=seq if step.output_seq else 0,
        undo_seq=seq if step.undo_seq else 0,
        loop=replace(loop, failure_seq=seq) if loop.failure_seq else loop,
    )


def asked_by(asked: tuple[Asker, ...], asker: Asker) -> tuple[Asker, ...]:
    """Who waits now: of each operation of a step the latest attempt."""
    same = (asker.saga_id, asker.path, asker.op)
    return (*(a for a in asked if (a.saga_id, a.path, a.op) != same), asker)
