"""Tools of an MCP server: found when the participant starts, and called under our barrier.

What a server says of its tools (annotations) decides effect and reversal, unless you say it: a
server that you do not trust is given `trust=False`, and is then believed nothing.
"""

import re
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import Annotated, Any, Final, TypeAlias, cast

import httpx2
import jsonschema_rs
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.server import MCPServer
from mcp_types import CallToolResult, TextContent
from mcp_types import Tool as Listed
from pydantic import ConfigDict, WithJsonSchema, model_validator

from amends_contracts.command import Command, EffectName
from amends_contracts.messages import Json, Reversal
from amends_contracts.names import is_command_name, tool_command
from amends_contracts.problems import ProblemType
from amends_participants.app import Participant
from amends_participants.effects import Effect, Undo
from amends_participants.outcomes import Failed, Unknown
from amends_participants.tools.caps import Cap
from amends_participants.tools.egress import Allow, Egress, Forbidden
from amends_participants.tools.session import Session

Server: TypeAlias = str | StdioServerParameters | MCPServer
KEY: Final = "amends/key"
"""In `_meta` of every call: the idempotency key, the same for every attempt."""
CALL_TIMEOUT_S: Final = 60.0
_REFUSED: Final = frozenset({-32600, -32601, -32602})
"""Codes of JSON-RPC by which a server says that it did nothing."""


@dataclass(frozen=True, slots=True)
class McpUndo:
    """The tool of the same server that takes another back, and what it is called with."""

    tool: str
    arguments: Callable[[dict[str, Json], dict[str, Json] | None], dict[str, Json]]
    """From the recorded input and output; the output is None if the outcome is unknown."""


