"""How the ways in which a handler can end become answers; no server is needed."""

from typing import cast

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from amends_contracts.command import Command
from amends_contracts.messages import Command as CommandMessage
from amends_contracts.messages import Outcome
from amends_contracts.names import Key, MessageId, Op
from amends_participants import Participant, Unknown
from amends_participants.effects import effect_of
from amends_participants.runtime import invoke

KEY = Key("0195f1c0-0000-7000-8000-000000000001/book/action")
IN_TRANSACTION = cast(AsyncConnection, object())


class Book(Command[None], name="books.do", effect="transactional"):
    """An action in the database."""


app = Participant("books")


@app.action(Book)
async def book(tx: AsyncConnection) -> None:
    """It cannot tell."""
    raise Unknown("no-answer")


@app.compensation(Book)
async def unbook(tx: AsyncConnection) -> None:
    """Nothing to do."""


async def test_a_doubt_that_was_rolled_back_is_none() -> None:
    """A stored `unknown` of a transactional handler would answer every further attempt."""
    registration = app.find_action("books.do")
    assert registration is not None
    command = CommandMessage(
        type="books.do", op=Op.ACTION, message_id=MessageId("m"), body=b"{}", key=KEY
    )
    with pytest.raises(invoke.Ended) as ended:
        await invoke.act(registration, command, effect_of(command), IN_TRANSACTION)
    assert (ended.value.answer.outcome, ended.value.answer.retryable) == (Outcome.FAILED, True)
