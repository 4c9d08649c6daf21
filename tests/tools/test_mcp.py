"""MCP servers as tools: what is offered, under which promises, and what their errors mean."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest
from mcp import StdioServerParameters

from amends_contracts.messages import Effect, Hello, Reversal
from amends_participants import BadHandler, Command, Participant
from amends_participants.testing import failed, given, succeeded, unknown
from amends_participants.tools import Mcp, McpUndo, participant
from tools.shop_server import ORDERS, shop

CANCEL = McpUndo("cancel_order", lambda given, done: {"order": (done or given)["id"]})
ALLOWED = ["get_*", "place*"]


def server(**more: Any) -> Mcp:
    """The shop in this process."""
    return Mcp(shop, allow=ALLOWED, undo={"placeOrder": CANCEL}, **more)


async def started(app: Participant) -> Hello:
    """What it says of itself once it has asked its servers."""
    for hook in app.start_hooks:
        await hook()
    for hook in app.stop_hooks:
        await hook()
    return app.hello("i")


async def command(app: Participant, name: str, **fields: Any) -> Command[Any]:
    """A command of a tool, once its server has told of it."""
    async with asyncio.timeout(20):
        while (found := app.find_action(f"tools.{name}")) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return found.spec.model(**fields)


async def test_what_is_allowed_is_offered_with_the_server_s_schemas() -> None:
    """Nothing else; annotations say effect and reversal, an undo makes it compensatable."""
    hello = await started(participant(server()))
    said = {name: (info.effect, info.reversal) for name, info in hello.commands.items()}
    assert said == {
        "tools.get_order": (Effect.KEYED, Reversal.READ_ONLY),
        "tools.placeorder": (Effect.KEYED, Reversal.COMPENSATABLE),
    }
    place = hello.commands["tools.placeorder"]
    assert place.input["required"] == ["item", "pieces"]
    assert place.output["properties"]["id"]["type"] == "string"


async def test_a_server_that_is_not_trusted_is_believed_nothing() -> None:
    """What you say yourself counts."""
    untrusted = Mcp(shop, allow=["*_order"], trust=False, read_only=["get_*"])
    hello = await started(participant(untrusted))
    said = {name: (info.effect, info.reversal) for name, info in hello.commands.items()}
    assert said == {
        "tools.get_order": (Effect.KEYED, Reversal.READ_ONLY),
        "tools.cancel_order": (Effect.NONE, Reversal.IRREVERSIBLE),
    }


async def test_a_call_and_its_undo(database_url: str) -> None:
    """The undo is another tool of the same server, called with what was recorded."""
    ORDERS.clear()
    app = participant(server())
    async with given(app, database_url) as kit:
        order = kit.command(await command(app, "placeorder", item="pot", pieces=2))
        await order.action().expect_reply(succeeded(id="o-pot-2"))
        await order.action(2).expect_reply(succeeded(id="o-pot-2"))
        await order.compensation().expect_reply(succeeded())
        look = kit.command(await command(app, "get_order", order="a"))
        await look.action().expect_reply(succeeded(id="a/2"))
    assert ORDERS == ["pot", "cancelled o-pot-2"]


async def test_an_error_of_a_tool_leaves_it_unknown_and_a_bad_input_does_nothing(
    database_url: str,
) -> None:
    """Nobody says that an error changed nothing; the schema is looked at before the call."""
    app = participant(server(caps={"placeOrder": "pieces <= 10"}))
    async with given(app, database_url) as kit:
        broken = kit.command(await command(app, "placeorder", item="broken", pieces=1))
        await broken.action().expect_reply(unknown("tool-error"))
        many = kit.command(await command(app, "placeorder", item="pot", pieces=11))
        await many.action().expect_reply(failed("amends:not-allowed", retryable=False))
        model = type(await command(app, "placeorder", item="pot", pieces=1))
        bad = kit.command(model.model_construct(item="pot"))
        await bad.action().expect_reply(failed("amends:invalid-input", retryable=False))


async def test_a_server_over_stdio_is_asked_and_left(database_url: str) -> None:
    """A process that is started with the participant."""
    tests = str(Path(__file__).parent.parent)
    process = StdioServerParameters(
        command=sys.executable, args=["-m", "tools.shop_server"], env={"PYTHONPATH": tests}
    )
    app = participant(Mcp(process, allow=["get_*"]))
    async with given(app, database_url) as kit:
        look = kit.command(await command(app, "get_order", order="a"))
        await look.action().expect_reply(succeeded(id="a/0"))


async def test_a_server_at_a_private_address_is_not_reached() -> None:
    """Unless that network was allowed."""
    app = participant(Mcp("https://127.0.0.1:9/mcp", allow=["*"]))
    with pytest.raises(Exception, match=r"127\.0\.0\.1.*not a public address|unhandled") as refused:
        await started(app)
    assert "not a public address" in repr(refused.value.__cause__ or refused.value)


async def test_a_server_that_offers_nothing_allowed_ends_the_participant() -> None:
    """It would serve nothing."""
    with pytest.raises(BadHandler, match="offer nothing allowed"):
        await started(participant(Mcp(shop, allow=["nothing"])))
