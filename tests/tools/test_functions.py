"""Python functions as tools: what their signatures say, what is refused, and what an undo gets."""

from typing import Any

import pytest
from pydantic import BaseModel

from amends_contracts.messages import Effect as EffectClass
from amends_contracts.messages import Reversal
from amends_contracts.names import Key
from amends_participants import Command, Effect, Unknown
from amends_participants.testing import failed, given, succeeded, unknown
from amends_participants.tools import BadCap, BadTool, Tool, participant, tool

LEDGER: list[tuple[str, Key, Any]] = []


class Refund(BaseModel):
    """Money on its way back."""

    id: str


@tool(cap="usd <= 2000")
async def refund(effect: Effect, order: str, usd: float = 1) -> Refund:
    """Give money back."""
    LEDGER.append(("refund", effect.key, usd))
    if order == "lost":
        raise Unknown("timeout")
    return Refund(id=f"r-{order}")


@refund.undo
async def charge_back(effect: Effect, done: Refund | None, order: str) -> None:
    """Take it again."""
    LEDGER.append((f"charge back {order}", effect.key, done))


@tool(read_only=True)
async def look(order: str) -> Refund | None:
    """Whether there is one."""
    return Refund(id=f"r-{order}")


@tool(effect="none", irreversible=True, name="send-mail")
async def send(to: str) -> None:
    """A mail."""


def command_of(one: Tool[..., Any], **fields: Any) -> Command[Any]:
    """What a plan sends for it."""
    return participant(one).registered()[0].spec.model(**fields)


def test_a_tool_s_command_is_its_signature() -> None:
    """Name, schemas, effect and reversal are announced as those of any command."""
    hello = participant(refund, look, send).hello("i")
    assert hello.service == "tools"
    said = {name: (info.effect, info.reversal) for name, info in hello.commands.items()}
    assert said == {
        "tools.refund": (EffectClass.KEYED, Reversal.COMPENSATABLE),
        "tools.look": (EffectClass.KEYED, Reversal.READ_ONLY),
        "tools.send-mail": (EffectClass.NONE, Reversal.IRREVERSIBLE),
    }
    schema = hello.commands["tools.refund"].input
    assert schema["required"] == ["order"]
    assert schema["additionalProperties"] is False
    assert hello.commands["tools.refund"].output["properties"]["id"] == {
        "title": "Id",
        "type": "string",
    }


async def test_a_tool_is_still_the_function() -> None:
    """Tests call it as it is."""
    assert await look(order="o-1") == Refund(id="r-o-1")


async def test_the_undo_gets_what_was_recorded(database_url: str) -> None:
    """Inputs by name, the output as `done` (None if it is unknown), and the action's key."""
    LEDGER.clear()
    async with given(participant(refund), database_url) as kit:
        paid = kit.command(command_of(refund, order="o-1", usd=30))
        await paid.action().expect_reply(succeeded(id="r-o-1"))
        await paid.compensation().expect_reply(succeeded())
        lost = kit.command(command_of(refund, order="lost"))
        await lost.action().expect_reply(unknown("timeout"))
        await lost.compensation().expect_reply(succeeded())
    assert [
        ("refund", paid.key, 30),
        ("charge back o-1", paid.key, Refund(id="r-o-1")),
        ("refund", lost.key, 1),
        ("charge back lost", lost.key, None),
    ] == LEDGER


async def test_a_refused_call_is_a_failure_and_not_made(database_url: str) -> None:
    """Beyond its cap, or with an input that the function does not take."""
    LEDGER.clear()
    async with given(participant(refund), database_url) as kit:
        much = kit.command(command_of(refund, order="o-1", usd=3000))
        await much.action().expect_reply(failed("amends:not-allowed", retryable=False))
    assert LEDGER == []


@pytest.mark.parametrize(
    ("usd", "ok"), [(0, True), (2000, True), (2000.01, False), (10**30, False)]
)
async def test_a_call_beyond_its_cap_is_not_made(usd: float, ok: bool) -> None:
    """Whether the number is whole or not."""
    assert refund.cap is not None
    assert refund.cap.holds({"order": "o", "usd": usd}) is ok


def test_a_cap_in_doubt_refuses() -> None:
    """What cannot be compared does not hold."""
    assert refund.cap is not None
    assert not refund.cap.holds({"order": "o", "usd": "many"})
    assert not refund.cap.holds({})


def test_a_cap_names_only_inputs() -> None:
    """Said where the function stands."""
    with pytest.raises(BadCap, match=r"undeclared reference to 'eur'.*known are: usd"):

        @tool(cap="eur < 3", read_only=True)
        async def pay(usd: int) -> None: ...


async def unannotated(to) -> None: ...  # type: ignore[no-untyped-def]  # that is the point
async def unsaid(to: str): ...
async def many(*to: str) -> None: ...
def sync(to: str) -> None: ...


WRONG: list[tuple[Any, str]] = [
    (unannotated, "parameter 'to' is not annotated"),
    (unsaid, "say what it returns"),
    (many, "name every parameter"),
    (sync, "must be `async def`"),
]


@pytest.mark.parametrize(("function", "what"), WRONG)
def test_a_function_that_cannot_be_a_tool_is_refused_where_it_stands(
    function: Any, what: str
) -> None:
    """With file and line."""
    with pytest.raises(BadTool, match=rf"test_functions\.py:\d+: .*{what}"):
        tool(read_only=True)(function)


def test_a_tool_that_nothing_takes_back_says_so() -> None:
    """Or it is not served."""

    @tool()
    async def pay(usd: int) -> None:
        """Money."""

    with pytest.raises(BadTool, match=r"add @pay.undo, or say read_only=True"):
        participant(pay)


def test_an_undo_takes_only_what_is_recorded() -> None:
    """Names of inputs, and `done`."""

    @tool()
    async def pay(usd: int) -> None:
        """Money."""

    with pytest.raises(BadTool, match=r"there is no 'eur'; it may take: done, usd"):

        @pay.undo
        async def back(eur: int) -> None:
            """Back."""


def test_what_only_reads_has_no_undo() -> None:
    """Nor what is irreversible."""

    @tool(read_only=True)
    async def peek(usd: int) -> None:
        """Look."""

    with pytest.raises(BadTool, match=r"peek is read_only: it has no undo"):

        @peek.undo
        async def back() -> None:
            """Back."""
