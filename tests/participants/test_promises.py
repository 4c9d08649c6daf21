"""What a participant promises, over real RabbitMQ and Postgres, row by row of the table."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from amends_contracts.codec import encode_command
from amends_contracts.messages import ActionOutcome, Usage, digest_of, to_body
from amends_participants.runtime.passive import EXPIRED_GRACE
from participants.caller import Caller, Step, told
from participants.world import World

CLASSES = ["bank.charge", "bank.wire", "bank.post", "bank.shout"]
OUTSIDE = CLASSES[1:]


def step_of(command: str, how: str = "") -> Step:
    """A step that moves 30 of account a1."""
    return Step(command, {"account": "a1", "usd": 30, "how": how})


@pytest.mark.parametrize("command", CLASSES)
async def test_action_and_compensation(served: Caller, world: World, command: str) -> None:
    """An action takes effect and its compensation undoes it, each answered with its echo."""
    step = step_of(command)
    reply = await served.ask(step.action())
    assert told(reply) == ("succeeded", {"id": step.key})
    assert (reply.token, reply.attempt, reply.key) == ("token of action", 1, step.key)
    assert await world.balance() == 70
    reply = await served.ask(step.compensation(output={"id": step.key}))
    assert told(reply) == ("succeeded", {})
    assert await world.balance() == 100
    assert await world.done(step.key) == ["acted", "undone"]


@pytest.mark.parametrize("command", CLASSES)
async def test_duplicates_of_every_message(served: Caller, world: World, command: str) -> None:
    """Every message twice, and later attempts of each: one effect, one undo, the same answers."""
    step = step_of(command)
    for attempt in (1, 1, 2, 5):
        reply = await served.ask(step.action(attempt))
        assert (told(reply), reply.attempt) == (("succeeded", {"id": step.key}), attempt)
    for attempt in (1, 1, 2, 5):
        reply = await served.ask(step.compensation(attempt))
        assert (told(reply), reply.attempt) == (("succeeded", {}), attempt)
    assert told(await served.ask(step.action(6))) == ("succeeded", {"id": step.key})
    assert await world.done(step.key) == ["acted", "undone"]


@pytest.mark.parametrize("command", CLASSES)
async def test_disorder(served: Caller, world: World, command: str) -> None:
    """The compensation twice and at once before its action, the action late: no effect."""
    step = step_of(command)
    undo = step.compensation()
    await served.send(undo, undo)
    assert [told(r) for r in await served.heard(undo, 2)] == [("succeeded", {})] * 2
    assert told(await served.ask(step.action())) == ("fenced", "amends:fenced")
    assert told(await served.ask(step.action(2))) == ("fenced", "amends:fenced")
    assert told(await served.ask(step.probe(2))) == ("succeeded", {"effect": "absent"})
    assert told(await served.ask(step.compensation(2))) == ("succeeded", {})
    assert (await world.total(), await world.done(step.key)) == (2000, [])


@pytest.mark.parametrize("command", CLASSES)
async def test_a_probe_closes_the_attempts_before_it(
    served: Caller, world: World, command: str
) -> None:
    """Absent is final for the attempts so far; a higher one runs."""
    step = step_of(command)
    assert told(await served.ask(step.probe(2))) == ("succeeded", {"effect": "absent"})
    for attempt in (1, 2):
        reply = await served.ask(step.action(attempt))
        assert (told(reply), reply.retryable) == (("failed", "amends:closed"), True)
    assert await world.done(step.key) == []
    assert told(await served.ask(step.action(3)))[0] == "succeeded"
    present = {"effect": "present", "output": {"id": step.key}}
    assert told(await served.ask(step.probe(3))) == ("succeeded", present)
    await served.ask(step.compensation())
    assert told(await served.ask(step.probe(3))) == ("succeeded", {"effect": "undone"})
    assert await world.done(step.key) == ["acted", "undone"]


@pytest.mark.parametrize("command", ["bank.charge"])
async def test_final_failure_rolls_back_and_stays(
    served: Caller, world: World, command: str
) -> None:
    """`failed`, final: nothing changed; only a person's retry, a higher attempt, runs it again."""
    step = step_of(command, "failed")
    for attempt in (1, 1, 2):
        reply = await served.ask(step.action(attempt))
        assert (told(reply), reply.retryable) == (("failed", "no-cover"), False)
    assert told(await served.ask(step.probe(2))) == ("succeeded", {"effect": "absent"})
    assert told(await served.ask(step.compensation())) == ("succeeded", {})
    assert told(await served.ask(step.action(3)))[0] == "fenced"
    assert (await world.total(), await world.done(step.key)) == (2000, [])


