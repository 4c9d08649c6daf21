"""Histories of a reviewed saga that break the checker's rules of decisions, one each."""

from dataclasses import replace
from typing import Any

from amends_orchestrator.core.checker import History, SagaPast
from core.dsl import Scenario, action, definition, given


def reviewed() -> Scenario:
    """Two approve, and the action is sent."""
    saga = given(definition(action("a", input={"usd": 1}, review={"quorum": 2})))
    saga.decides("a", "approve", "ann")
    saga.decides("a", "approve", "bea")
    return saga


def with_row(n: int, **data: Any) -> History:
    """The same, and other words in one row (counted from 1)."""
    saga = reviewed()
    rows = [replace(row, data={**row.data, **data}) if row.seq == n else row for row in saga.rows]
    return History(sagas=(SagaPast(identity=saga.saga.identity, plan=saga.plan, rows=tuple(rows)),))


def decided_twice() -> History:
    """Ann alone makes the quorum."""
    return with_row(4, by="ann")


def sent_otherwise() -> History:
    """What is sent is not what was approved."""
    return with_row(6, input={"usd": 1_000})
