"""Late undo: a saga of its own that takes a completed one back."""

from datetime import timedelta

from amends_contracts.names import Op
from amends_contracts.problems import ProblemType
from amends_orchestrator.core import Decision, Refused, undo_plan
from core.dsl import (
    IDENTITY,
    Scenario,
    action,
    awaits,
    choice,
    definition,
    failed,
    found,
    given,
    parallel,
    succeeded,
    unknown,
)

TRIP = definition(
    action("flight", input={"to": "${ input.to }"}),
    parallel("both", a=[action("hotel")], b=[action("car", reversal="read_only")]),
    action(
        "card",
        compensation={"command": "cards.undo", "input": {"id": "${ action.output.id }"}},
    ),
)
SOLD = definition(
    action("flight"),
    action("card", pivot=True),
    action("mail", reversal="irreversible", retry={"max_attempts": None}),
)


def refused(answer: Decision | Refused) -> tuple[ProblemType, list[str]]:
    """Why, and which steps are named."""
    assert isinstance(answer, Refused), answer
    return answer.type, [error.path for error in answer.errors]


def booked() -> Scenario:
    """A trip that completed."""
    saga = given(TRIP, to="Rome")
    saga.expect("flights.do").reply(succeeded(code="A1"))
    saga.expect("hotels.do").reply(succeeded())
    saga.expect("cars.do").reply(succeeded())
    saga.expect("cards.do").reply(succeeded(id="c-1"))
    saga.ends("completed")
    return saga


def sold() -> Scenario:
    """A sale that is past its pivot, and completed."""
    saga = given(SOLD)
    for command in ("flights.do", "cards.do", "mails.do"):
        saga.expect(command).reply(succeeded())
    saga.ends("completed")
    return saga


def test_a_completed_saga_is_undone_latest_first_by_another() -> None:
    """With the recorded inputs and outputs; the original stays as it is."""
    saga = booked()
    undo = saga.undone()
    undo.is_now("compensating")
    undo.expect("cards.undo", id="c-1").reply(succeeded())
    undo.expect("hotels.undo").reply(succeeded())
    flight = undo.expect("flights.undo", input={"to": "Rome"}, output={"code": "A1"})
    undo.is_now("compensating")
    flight.reply(succeeded())
    undo.ends("compensated")
    saga.ends("completed")


def test_the_undo_saga_names_the_original_and_why() -> None:
    """In its first row and its failure; nothing else of it needs the original."""
    undo = booked().undone()
    assert undo.rows[0].data["undoes"] == IDENTITY.saga_id
    assert undo.kinds()[1:6] == [
        "step.adopted flight",
        "step.adopted hotel",
        "step.adopted car",
        "step.adopted card",
        "saga.compensating",
    ]
    failure = undo.saga.state.failure
    assert failure is not None
    assert (failure.type, failure.detail, failure.by) == (
        "amends:undo-requested",
        "undone by ann: the customer called",
        "ann",
    )


def test_what_has_not_completed_has_no_late_undo() -> None:
    """A running saga is cancelled, a compensated one is undone already."""
    saga = given(TRIP, to="Rome")
    assert refused(saga.undo())[0] is ProblemType.WRONG_STATE
    saga.expect("flights.do").reply(failed())
    saga.ends("compensated")
    assert refused(saga.undo())[0] is ProblemType.WRONG_STATE


def test_an_undo_has_no_undo() -> None:
    """Whoever wants it again starts it again."""
    undo = booked().undone()
    assert refused(undo.undo())[0] is ProblemType.WRONG_STATE


def test_across_a_pivot_it_must_be_asked_for_and_lists_what_would_stay() -> None:
    """The irreversible mail stays in the world, and is the undo saga's residue."""
    saga = sold()
    assert refused(saga.undo()) == (ProblemType.PAST_PIVOT, ["/steps/mail"])
    undo = saga.undone(across_pivot=True)
    undo.expect("cards.undo").reply(succeeded())
    undo.expect("flights.undo").reply(succeeded())
    undo.ends("compensated", residue=1)


