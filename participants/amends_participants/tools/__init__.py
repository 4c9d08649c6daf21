"""Tools that can be taken back: Python functions and MCP servers as a participant.

    @tool(effect="keyed", cap="usd <= 2000.0")
    async def refund(effect: Effect, order: str, usd: float) -> Refund: ...

    @refund.undo
    async def charge_back(effect: Effect, done: Refund | None) -> None: ...

    app = participant(refund, Mcp("https://orders.example/mcp", allow=["get_*"]))

Needs the extra `tools` of amends-participants.
"""

from amends_participants.tools.caps import BadCap
from amends_participants.tools.egress import Allow, Forbidden, http_client
from amends_participants.tools.functions import BadTool, Tool, tool
from amends_participants.tools.mcp import Mcp, McpUndo
from amends_participants.tools.service import participant

__all__ = [
    "Allow",
    "BadCap",
    "BadTool",
    "Forbidden",
    "Mcp",
    "McpUndo",
    "Tool",
    "http_client",
    "participant",
    "tool",
]
