"""docs/tools.md is true: its tools are served, and its plan may be registered."""

from typing import Any

from amends_contracts.messages import Reversal
from amends_orchestrator.cel import CelExpressions
from amends_orchestrator.core import verify
from docs.blocks import blocks

PAGE = "docs/tools.md"


def test_the_page_s_tools_and_plan_are_what_it_says() -> None:
    """Block after block, in one module."""
    names: dict[str, Any] = {}
    for block in blocks(PAGE, "python"):
        exec(compile("\n" * (block.line - 1) + block.code, PAGE, "exec"), names)
    commands = names["app"].hello("i").commands
    assert {name: info.reversal for name, info in commands.items()} == {
        "tools.refund": Reversal.COMPENSATABLE,
        "tools.send_mail": Reversal.IRREVERSIBLE,
        "tools.find_order": Reversal.READ_ONLY,
    }
    assert verify(names["plan"].document(), commands, CelExpressions()) == ()
    names["app"].check()
    names["shop_app"].check()