async def test_retryable_failure_succeeds_at_attempt_2(served: Caller, world: World) -> None:
    """`failed`, retryable, speaks for attempt 1 for ever; attempt 2 runs."""
    step = step_of("bank.charge", "failed once")
    for _ in range(2):
        reply = await served.ask(step.action())
        assert (told(reply), reply.retryable, reply.retry_after_s) == (
            ("failed", "no-cover"),
            True,
            2.0,
        )
    assert told(await served.ask(step.action(2)))[0] == "succeeded"
    assert told(await served.ask(step.action(1)))[0] == "succeeded"
    assert await world.done(step.key) == ["acted"]


async def test_a_bug_in_a_transaction_is_a_failure(served: Caller, world: World) -> None:
    """An exception rolls back: `failed`, retryable; only the first line of its text travels."""
    step = step_of("bank.charge", "raises")
    reply = await served.ask(step.action())
    assert (told(reply), reply.retryable) == (("failed", "amends:crashed"), True)
    assert reply.problem().detail == "RuntimeError: a bug"
    assert await world.total() == 2000


@pytest.mark.parametrize(
    ("how", "problem"), [("unknown", "no-answer"), ("raises", "amends:crashed")]
)
@pytest.mark.parametrize("command", OUTSIDE)
async def test_a_doubt_is_kept_and_settled_by_class(
    served: Caller, world: World, command: str, how: str, problem: str
) -> None:
    """Outside the database an exception is `unknown`; what comes next depends on the class."""
    step = step_of(command, how)
    for _ in range(2):
        assert told(await served.ask(step.action())) == ("unknown", problem)
    after = {
        "bank.wire": ("unknown", problem),  # runs again under the same key, and raises again
        "bank.post": ("succeeded", {"id": step.key}),  # looks, and finds it
        "bank.shout": ("unknown", problem),  # never again
    }
    assert told(await served.ask(step.action(2))) == after[command]
    assert told(await served.ask(step.compensation())) == ("succeeded", {})
    assert told(await served.ask(step.probe(2))) == ("succeeded", {"effect": "undone"})
    assert await world.done(step.key) == ["acted", "undone"]


async def test_a_probe_looks_where_it_is_in_doubt(served: Caller, world: World) -> None:
    """A queryable doubt is found present, or absent for good; without a probe it stays unknown."""
    there, absent = step_of("bank.post", "raises"), step_of("bank.post", "raises before")
    wired = step_of("bank.wire", "raises")
    for step in (there, absent, wired):
        await served.ask(step.action())
    present = {"effect": "present", "output": {"id": there.key}}
    assert told(await served.ask(there.probe())) == ("succeeded", present)
    assert told(await served.ask(there.action(2))) == ("succeeded", {"id": there.key})
    assert told(await served.ask(absent.probe())) == ("succeeded", {"effect": "absent"})
    assert told(await served.ask(absent.action())) == ("failed", "amends:closed")
    assert told(await served.ask(wired.probe())) == ("unknown", "amends:effect-in-doubt")


@pytest.mark.parametrize(("how", "retryable"), [("failing undo", True), ("refusing undo", False)])
async def test_an_undo_that_failed_runs_at_its_next_attempt(
    served: Caller, world: World, how: str, retryable: bool
) -> None:
    """A failed compensation rolls back; a higher attempt (a person's, if it was final) runs."""
    step = step_of("bank.charge", how)
    await served.ask(step.action())
    for _ in range(2):
        reply = await served.ask(step.compensation())
        assert (told(reply), reply.retryable) == (("failed", "not-now"), retryable)
    assert await world.balance() == 70
    assert told(await served.ask(step.compensation(2))) == ("succeeded", {})
    assert await world.done(step.key) == ["acted", "undone"]


async def test_an_effect_of_which_nothing_is_known_is_not_undone_as_nothing(
    served: Caller,
) -> None:
    """The engine knows of a success, we have no row: `unknown`, never a null compensation."""
    step = step_of("bank.charge")
    told_so = step.compensation(known=ActionOutcome.SUCCEEDED)
    assert told(await served.ask(told_so)) == ("unknown", "amends:forgotten")


@pytest.mark.parametrize("command", CLASSES)
async def test_another_body_under_the_same_key(served: Caller, world: World, command: str) -> None:
    """A reused key does nothing and says so."""
    step = step_of(command)
    await served.ask(step.action())
    body = to_body({"account": "a2", "usd": 1})
    other = replace(step.action(2), body=body, digest=digest_of(body))
    assert told(await served.ask(other)) == ("unknown", "amends:key-reused")
    assert (await world.balance("a2"), await world.done(step.key)) == (100, ["acted"])


@pytest.mark.parametrize("command", CLASSES)
async def test_invalid_input_names_the_field(served: Caller, command: str) -> None:
    """Refused for good, with the field, and recorded: no later attempt runs it."""
    step = Step(command, {"account": "a1", "usd": "many"})
    for attempt in (1, 2):
        reply = await served.ask(step.action(attempt))
        assert (told(reply), reply.retryable) == (("failed", "amends:invalid-input"), False)
        assert [e.path for e in reply.problem().errors] == ["/usd"]


