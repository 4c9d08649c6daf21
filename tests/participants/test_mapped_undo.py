"""Undoing a doubtful effect where the plan maps the compensation's body: no input is in it."""

import pytest
from pydantic import BaseModel

from amends_contracts.names import Op, StepPath, key_of
from amends_participants import Command, Effect, Participant, Undo, Unknown
from amends_participants.testing import given, succeeded, unknown
from participants.world import World


class Letter(BaseModel):
    """A letter that was sent."""

    number: str


class Withdraw(Command[None], name="post.withdraw"):
    """Takes a letter back, by what a plan says of it."""

    reason: str = ""


class Send(
    Command[Letter], name="post.send", effect="queryable", probe=True, compensation=Withdraw
):
    """Send a letter."""

    text: str


class PostOffice:
    """What was sent, what was looked for, and how it was taken back."""

    def __init__(self) -> None:
        self.sent: set[str] = set()
        self.looked: list[str] = []
        self.undone: list[object] = []
        self.app = Participant("post")
        self.app.action(Send)(self.send)
        self.app.probe(Send)(self.look)

    async def send(self, cmd: Send, effect: Effect) -> Letter:
        """Sends it, or not, and cannot tell."""
        if cmd.text == "sent":
            self.sent.add(effect.key)
        raise Unknown("no-answer")

    async def look(self, cmd: Send, effect: Effect) -> Letter | None:
        """Looks by the key."""
        self.looked.append(cmd.text)
        return Letter(number="7") if effect.key in self.sent else None

    async def by_body(self, body: Withdraw, effect: Effect) -> None:
        """Takes back what it finds by the action's key."""
        self.sent.discard(key_of(effect.saga_id, StepPath(effect.step), Op.ACTION))
        self.undone.append(body.reason)

    async def by_undo(self, undo: Undo[Send, Letter]) -> None:
        """The same, of one that is given the input."""
        self.sent.discard(undo.key)
        self.undone.append((undo.input.text, undo.output and undo.output.number))


@pytest.mark.parametrize("text", ["sent", "not sent"])
@pytest.mark.parametrize(
    "body", [{"reason": "late"}, {"input": {"text": "other"}, "reason": "late"}]
)
async def test_a_mapped_body_is_not_looked_with(
    world: World, text: str, body: dict[str, object]
) -> None:
    """The handler is called without output and finds the effect by its key."""
    post = PostOffice()
    post.app.compensation(Send)(post.by_body)
    async with given(post.app, world.url) as kit:
        step = kit.command(Send(text=text))
        await step.action().expect_reply(unknown("no-answer"))
        await step.compensation(body=body).expect_reply(succeeded())
    assert (post.sent, post.looked, post.undone) == (set(), [], ["late"])


async def test_a_mapped_body_that_fits_the_input_is_not_looked_with_either(world: World) -> None:
    """It may be another input than the action's: nothing found would be taken for undone."""
    post = PostOffice()
    post.app.compensation(Send)(post.by_undo)
    async with given(post.app, world.url) as kit:
        step = kit.command(Send(text="sent"))
        await step.action().expect_reply(unknown("no-answer"))
        await step.compensation(body={"text": "mapped"}).expect_reply(succeeded())
    assert (post.sent, post.looked, post.undone) == (set(), [], [("mapped", None)])


async def test_a_mapped_body_with_a_member_input_is_not_the_default_form(world: World) -> None:
    """Only `input` and `output` together are; `input` may be a mapping's own name."""

    class Note(Command[Letter], name="post.note", effect="queryable", probe=True):
        input: str

    seen: list[Note] = []
    app = Participant("post")

    @app.action(Note)
    async def note(cmd: Note) -> Letter:
        return Letter(number=cmd.input)

    @app.probe(Note)
    async def noted(cmd: Note) -> Letter | None:
        return None

    @app.compensation(Note)
    async def forget(undo: Undo[Note, Letter]) -> None:
        seen.append(undo.input)

    async with given(app, world.url) as kit:
        step = kit.command(Note(input="a"))
        await step.action().expect_reply(succeeded(number="a"))
        await step.compensation(body={"input": "a"}).expect_reply(succeeded())
    assert seen == [Note(input="a")]


async def test_the_default_form_is_looked_with(world: World) -> None:
    """There the action's input is: what a look finds is the output."""
    post = PostOffice()
    post.app.compensation(Send)(post.by_undo)
    async with given(post.app, world.url) as kit:
        step = kit.command(Send(text="sent"))
        await step.action().expect_reply(unknown("no-answer"))
        await step.compensation().expect_reply(succeeded())
    assert (post.sent, post.looked, post.undone) == (set(), ["sent"], [("sent", "7")])
