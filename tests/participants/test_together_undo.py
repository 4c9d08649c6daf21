"""Undos that wait together share a transaction, and every promise holds as if each had its own."""

from dataclasses import replace

from amends_contracts.messages import to_body
from amends_contracts.names import Key
from amends_participants import Command as Body
from amends_participants import Effect, Participant
from participants.caller import Step, charges, saga_id
from participants.running import Crowd
from participants.world import World

SHARED = "SELECT count(*) - count(DISTINCT xmin::text) FROM done WHERE what = 'undone'"
"""Undos beyond the first of their transaction."""


async def test_a_crowd_of_undos_shares_transactions(crowd: Crowd, world: World) -> None:
    """A hundred actions, then a hundred undos at once: each is undone once, many together."""
    steps = charges(100)
    await crowd(*(step.action() for step in steps))
    undone = await crowd(*(step.compensation() for step in steps))
    assert undone == [[("succeeded", {})]] * 100
    assert await world.total() == 2000
    assert [await world.done(step.key) for step in steps] == [["acted", "undone"]] * 100
    shared = await world.scalar(SHARED)
    assert isinstance(shared, int)
    assert shared > 60


async def test_duplicates_in_a_crowd_undo_once(crowd: Crowd, world: World) -> None:
    """Three deliveries of each undo, and a second attempt: one undo, told to all in the end."""
    # who finds the row locked for long may be told to come again
    steps = charges(30)
    await crowd(*(step.action() for step in steps))
    undos = [step.compensation(n) for step in steps for n in (1, 2)]
    answers = {str(told) for each in await crowd(*undos, times=3) for told in each}
    assert answers - {"('failed', 'amends:running')"} == {"('succeeded', {})"}
    assert await crowd(*(step.compensation(3) for step in steps)) == [[("succeeded", {})]] * 30
    assert [await world.done(step.key) for step in steps] == [["acted", "undone"]] * 30


async def test_undos_before_their_actions_bury_them(crowd: Crowd, world: World) -> None:
    """Every second action has not arrived: its undo is told `succeeded`, the action is fenced."""
    steps = charges(40)
    await crowd(*(step.action() for step in steps[::2]))
    undone = await crowd(*(step.compensation() for step in steps))
    assert undone == [[("succeeded", {})]] * 40
    late = await crowd(*(step.action() for step in steps[1::2]))
    assert {outcome for each in late for outcome, _ in each} == {"fenced"}
    assert [await world.done(step.key) for step in steps] == [["acted", "undone"], []] * 20


async def test_actions_and_undos_in_one_crowd(crowd: Crowd, world: World) -> None:
    """Both at the same moment: done and undone, or neither, whoever came first."""
    steps = charges(40)
    await crowd(*(c for s in steps for c in (s.action(), s.compensation())))
    settled = await crowd(*(step.compensation(2) for step in steps))
    assert settled == [[("succeeded", {})]] * 40
    effects = [await world.done(step.key) for step in steps]
    assert all(effect in ([], ["acted", "undone"]) for effect in effects), effects
    assert await world.total() == 2000


async def test_a_failing_undo_takes_nobody_along(crowd: Crowd, world: World) -> None:
    """Ten of fifty fail at first: the forty are undone, the ten are not, until they succeed."""
    steps = charges(50)
    for step in steps[::5]:
        step.input["how"] = "failing undo"
    await crowd(*(step.action() for step in steps))
    undone = await crowd(*(step.compensation() for step in steps))
    assert [outcome for [(outcome, _)] in undone] == (["failed"] + ["succeeded"] * 4) * 10
    assert [await world.done(s.key) for s in steps[::5]] == [["acted"]] * 10
    assert await world.total() == 2000 - 10
    again = await crowd(*(step.compensation() for step in steps[::5]))
    assert again == [[first, first] for first in [told_of(undone[::5][0])] * 10]
    later = await crowd(*(step.compensation(2) for step in steps[::5]))
    assert later == [[("succeeded", {})]] * 10
    assert [await world.done(s.key) for s in steps] == [["acted", "undone"]] * 50


def told_of(answers: list[tuple[str, object]]) -> tuple[str, object]:
    """The only answer."""
    (answer,) = answers
    return answer


async def test_a_probe_finds_undone_what_a_crowd_has_undone(crowd: Crowd) -> None:
    """What was undone together is `undone`, what failed to be is `present`."""
    steps = charges(20)
    for step in steps[::2]:
        step.input["how"] = "failing undo"
    await crowd(*(step.action() for step in steps))
    await crowd(*(step.compensation() for step in steps))
    found = await crowd(*(step.probe() for step in steps))
    present = [{"effect": "present", "output": {"id": step.key}} for step in steps[::2]]
    undone = {"effect": "undone"}
    expected = [effect for each in present for effect in (each, undone)]
    assert found == [[("succeeded", effect)] for effect in expected]


async def test_two_sagas_undo_the_same_action_once(crowd: Crowd, world: World) -> None:
    """The undo of a saga and that of its late undo, in one crowd: the second finds it undone."""
    steps = charges(20)
    await crowd(*(step.action() for step in steps))
    undos = [step.compensation() for step in steps]
    late = [
        replace(
            step.compensation(),
            saga_id=(saga := saga_id()),
            key=Key(f"{saga}/step/compensation"),
            message_id=f"{saga}:step:compensation:1",
        )
        for step in steps
    ]
    both = [undo for pair in zip(undos, late, strict=True) for undo in pair]
    assert await crowd(*both) == [[("succeeded", {})]] * 40
    assert [await world.done(step.key) for step in steps] == [["acted", "undone"]] * 20


class Release(Body[None], name="shop.release", effect="transactional"):
    """Takes a reservation back, as a plan words it."""

    why: str


class Reserve(Body[None], name="shop.reserve", effect="transactional", compensation=Release):
    """Reserve a thing."""

    thing: str


async def test_undos_with_a_body_of_the_plan(crowd: Crowd) -> None:
    """Thirty undos whose input the plan has mapped: each handler gets the body of its own."""
    app, released = Participant("shop"), dict[str, str]()

    @app.action(Reserve)
    async def reserve(cmd: Reserve) -> None:
        assert cmd.thing

    @app.compensation(Reserve)
    async def release(body: Release, effect: Effect) -> None:
        released[effect.key] = body.why

    steps = [Step("shop.reserve", {"thing": f"t{n}"}, undo_type="shop.release") for n in range(30)]
    await crowd(*(step.action() for step in steps), app=app)
    bodies = [to_body({"why": f"of {step.input['thing']}"}) for step in steps]
    undos = [replace(s.compensation(), body=body) for s, body in zip(steps, bodies, strict=True)]
    assert await crowd(*undos, app=app) == [[("succeeded", {})]] * 30
    keys = [undo.key for undo in undos]
    assert released == {key: f"of t{n}" for n, key in enumerate(keys)}
