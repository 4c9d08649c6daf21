"""The tree of a saga: what one reads off it."""

import io
from typing import Any

from rich.console import Console

from amends_orchestrator.cli import saga_tree
from amends_orchestrator.cli.output import THEME

T0, T1, T2 = (f"2026-01-01T00:00:00.{ms}+00:00" for ms in ("000", "120", "150"))


def shown(view: dict[str, Any], width: int = 100) -> list[str]:
    """The tree as lines of text."""
    console = Console(width=width, file=io.StringIO(), theme=THEME)
    with console.capture() as captured:
        console.print(saga_tree.render(view))
    return [line.rstrip() for line in captured.get().splitlines()]


def step(path: str, status: str, **more: Any) -> dict[str, Any]:
    """An action."""
    return {"path": path, "kind": "action", "status": status, "attempt": 1, **more}


def view(status: str, *tree: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A saga."""
    base = {"saga_id": "ID", "definition": "book-trip", "version": 1, "key": "k", "status": status}
    return {**base, "tree": list(tree), "steps": [], "held": [], "residue": [], **more}


def test_an_undone_saga_tells_what_failed_and_what_was_taken_back() -> None:
    """Columns stand below each other at every depth; the failure comes last, in words."""
    undo = {"status": "compensated", "attempt": 2, "started_at": T1, "ended_at": T2}
    problem = {"type": "sold-out", "detail": "no room in Venice"}
    flight = step(
        *("flight", "compensated"),
        command="flights.reserve",
        branch="flight",
        started_at=T0,
        ended_at=T1,
        compensation=undo,
    )
    hotel = step("hotel", "failed", command="hotels.book", branch="hotel", problem=problem)
    both = {"path": "both", "kind": "parallel", "status": "compensated"}

    lines = shown(
        view(
            "compensated",
            both | {"children": [flight, hotel]},
            step("payment", "pending", command="payments.charge", pivot=True),
            failure={"step": "hotel", "problem": problem},
            started_at=T0,
            ended_at=T2,
        )
    )

    assert lines == [
        "book-trip@1  k  ↩ compensated in 150 ms  ID",
        "├── ↩ both        parallel         undone",
        "│   ├── ↩ flight  flights.reserve  undone · 120 ms · undo 30 ms · undo attempt 2",
        "│   └── ✘ hotel   hotels.book      failed: sold-out, no room in Venice",
        "└── · payment     payments.charge  not run · pivot",
        "because  hotel: sold-out, no room in Venice",
    ]


def test_a_running_saga_tells_what_it_waits_for() -> None:
    """A step that nobody runs says so; what is held is listed."""
    lines = shown(
        view(
            "running",
            step("flight", "succeeded", command="flights.reserve"),
            step("hotel", "pending", command="hotels.book", reason="undeliverable: nobody runs it"),
            held=[{"path": "flight", "command": "flights.reserve"}],
        )
    )

    assert lines[1:] == [
        "├── ✔ flight  flights.reserve  done",
        "└── ○ hotel   hotels.book      waiting: undeliverable: nobody runs it",
        "held     flight (flights.reserve)",
    ]


def test_a_stuck_saga_calls_for_somebody() -> None:
    """An undo that its service refuses, and residue with its owner."""
    refused = {"status": "compensation_failed", "attempt": 1, "problem": {"type": "locked"}}
    lines = shown(
        view(
            "stuck",
            step("flight", "compensation_failed", compensation=refused),
            residue=[{"path": "room", "reason": "guest is there", "owner": "ops"}],
        )
    )

    assert lines == [
        "book-trip@1  k  ✘ stuck: needs an operator  ID",
        "└── ✘ flight  action  undo failed: locked",
        "next     amends retry, resolve or skip, with its id and a step's path",
        "residue  room (guest is there, ops)",
    ]


def test_cases_not_taken_and_branches_of_several_steps() -> None:
    """A case that was not chosen is one line; a branch of two steps has a line of its own."""
    children = [
        step("fly", "succeeded", branch="by air"),
        step("drive", "succeeded", branch="by air"),
        step("sail", "pending", branch="by sea", chosen=False),
    ]
    lines = shown(
        view(
            "completed",
            {"path": "way", "kind": "choice", "status": "succeeded", "children": children},
        )
    )

    assert lines[1:] == [
        "└── ✔ way            choice  done",
        "    ├── ┐ by air     branch",
        "    │   ├── ✔ fly    action  done",
        "    │   └── ✔ drive  action  done",
        "    └── · by sea     case    not taken",
    ]


def test_lengths_of_time_as_people_say_them() -> None:
    """Milliseconds, seconds, minutes, hours."""
    said = [saga_tree.span(seconds) for seconds in (0.0312, 1.239, 64, 3 * 3600 + 120)]

    assert said == ["31 ms", "1.24 s", "1 min 4 s", "3 h 2 min"]


def test_loops_say_how_far_they_are_and_plans_which_one_was_tried() -> None:
    """A folded run is one line; a plan that failed has a line of its own above its steps."""
    legs = {"path": "legs", "kind": "each", "status": "running", "items": 40, "items_done": 30}
    between = {"path": "legs[1].hop … legs[28].hop", "kind": "items", "status": "succeeded"}
    hops = [
        step("legs[0].hop", "succeeded", command="hops.do"),
        between | {"attempt": 0, "count": 28},
        step("legs[29].hop", "succeeded", command="hops.do"),
    ]
    way = {"path": "way", "kind": "alternatives", "status": "running"}
    plans = [
        step("flight", "compensated", command="flights.reserve", branch="air", failed=True),
        step("train", "running", command="trains.book", branch="rail", chosen=True),
        step("bus", "pending", command="buses.book", branch="road", chosen=False),
    ]

    lines = shown(view("running", legs | {"children": hops}, way | {"children": plans}))

    assert [" ".join(line.split()) for line in lines[1:]] == [
        "├── ● legs each running · 30 of 40 items",
        "│ ├── ✔ legs[0].hop hops.do done",
        "│ ├── ✔ legs[1].hop … legs[28].hop items done · 28 items",
        "│ └── ✔ legs[29].hop hops.do done",
        "└── ● way alternatives running",
        "├── ↩ air plan failed, the next plan was tried",
        "│ └── ↩ flight flights.reserve undone",
        "├── ● train trains.book running",
        "└── · road plan not taken",
    ]


def test_what_models_used_is_shown_by_step_and_model() -> None:
    """What is not known is said, and is not nothing."""
    none = {"lost": 0, "unpriced": 0}
    cheap = {"calls": 2, "input_tokens": 1200, "output_tokens": 80, "usd": 0.0042, **none}
    free = {"calls": 1, "input_tokens": 7, "output_tokens": 0, "usd": None, **none, "unpriced": 1}
    whole = {"calls": 4, "input_tokens": 1207, "output_tokens": 80, "usd": 0.0042, "unpriced": 1}
    models = [{"model": "a:one", **cheap}, {"model": "b:two", **free}]
    lines = shown(
        view(
            "completed",
            step("read", "succeeded", kind="llm", command="llm.generate", usage=cheap),
            step("write", "succeeded", kind="llm", command="llm.generate", usage=free),
            usage={**whole, "lost": 1, "models": models},
        )
    )
    assert lines[1:] == [
        "├── ✔ read   llm.generate  done · 2 calls, 1,280 tokens, 0.0042 USD",
        "└── ✔ write  llm.generate  done · 1 call, 7 tokens, price unknown",
        "used     4 calls, 1,287 tokens, 0.0042 USD, 1 unpriced, 1 lost",
        "         a:one: 2 calls, 1,280 tokens, 0.0042 USD",
        "         b:two: 1 call, 7 tokens, price unknown",
    ]
