"""The cases of `kit.check`: all that may happen to a command, each a sentence that must hold."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from amends_contracts.command import Command, CommandSpec, spec_of
from amends_contracts.messages import Effect, Outcome, Reply, Reversal
from amends_participants.testing.expected import said
from amends_participants.testing.kit import Kit, Sent, SentStep, succeeds

World = Callable[[], Awaitable[object]]
CONCURRENT: Final = 5
UNDO_ATTEMPTS: Final = 50


@dataclass
class Trial:
    """One case: a fresh step, and the world before it."""

    kit: Kit
    step: SentStep
    case: str
    world: World
    before: object

    async def restored(self) -> None:
        """The world is as before."""
        now = await self.world()
        if now != self.before:
            self.fail(f"the world was {self.before!r} before and is {now!r}")

    def fail(self, what: str) -> None:
        """End the case."""
        raise AssertionError(f"{self.case}: {what}")

    async def acts(self, attempt: int = 1) -> Reply:
        """Send the action; it succeeds."""
        return await succeeds(self.step.action(attempt), self.case)

    async def undoes(self) -> None:
        """Send the compensation, with further attempts while it is told to wait; it succeeds."""
        reply = await self.step.compensation().reply()
        for attempt in range(2, UNDO_ATTEMPTS):
            if not (reply.outcome is Outcome.FAILED and reply.retryable):
                break
            await asyncio.sleep(0.05)
            reply = await self.step.compensation(attempt).reply()
        if reply.outcome is not Outcome.SUCCEEDED:
            self.fail(f"the compensation was to succeed, but {said(reply)}")

    async def same(self, sent: Sent, first: Reply) -> None:
        """A duplicate's reply says what the first said."""
        reply = await sent.reply()
        if (reply.outcome, reply.body) != (first.outcome, first.body):
            self.fail(f"{sent} was answered {said(first)} before and {said(reply)} now")


async def run_cases(kit: Kit, command: Command[Any], world: World | None) -> list[str]:
    """Run every case that fits the command; the undo leaves each world as it was."""
    spec = spec_of(type(command))
    undo = spec.reversal is Reversal.COMPENSATABLE
    snapshot = world or _nothing
    chosen = [*ALWAYS, *(WITH_UNDO if undo else ())]
    for case in chosen:
        name = (case.__doc__ or "").rstrip(".")
        trial = Trial(kit, kit.command(command), name, snapshot, await snapshot())
        await case(trial)
        if undo:
            await trial.undoes()
            await trial.restored()
    return [(case.__doc__ or "").rstrip(".") for case in chosen]


async def _nothing() -> object:
    return None


async def duplicates(trial: Trial) -> None:
    """A duplicate and a retry of an action that succeeded change nothing."""
    first = await trial.acts()
    after = await trial.world()
    for attempt in (1, 2, 1):
        await trial.same(trial.step.action(attempt), first)
    if await trial.world() != after:
        trial.fail(f"the world was {after!r} after the first and is {await trial.world()!r}")


async def concurrent(trial: Trial) -> None:
    """Duplicates at the same moment have one effect."""
    sent = [trial.step.action() for _ in range(CONCURRENT)]
    first = await succeeds(sent[0], trial.case)
    after = await trial.world()
    await trial.same(trial.step.action(2), first)
    if await trial.world() != after:
        trial.fail(f"the world was {after!r} after the first and is {await trial.world()!r}")


async def reused(trial: Trial) -> None:
    """The same key with another body does nothing."""
    await trial.acts()
    after = await trial.world()
    reply = await trial.step.action(2, body={**trial.step.body, "amends-test": "other"}).reply()
    if reply.outcome is not Outcome.UNKNOWN or await trial.world() != after:
        trial.fail(f"it was answered {said(reply)}")


async def probed(trial: Trial) -> None:
    """A probe finds nothing before, and the effect after."""
    before = await trial.step.probe().reply()
    await trial.acts(attempt=2)
    after = await trial.step.probe(2).reply()
    found = [before.json().get("effect"), after.json().get("effect")]
    if found != ["absent", "present"]:
        trial.fail(f"it found {found}")


async def crashed_before(trial: Trial) -> None:
    """The process dies after the effect and before its record; it is settled after a restart."""
    outside = trial.step.spec.effect is not Effect.TRANSACTIONAL
    await _crash(trial, at=2 if outside else 1, after=False)
    reply = await trial.kit.transport.reply(
        f"{trial.step.saga_id}:{trial.step.path}:action:1", 1, trial.kit.reply_within
    )
    if reply.outcome is not _settled_as(trial.step.spec):
        trial.fail(f"after the restart it was answered {said(reply)}")


async def crashed_after(trial: Trial) -> None:
    """The process dies after the commit and before the reply; the reply comes after a restart."""
    outside = trial.step.spec.effect is not Effect.TRANSACTIONAL
    await _crash(trial, at=2 if outside else 1, after=True)
    name = f"{trial.step.saga_id}:{trial.step.path}:action:1"
    reply = await trial.kit.transport.reply(name, 1, trial.kit.reply_within)
    if reply.outcome is not Outcome.SUCCEEDED:
        trial.fail(f"after the restart it was answered {said(reply)}")


async def undo_first(trial: Trial) -> None:
    """A compensation that arrives before its action acknowledges, and fences the action."""
    await succeeds(trial.step.compensation(), trial.case)
    await trial.restored()
    for attempt in (1, 2):
        reply = await trial.step.action(attempt).reply()
        if reply.outcome is not Outcome.FENCED:
            trial.fail(f"the late action was answered {said(reply)}")
    await trial.restored()


async def undo_twice(trial: Trial) -> None:
    """The undo takes back once, also if it is asked for twice at the same moment."""
    await trial.acts()
    sent = [trial.step.compensation(), trial.step.compensation()]
    for one in sent:
        await one.reply()
    await trial.undoes()
    await trial.restored()
    await succeeds(trial.step.action(2), trial.case)
    await trial.restored()


async def undo_overtakes(trial: Trial) -> None:
    """Action and compensation at the same moment leave nothing behind."""
    for sent in [trial.step.compensation(), trial.step.action()]:
        await sent.reply()


async def _crash(trial: Trial, *, at: int, after: bool) -> None:
    crashed = trial.kit.database.arm(at=at, after=after)
    trial.step.action()
    try:
        async with asyncio.timeout(trial.kit.reply_within):
            await crashed.wait()
    except TimeoutError:
        trial.fail("the action never came to its commit")
    await trial.kit.restart()


def _settled_as(spec: CommandSpec[Any]) -> Outcome:
    """What is known after a crash between effect and record: only `none` is in doubt."""
    return Outcome.UNKNOWN if spec.effect is Effect.NONE else Outcome.SUCCEEDED


Case = Callable[[Trial], Awaitable[None]]
ALWAYS: Final[tuple[Case, ...]] = (
    duplicates,
    concurrent,
    reused,
    probed,
    crashed_before,
    crashed_after,
)
WITH_UNDO: Final[tuple[Case, ...]] = (undo_first, undo_twice, undo_overtakes)
