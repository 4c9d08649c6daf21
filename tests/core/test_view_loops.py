"""Loops, plans and waits as they are shown, and how small their state stays."""

import json

from amends_contracts.messages import Json
from amends_orchestrator.core import saga_view, state_from_json, state_to_json
from core.dsl import (
    Scenario,
    action,
    alternatives,
    definition,
    each,
    failed,
    given,
    repeat,
    succeeded,
    wait,
)


def outline(nodes: list[Json], depth: int = 0) -> list[str]:
    """The tree as indented lines of path, kind and status."""
    lines: list[str] = []
    for node in nodes:
        marks = "".join(f" {m}" for m in ("failed", "chosen") if node.get(m) is True)
        lines.append(f"{'  ' * depth}{node['path']} {node['kind']} {node['status']}{marks}")
        lines += outline(node.get("children", []), depth + 1)
    return lines


def tree(saga: Scenario) -> list[str]:
    """What the page shows."""
    return outline(saga_view(saga.plan, saga.saga, saga.rows).to_json()["tree"])


def test_items_stand_under_their_each_with_their_steps() -> None:
    """Those that have begun; one of a single step is that step."""
    what = definition(
        each("legs", [1, 2, 3], action("flight"), action("seat"), concurrency=2),
        each("mails", [1], action("mail")),
    )
    saga = given(what)
    saga.expect("flights.do").reply(succeeded())
    saga.expect("seats.do").reply(succeeded())
    assert tree(saga) == [
        "legs each running",
        "  legs[0] item succeeded",
        "    legs[0].flight action succeeded",
        "    legs[0].seat action succeeded",
        "  legs[1] item running",
        "    legs[1].flight action running",
        "    legs[1].seat action pending",
        "  legs[2] item running",
        "    legs[2].flight action running",
        "    legs[2].seat action pending",
        "mails each pending",
    ]
    node = saga_view(saga.plan, saga.saga, saga.rows).to_json()["tree"][0]
    assert (node["items"], node["items_done"]) == (3, 1)


def test_a_plan_that_failed_is_shown_as_such_beside_the_one_that_is_tried() -> None:
    """With what became of its steps."""
    what = definition(
        alternatives(
            "way",
            air=[action("flight"), action("seat")],
            rail=[action("train")],
            bus=[action("bus")],
        )
    )
    saga = given(what)
    saga.expect("flights.do").reply(succeeded())
    saga.expect("seats.do").reply(failed())
    assert tree(saga) == [
        "way alternatives compensating",
        "  flight action compensating failed",
        "  seat action failed failed",
        "  train action pending",
        "  bus action pending",
    ]
    saga.expect("flights.undo").reply(succeeded())
    saga.expect("trains.do").reply(succeeded())
    assert tree(saga) == [
        "way alternatives succeeded",
        "  flight action compensated failed",
        "  seat action failed failed",
        "  train action succeeded chosen",
        "  bus action pending",
    ]


def test_iterations_stand_under_their_repeat_and_a_wait_says_until_when() -> None:
    """By number."""
    saga = given(
        definition(repeat("poll", "${ false }", action("check"), wait("w", **{"for": "PT5M"})))
    )
    saga.expect("checks.do").reply(succeeded())
    assert tree(saga) == [
        "poll repeat running",
        "  poll#1 iteration running",
        "    poll#1.check action succeeded",
        "    poll#1.w wait running",
    ]
    steps = saga_view(saga.plan, saga.saga, saga.rows).to_json()["steps"]
    assert steps[-1]["reason"] == "waits until 2026-03-01T12:05:00.000+00:00"


def test_long_runs_that_went_alike_are_folded_in_the_tree_and_complete_in_the_list() -> None:
    """First, last, and how many lie between."""
    saga = given(definition(each("e", "${ input.l }", action("a"))), l=[0] * 40)
    for _ in range(30):
        saga.expect("as.do").reply(succeeded())
    assert tree(saga) == [
        "e each running",
        "  e[0].a action succeeded",
        "  e[1].a … e[28].a items succeeded",
        "  e[29].a action succeeded",
        "  e[30].a action running",
    ]
    view = saga_view(saga.plan, saga.saga, saga.rows).to_json()
    assert view["tree"][0]["children"][1]["count"] == 28
    assert [step["path"] for step in view["steps"]] == ["e", *(f"e[{n}].a" for n in range(31))]


def test_a_loop_that_was_undone_is_shown_as_undone() -> None:
    """And one that reached its maximum as failed."""
    what = definition(each("e", [1], action("a")), repeat("r", "${ false }", action("b"), turns=1))
    saga = given(what)
    saga.expect("as.do").reply(succeeded())
    saga.expect("bs.do").reply(succeeded())
    saga.expect("bs.undo").reply(succeeded())
    saga.expect("as.undo").reply(succeeded())
    assert tree(saga) == [
        "e each compensated",
        "  e[0].a action compensated",
        "r repeat failed",
        "  r#1.b action compensated",
    ]


def test_a_settled_step_takes_a_few_numbers_of_the_state() -> None:
    """And is the same step when it is looked at again; so does one outside of loops."""
    saga = given(definition(action("first"), each("e", "${ input.l }", action("a"))), l=[0] * 200)
    saga.checked = False
    saga.expect("firsts.do").reply(succeeded())
    for _ in range(200):
        saga.expect("as.do").reply(succeeded(n=1))
    state = state_to_json(saga.saga.state)
    assert state["steps"]["e[7].a"][:3] == ["s", 19, 20]
    assert state["steps"]["first"][:3] == ["s", 2, 3]
    assert len(json.dumps(state)) < 200 * 60
    read = state_from_json(json.loads(json.dumps(state)))
    assert read == saga.saga.state
    assert read.steps["e[7].a"] == saga.step("e[7].a")  # type: ignore[index]  # a path
    assert state_to_json(read) == state
