"""Which cells there are, and what must come of them: rules as sentences, without a server."""

import pytest

from amends_contracts.messages import Json
from amends_contracts.names import StepPath
from amends_orchestrator.cel import CelExpressions
from amends_orchestrator.core import Plan, SagaStatus, compile_plan
from amends_orchestrator.drills.matrix import Cell, Fault, cells
from amends_orchestrator.drills.oracle import Foreseen, fitting, foresee
from amends_orchestrator.drills.pace import Pace, hurried
from amends_orchestrator.drills.scripts import Script
from drills.field import definition, step

UNDO = {"command": "bank.refund"}
FOREVER = {"max_attempts": None}
SHOP = definition(
    step("hold", "stock.hold", compensation={"command": "stock.free"}),
    step("pay", "bank.charge", compensation=UNDO, pivot=True, probe=True),
    step("send", "mail.send", reversal="irreversible", retry=FOREVER),
)
PATHS = [StepPath(name) for name in ("hold", "pay", "send")]
OUTPUTS: dict[StepPath, Json] = {path: {} for path in PATHS}


def plan(*, probes: bool = True) -> Plan:
    """The shop's plan in a hurry."""
    return compile_plan(hurried(SHOP, Pace(), probes=probes), CelExpressions())


def test_a_fault_is_tried_where_it_applies() -> None:
    """No undo is drilled where there is none, no probe where nobody can look."""
    every = cells(plan(), PATHS)
    undone = {Fault.UNDO_FAILS, Fault.UNDO_FIRST}
    assert every[0] == Cell(StepPath(""), Fault.CALM)
    assert {c.fault for c in every if c.step == "send"}.isdisjoint(undone)
    assert [c.step for c in every if c.fault is Fault.REPLY_LOST_PROBED] == ["pay"]
    assert len(every) == 1 + 11 + 12 + 9


@pytest.mark.parametrize(
    ("at", "fault", "status", "held"),
    [
        ("hold", Fault.FAILS_BEFORE, SagaStatus.COMPENSATED, ""),
        ("hold", Fault.REPLY_LOST, SagaStatus.COMPENSATED, ""),
        ("hold", Fault.SUCCEEDS_LATE, SagaStatus.COMPENSATED, ""),
        ("hold", Fault.UNDO_FIRST, SagaStatus.COMPENSATED, ""),
        ("hold", Fault.UNDO_FAILS, SagaStatus.COMPENSATED, ""),
        ("hold", Fault.CANCELLED, SagaStatus.COMPENSATED, ""),
        ("hold", Fault.COMMAND_TWICE, SagaStatus.COMPLETED, "hold pay send"),
        ("pay", Fault.FAILS_BEFORE, SagaStatus.COMPENSATED, ""),
        ("pay", Fault.REPLY_LOST_PROBED, SagaStatus.COMPLETED, "hold pay send"),
        ("send", Fault.FAILS_BEFORE, SagaStatus.COMPLETED, "hold pay send"),
        ("send", Fault.REPLY_LOST, SagaStatus.COMPLETED, "hold pay send"),
        ("send", Fault.CANCELLED, SagaStatus.COMPLETED, "hold pay send"),
    ],
)
def test_the_oracle_says_how_a_saga_must_end(
    at: str, fault: Fault, status: SagaStatus, held: str
) -> None:
    """Before the pivot everything is undone; after it, it is done in the end."""
    here = plan(probes=fault is not Fault.REPLY_LOST and fault is not Fault.SUCCEEDS_LATE)
    _, foreseen = fitting(here, {}, OUTPUTS, Script(Cell(StepPath(at), fault)))
    assert foreseen == Foreseen(status, frozenset(map(StepPath, held.split())))


def test_what_the_plan_cannot_bear_for_good_passes() -> None:
    """After the pivot a failure for good would leave the saga to a person."""
    lasting, _ = fitting(plan(), {}, OUTPUTS, Script(Cell(StepPath("hold"), Fault.FAILS_BEFORE)))
    passing, _ = fitting(plan(), {}, OUTPUTS, Script(Cell(StepPath("send"), Fault.FAILS_BEFORE)))
    assert (lasting.lasting, passing.lasting) == (True, False)


def test_nothing_is_foreseen_of_a_step_that_nobody_has_seen() -> None:
    """The calm run did not go there, so that its output is not known."""
    script = Script(Cell(StepPath("send"), Fault.REPLY_TWICE))
    assert foresee(plan(), {}, {StepPath("hold"): {}}, script) is None


def test_where_a_command_may_not_be_drilled_the_saga_turns_back() -> None:
    """The drill refuses it by itself, and what came before is undone."""
    script = Script(Cell(StepPath(""), Fault.CALM), barred=frozenset({"pay"}))
    foreseen = foresee(plan(), {}, OUTPUTS, script)
    assert foreseen == Foreseen(SagaStatus.COMPENSATED, frozenset())


def test_a_hurry_keeps_how_often_something_is_tried() -> None:
    """Only times shrink, those of undos too."""
    hold = hurried(SHOP, Pace()).steps[0].model_dump()
    assert hold["timeout"] == hold["compensation"]["timeout"] == "PT0.5S"
    assert hold["retry"]["max_attempts"] == 3
    assert hold["retry"]["max"] == "PT0.04S"
