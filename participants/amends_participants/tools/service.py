"""A participant whose commands are tools: functions at once, those of MCP servers at its start."""

from typing import Any

from amends_contracts.names import TOOLS
from amends_participants.app import Participant
from amends_participants.signatures import BadHandler
from amends_participants.tools.functions import Tool
from amends_participants.tools.mcp import Mcp


class ToolParticipant(Participant):
    """One that may have nothing to serve until its MCP servers have told."""

    def __init__(self, service: str, *, remote: bool) -> None:
        super().__init__(service)
        self._remote = remote

    def check(self) -> None:
        """Refuse what cannot work."""
        if self.registered() or not self._remote:
            super().check()


def participant(*tools: Tool[..., Any] | Mcp, service: str = TOOLS) -> Participant:
    """The service of these tools; in a plan `tool: refund`, or `service.refund` for another name.

    MCP servers are connected at the start; one that cannot be reached then ends the process.
    """
    servers = [one for one in tools if isinstance(one, Mcp)]
    app = ToolParticipant(service, remote=bool(servers))
    for one in tools:
        if isinstance(one, Tool):
            one.register(app)

    @app.on_start
    async def connect() -> None:
        for server in servers:
            await server.register(app)
        if not app.registered():
            raise BadHandler(f"Participant({service!r}): its MCP servers offer nothing allowed")

    @app.on_stop
    async def leave() -> None:
        for server in servers:
            await server.close()

    return app