async def test_what_this_service_does_not_offer(served: Caller) -> None:
    """Unknown commands and ops are failures that are final."""
    unknown = Step("bank.fly", {})
    assert told(await served.ask(unknown.action())) == ("failed", "amends:unknown-command")
    assert told(await served.ask(unknown.compensation())) == ("failed", "amends:unknown-command")


async def test_ledger_and_forget(served: Caller, world: World) -> None:
    """The ledger tells what is held; forgetting marks the rows and deletes nothing yet."""
    step = step_of("bank.charge")
    other = replace(step_of("bank.wire", "unknown"), saga=step.saga, path="other")
    failed = replace(step_of("bank.charge", "failed"), saga=step.saga, path="third")
    for each in (step, other, failed):
        await served.ask(each.action())
    reply = await served.ask(step.ledger())
    assert reply.json() == {
        "effects": [
            {"key": other.key, "command": "bank.wire", "effect": "unknown", "output": None},
            {
                "key": step.key,
                "command": "bank.charge",
                "effect": "present",
                "output": {"id": step.key},
            },
        ]
    }
    await served.send(step.forget())
    marked = "SELECT count(*) FROM amends_barrier WHERE forget_after > now() + interval '6 days'"
    for _ in range(100):
        if await world.scalar(marked) == 3:
            break
        await asyncio.sleep(0.05)
    assert await world.scalar(marked) == 3
    assert told(await served.ask(step.action())) == ("succeeded", {"id": step.key})


async def test_progress_and_usage_travel(served: Caller) -> None:
    """A handler may say that it goes on, and what it used; a duplicate hears the same."""
    step = step_of("bank.wire", "says so")
    for _ in range(2):
        reply = await served.ask(step.action())
        assert reply.usage == Usage(3, 4, None, "m-1")
    progress = served.replies[f"{step.action().message_id}:progress:1"]
    assert [r.outcome.value for r in progress] == ["progress"]


async def test_expired_attempts_are_closed_not_run(served: Caller, world: World) -> None:
    """A deadline that has passed: `failed`, retryable; the next attempt runs."""
    step = step_of("bank.charge")
    late = step.action(deadline=datetime.now(UTC) - EXPIRED_GRACE - timedelta(seconds=1))
    reply = await served.ask(late)
    assert (told(reply), reply.retryable) == (("failed", "amends:expired"), True)
    assert await world.done(step.key) == []
    assert told(await served.ask(step.action(2)))[0] == "succeeded"


async def test_an_attempt_that_is_refused_does_not_speak_for_one_in_doubt(
    served: Caller, world: World
) -> None:
    """The first may have taken effect: what comes too late, or is served no more, leaves that."""
    step = step_of("bank.wire", "unknown")
    assert told(await served.ask(step.action()))[0] == "unknown"
    late = datetime.now(UTC) - EXPIRED_GRACE - timedelta(seconds=1)
    for _ in range(2):
        assert told(await served.ask(step.action(2, deadline=late))) == ("unknown", "no-answer")
    strange = replace(step.action(3), type="bank.no-longer-served")
    assert told(await served.ask(strange)) == ("unknown", "no-answer")
    assert await world.done(step.key) == ["acted"]
    assert told(await served.ask(step.compensation()))[0] == "succeeded"
    assert await world.done(step.key) == ["acted", "undone"]


@pytest.mark.parametrize("command", ["bank.charge", "bank.wire"])
async def test_clocks_that_differ_a_little_skip_nothing(
    served: Caller, world: World, command: str
) -> None:
    """A deadline that has just passed by this service's clock may be ahead by the other's."""
    step = step_of(command)
    late = step.action(deadline=datetime.now(UTC) - timedelta(seconds=1))
    assert told(await served.ask(late))[0] == "succeeded"
    assert await world.done(step.key) == ["acted"]


async def test_poison_goes_to_the_dead_letters_and_disturbs_nothing(served: Caller) -> None:
    """What cannot be read, or speaks another version, is set aside with the reason."""
    step = step_of("bank.charge")
    good = encode_command(step.action(), served.topology)
    await served.publish(replace(good, body=b"{", headers={**good.headers}))
    await served.publish(replace(good, headers={**good.headers, "amends-wire": 2}))
    await served.publish(replace(good, headers={}, type=None))
    await served.until(lambda: len(served.dead) == 3, "three dead letters")
    reasons = {str(m.headers["amends-reason"]) for m in served.dead}
    assert len(reasons) == 3
    assert any("body" in reason for reason in reasons)
    assert any("amends-wire" in reason and "2" in reason for reason in reasons)
    assert told(await served.ask(step.action()))[0] == "succeeded"
