"""docs/participants.md is true: its Python runs, its table is the code's."""

import os
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from sqlalchemy import text

from amends_participants.barrier.rules import TABLE, Move, State
from amends_participants.runtime import ParticipantSettings
from docs.blocks import ROOT, blocks
from participants.world import World

PAGE = "docs/participants.md"
TITLES = (
    "row of the action",
    "action, attempt <= closed",
    "action, higher attempt",
    "compensation",
    "probe",
)
ROWS = {State.FAILED_RETRYABLE: "`failed`, retryable", State.FAILED: "`failed`, final"}


def table() -> str:
    """The promise table in Markdown."""
    lines = [f"| {' | '.join(TITLES)} |", "|---" * len(TITLES) + "|"]
    for state, moves in TABLE.items():
        cells = [move.value for move in moves]
        if state is State.NONE:
            cells[2] += " (if the action is known to have succeeded: " + f"{Move.REFUSE_FORGOTTEN})"
        name = ROWS.get(state, state.value)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def test_the_table_on_the_page_is_the_code_s() -> None:
    """Made from the rules; `AMENDS_WRITE_DOCS=1` writes it."""
    file = Path(ROOT) / PAGE
    pattern = re.compile(r"(<!-- table: begin[^\n]*-->\n).*?(<!-- table: end -->)", re.DOTALL)
    page = file.read_text()
    wanted = pattern.sub(lambda m: f"{m[1]}{table()}\n{m[2]}", page)
    if os.environ.get("AMENDS_WRITE_DOCS"):
        file.write_text(wanted)
    assert page == wanted


def test_every_setting_is_on_the_page() -> None:
    """None is missing, and none is made up."""
    page = (Path(ROOT) / PAGE).read_text().partition("## Settings")[2].partition("Traces:")[0]
    named = set(re.findall(r"`AMENDS_([A-Z_]+)`", page))
    assert named == {name.upper() for name in ParticipantSettings.model_fields}


async def test_the_page_s_python_runs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block continues the one before it; the test in it passes."""
    module = ModuleType("participants_page")
    monkeypatch.setitem(sys.modules, "participants_page", module)
    for block in blocks(PAGE, "python"):
        exec(compile("\n" * (block.line - 1) + block.code, PAGE, "exec"), vars(module))
    async with world.engine.begin() as conn:
        await conn.execute(
            text("CREATE TABLE seat (code text, destination text, usd integer, held_by text)")
        )
        await conn.execute(text("INSERT INTO seat VALUES ('12A', 'Lisbon', 180, NULL)"))

    async def free_seats() -> object:
        return await world.scalar("SELECT count(*) FROM seat WHERE held_by IS NULL")

    await module.test_a_seat_is_held_and_freed(world.url, free_seats)
    assert await free_seats() == 1