@dataclass(slots=True, eq=False)
class Mcp:
    """An MCP server: a URL (streamable HTTP), a command (stdio), or one in this process."""

    server: Server
    allow: Sequence[str] = ()
    """Patterns of the tools that may be called; nothing else is offered."""
    trust: bool = True
    """Whether its annotations are believed."""
    read_only: Sequence[str] = ()
    """Patterns of tools that only read, whatever the server says."""
    keyed: Sequence[str] = ()
    """Patterns of tools that honour `amends/key`, or may be called twice for other reasons."""
    undo: Mapping[str, McpUndo] = field(default_factory=dict[str, McpUndo])
    """By tool; one without an undo that does not only read is irreversible."""
    caps: Mapping[str, str] = field(default_factory=dict[str, str])
    """By tool, a condition in CEL on its input."""
    reach: Allow = field(default_factory=Allow)
    """Which addresses a URL, and what it redirects to, may lead to."""
    timeout_s: float = CALL_TIMEOUT_S
    _session: Session | None = field(default=None, repr=False)

    async def register(self, app: Participant) -> None:
        """Connect, and serve what is allowed of what the server has."""
        self._session = Session(self._connect)
        client = await self._session.client()
        cursor: str | None = None
        while True:
            page = await client.list_tools(cursor=cursor)
            for listed in page.tools:
                if any(fnmatch(listed.name, pattern) for pattern in self.allow):
                    self._offer(app, listed)
            cursor = page.next_cursor
            if cursor is None:
                return

    async def close(self) -> None:
        """Leave the server."""
        if self._session is not None:
            await self._session.close()

    @asynccontextmanager
    async def _connect(self) -> AsyncGenerator[Client]:
        if not isinstance(self.server, str):
            async with Client(self.server, read_timeout_seconds=self.timeout_s) as client:
                yield client
            return
        async with httpx2.AsyncClient(
            transport=Egress(self.reach),
            follow_redirects=True,
            timeout=self.timeout_s,
            trust_env=False,
        ) as http:
            transport = streamable_http_client(self.server, http_client=http)
            async with Client(transport, read_timeout_seconds=self.timeout_s) as client:
                yield client

    def _offer(self, app: Participant, listed: Listed) -> None:
        verb = verb_of(listed.name)
        undo = self.undo.get(listed.name)
        reversal = self._reversal(listed, undo)
        model = _command(app.service, verb, listed, self._effect(listed), reversal)
        names = frozenset(listed.input_schema.get("properties", {}))
        cap = None if listed.name not in self.caps else Cap(self.caps[listed.name], names)

        async def act(cmd: Any, effect: Any) -> Any:
            given = cast("dict[str, Json]", cmd.model_dump(mode="json"))
            if cap is not None and not cap.holds(given):
                raise Failed(ProblemType.NOT_ALLOWED, f"{listed.name}: beyond its cap {cap.text}")
            return await self._call(listed.name, given, effect.key)

        act.__annotations__ = {"cmd": model, "effect": Effect}
        app.action(model)(act)
        if undo is None or reversal is not Reversal.COMPENSATABLE:
            return

        async def take_back(undone: Any) -> None:
            given = cast("dict[str, Json]", undone.input.model_dump(mode="json"))
            arguments = undo.arguments(given, undone.output)
            await self._call(undo.tool, arguments, undone.effect.key)

        take_back.__annotations__ = {"undone": Undo[model, Any]}
        app.compensation(model)(take_back)

    def _effect(self, listed: Listed) -> EffectName:
        hints = listed.annotations
        told = self.trust and hints is not None and bool(hints.idempotent_hint)
        keyed = told or self._reads(listed) or _matches(listed.name, self.keyed)
        return "keyed" if keyed else "none"

    def _reads(self, listed: Listed) -> bool:
        hints = listed.annotations
        told = self.trust and hints is not None and bool(hints.read_only_hint)
        return told or _matches(listed.name, self.read_only)

    def _reversal(self, listed: Listed, undo: McpUndo | None) -> Reversal:
        if undo is not None:
            return Reversal.COMPENSATABLE
        return Reversal.READ_ONLY if self._reads(listed) else Reversal.IRREVERSIBLE

    async def _call(self, name: str, arguments: dict[str, Json], key: str) -> dict[str, Json]:
        """The output. What the server did not refuse outright may have been done."""
        assert self._session is not None, "connected when it was registered"
        try:
            client = await self._session.client()
        except Exception as error:  # noqa: BLE001 - whatever keeps a server from being there
            detail = f"{name}: its server cannot be reached ({type(error).__name__})"
            raise Failed("tool-unreachable", detail, retryable=True) from None
        try:
            result = await client.call_tool(name, arguments, meta=cast(Any, {KEY: key}))
        except MCPError as error:
            if error.code in _REFUSED:
                raise Failed("tool-refused", f"{name}: {error.message}"[:300]) from None
            raise Unknown("tool-broken", f"{name}: error {error.code}") from None
        except Exception as error:  # noqa: BLE001 - whatever a connection breaks with
            await self._session.close()
            if isinstance(error, Forbidden):
                raise Failed(ProblemType.NOT_ALLOWED, str(error)) from None
            raise Unknown("tool-broken", f"{name}: {type(error).__name__}") from None
        return _output(name, result)


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def verb_of(name: str) -> str:
    """A tool's name as the verb of a command: `getOrder` is `getorder`, `a/b` is `a_b`."""
    verb = re.sub(r"[^a-z0-9_-]", "_", name.lower())
    if not is_command_name(tool_command(verb)):
        raise ValueError(f"the tool {name!r} has no name that a command could have")
    return verb


def _output(name: str, result: CallToolResult) -> dict[str, Json]:
    texts = [part.text for part in result.content if isinstance(part, TextContent)]
    if result.is_error:
        raise Unknown("tool-error", f"{name}: {' '.join(texts)}"[:1000])
    structured: Json = result.structured_content
    if isinstance(structured, dict):
        return cast("dict[str, Json]", structured)
    return {"text": "\n".join(texts)}


def _command(
    service: str, verb: str, listed: Listed, effect: EffectName, reversal: Reversal
) -> type[Command[Any]]:
    """The command that a listing describes: its schema is the server's own."""
    schema = dict(listed.input_schema)
    validator: Any = jsonschema_rs.validator_for(schema, retriever=_retrieve_nothing)
    described = listed.output_schema or {"type": "object"}
    output: Any = Annotated[dict[str, Any], WithJsonSchema(described)]

    class Listing(Command[output], name=f"{service}.{verb}", effect=effect, reversal=reversal):
        model_config = ConfigDict(extra="allow")

        @model_validator(mode="before")
        @classmethod
        def fits(cls, value: Any) -> Any:
            for error in validator.iter_errors(value):
                raise ValueError(error.message)
            return value

        @classmethod
        def model_json_schema(cls, *_: Any, **__: Any) -> dict[str, Any]:
            return schema

    Listing.__name__ = verb
    return Listing


def _retrieve_nothing(uri: str) -> Json:
    raise LookupError(f"schemas are not fetched: {uri}")
