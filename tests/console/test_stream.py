"""The poll that all viewers share."""

from amends_orchestrator.console.stream import each
from amends_orchestrator.engine.ports import BadData


async def find(key: str) -> int:
    """A page by its cursor."""
    if key == "unkept":
        raise BadData
    return int(key)


async def test_what_makes_no_sense_disturbs_nobody_else() -> None:
    """One viewer's bad cursor is left out; the others see their pages."""
    assert await each(find, ["1", "bad", "unkept", "2"]) == {"1": 1, "2": 2}