def test_the_preview_of_a_completed_saga_says_what_its_undo_does() -> None:
    """In the order in which it is done; what stays is listed with it."""
    saga = sold()
    items = [(i.path, i.command, i.residue) for i in undo_plan(saga.plan, saga.saga)]
    assert items == [
        ("mail", None, True),
        ("card", "cards.undo", False),
        ("flight", "flights.undo", False),
    ]


def test_a_window_that_has_closed_closes_the_undo() -> None:
    """`compensable_for` counts from the step's success; until then it is open and shown."""
    saga = given(definition(action("flight", compensable_for="P1D"), action("hotel")))
    saga.expect("flights.do").reply(succeeded())
    saga.now += timedelta(hours=12)
    saga.expect("hotels.do").reply(succeeded())
    [_, flight] = undo_plan(saga.plan, saga.saga)
    assert flight.until == saga.now + timedelta(hours=12)
    saga.now += timedelta(hours=12) - timedelta(seconds=1)
    assert isinstance(saga.undo(), Decision)
    saga.now += timedelta(seconds=1)
    assert refused(saga.undo()) == (ProblemType.WINDOW_CLOSED, ["/steps/flight"])


def test_an_ignored_doubt_is_undone_as_unknown() -> None:
    """With the mapping evaluated now, by the original's input, id and key."""
    undo = {"input": {"to": "${ input.to }", "saga": "${ saga.id }", "key": "${ saga.key }"}}
    what = definition(
        action("flight", on_failure="ignore", retry={"max_attempts": 1}, compensation=undo)
    )
    saga = given(what, to="Rome")
    saga.expect("flights.do").reply(unknown())
    saga.ends("completed")
    undoing = saga.undone()
    sent = undoing.expect("flights.do", to="Rome", saga=IDENTITY.saga_id, key="order-1")
    assert (sent.send.op, sent.send.action_outcome) == (Op.COMPENSATION, "unknown")
    sent.reply(succeeded())
    undoing.ends("compensated")


def test_of_a_choice_what_ran_is_undone() -> None:
    """Which case was taken is adopted, too."""
    what = definition(
        awaits("go", "started"),
        choice("c", ("${ input.fly }", [action("flight")]), otherwise=[action("train")]),
    )
    saga = given(what, fly=False)
    saga.signals("started", "s-1", {"n": 1})
    saga.expect("trains.do").reply(succeeded())
    saga.ends("completed")
    undo = saga.undone()
    undo.expect("trains.undo").reply(succeeded())
    undo.ends("compensated")


def test_what_was_skipped_failed_or_left_is_not_undone() -> None:
    """An ignored failure changed nothing; residue has an owner."""
    once = {"max_attempts": 1}
    what = definition(
        action("flight", on_failure="ignore", retry=once),
        action("hotel", when="${ false }"),
        action("car", effect="none", retry=once, reversal="irreversible", pivot=True),
    )
    saga = given(what)
    saga.expect("flights.do").reply(failed())
    saga.expect("cars.do").reply(unknown())
    saga.skips("car")
    saga.ends("completed", residue=1)
    saga.undone(across_pivot=True).ends("compensated")


def test_a_saga_without_effects_is_undone_at_once() -> None:
    """There is nothing to send."""
    saga = given(definition(action("look", reversal="read_only")))
    saga.expect("looks.do").reply(succeeded())
    saga.undone().ends("compensated")


def test_an_undo_that_its_service_refuses_waits_for_an_operator() -> None:
    """As in any saga that goes back; a cancel changes nothing."""
    undo = booked().undone()
    undo.expect("cards.undo").reply(failed("too-late"))
    undo.is_now("stuck")
    answer = undo.cancels()
    assert isinstance(answer, Refused)
    assert answer.duplicate
    undo.retries("card")
    undo.expect("cards.undo", attempt=2).reply(succeeded())
    undo.expect("hotels.undo")


def test_a_verified_undo_is_probed_in_the_undo_saga() -> None:
    """The probe asks for the original's action."""
    saga = given(definition(action("flight", probe=True, compensation={"verify": True})))
    saga.expect("flights.do").reply(succeeded())
    undo = saga.undone()
    undo.expect("flights.do", op=Op.COMPENSATION).reply(succeeded())
    undo.expect("flights.do", op=Op.PROBE, attempt=1).reply(found("undone"))
    undo.ends("compensated")
