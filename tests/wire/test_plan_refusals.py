"""What a plan cannot say is refused where it is written, with the reason and the remedy."""

import inspect
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from amends_contracts.plan import Origin, Plan, PlanError
from amends_contracts.problems import FieldError
from wire.trip import (
    BookHotel,
    ChargeCard,
    FindSeats,
    ReleaseFlight,
    ReserveFlight,
    Seat,
    SendMail,
    Trip,
)

PLAN = Plan("p", input=Trip)
OTHER = Plan("q", input=Trip)
TRIP = PLAN.input
SEAT: Seat = PLAN.do(ReserveFlight(traveller="a", to="b"), id="seat")
with PLAN.each(TRIP.legs, id="legs") as LEG:
    ROOM = PLAN.do(BookHotel(city=LEG.city, nights=1), id="room")
HERE = str(Path(__file__).relative_to(Path.cwd()))
BRANCHES = (
    "use `with plan.choice() as c: with c.when(…):`, or `when=` on a step;"
    " combine conditions with plan.all, plan.any and plan.negated"
)
NO_VALUE = "has no value until the saga runs"


def refusal(wrong: Callable[[], object]) -> PlanError:
    """The error, which names this file and the line of the lambda."""
    with pytest.raises(PlanError) as refused:
        wrong()
    error = refused.value
    assert error.at == Origin(HERE, inspect.getsourcelines(wrong)[1])
    assert str(error).startswith(f"{HERE}:{error.at.line}: {error.reason}")
    return error


def untyped(value: object) -> Any:
    """The value, without pyright's objections."""
    return value


@pytest.mark.parametrize(
    ("wrong", "reason", "remedy"),
    [
        (
            lambda: PLAN.limit(concurrency=0),
            "limit: concurrency: Input should be greater than or equal to 1",
            None,
        ),
        (
            lambda: untyped(SEAT).cod,
            "Seat has no field 'cod'",
            "did you mean 'code'?",
        ),
        (
            lambda: untyped(TRIP.legs[0]).zip,
            "Leg has no field 'zip'",
            "there is: city, nights",
        ),
        (
            lambda: SEAT.code.upper() + "",
            "steps.seat.output.code is of type str, which has no fields",
            "'upper' cannot be asked of a value that exists only when the saga runs",
        ),
        (
            lambda: 1 if SEAT.usd > 1 else 2,
            (
                "if, and, or, not and chained comparisons cannot be recorded:"
                f" steps.seat.output.usd > 1.0 {NO_VALUE}"
            ),
            BRANCHES,
        ),
        (
            lambda: 1 < TRIP.nights < 9,
            (
                "if, and, or, not and chained comparisons cannot be recorded:"
                f" input.nights > 1 {NO_VALUE}"
            ),
            BRANCHES,
        ),
        (
            lambda: TRIP.vip and TRIP.nights,
            f"if, and, or, not and chained comparisons cannot be recorded: input.vip {NO_VALUE}",
            BRANCHES,
        ),
        (
            lambda: len(TRIP.legs),
            f"len() cannot be recorded: input.legs {NO_VALUE}",
            "use plan.size(…)",
        ),
        (
            lambda: [leg.city for leg in TRIP.legs],
            f"loops and unpacking cannot be recorded: input.legs {NO_VALUE}",
            "use `with plan.each(…) as item:`",
        ),
        (
            lambda: "x" in TRIP.to,
            f"`in` cannot be recorded: input.to {NO_VALUE}",
            "use plan.contains(values, item)",
        ),
        (
            lambda: TRIP.legs[1:],
            f"slices cannot be recorded: input.legs {NO_VALUE}",
            "give the whole list to a command",
        ),
        (
            lambda: f"{SEAT.usd:.2f}",
            f"the format '.2f' cannot be recorded: steps.seat.output.usd {NO_VALUE}",
            "send the value, let its reader format it",
        ),
        (
            lambda: int(SEAT.usd),
            f"int() cannot be recorded: steps.seat.output.usd {NO_VALUE}",
            "use plan.cel('int(…)', int)",
        ),
        (
            lambda: float(TRIP.nights),
            f"float() cannot be recorded: input.nights {NO_VALUE}",
            "use plan.cel('double(…)', float)",
        ),
        (
            lambda: round(SEAT.usd),
            f"round() cannot be recorded: steps.seat.output.usd {NO_VALUE}",
            "let the command's participant round",
        ),
        (
            lambda: abs(TRIP.nights),
            f"abs() cannot be recorded: input.nights {NO_VALUE}",
            "let the command's participant do it",
        ),
        (
            lambda: TRIP.nights // 2,
            f"// cannot be recorded: input.nights {NO_VALUE}",
            "use / and let the command's participant round",
        ),
        (
            lambda: TRIP.nights % 2,
            f"% cannot be recorded: input.nights {NO_VALUE}",
            "use plan.cel('a % b', int)",
        ),
        (
            lambda: TRIP.nights**2,
            f"** cannot be recorded: input.nights {NO_VALUE}",
            "let the command's participant compute it",
        ),
        (
            lambda: range(TRIP.nights),
            f"range() and the like cannot be recorded: input.nights {NO_VALUE}",
            "use plan.each or plan.repeat",
        ),
        (
            lambda: setattr(SEAT, "code", "x"),
            f"assigning to a field cannot be recorded: steps.seat.output {NO_VALUE}",
            "build the new value in the command that needs it",
        ),
        (
            lambda: untyped(SEAT.usd) + SEAT.code,
            "float + str cannot be computed in an expression",
            "an f-string joins texts and anything",
        ),
        (
            lambda: TRIP.budget + Decimal(1),
            "a Decimal cannot stand in an expression",
            "numbers, texts, booleans, None and lists of them can",
        ),
        (
            lambda: TRIP.budget + TRIP.budget,
            "Decimal + Decimal cannot be computed in an expression",
            "it travels as text; send numbers, such as integer cents, to compute with",
        ),
        (
            lambda: TRIP.budget < untyped("3"),
            "Decimal travels as text, which does not sort as its values do",
            "compare in plan.cel('timestamp(…) < timestamp(…)', bool), or send a number",
        ),
        (
            lambda: untyped(TRIP.nights) == "3",
            'input.nights is int and "3" is str: == never holds between them',
            None,
        ),
        (
            lambda: PLAN.all(untyped(TRIP.nights)),
            "input.nights is int, not a condition",
            None,
        ),
        (
            lambda: TRIP.nights + OTHER.input.nights,
            "input.nights and input.nights belong to two different plans",
            None,
        ),
    ],
)
def test_values_without_a_value(
    wrong: Callable[[], object], reason: str, remedy: str | None
) -> None:
    """Python's own operations that cannot see into the future, each with what to do instead."""
    error = refusal(wrong)
    assert (error.reason, error.remedy) == (reason, remedy)


@pytest.mark.parametrize(
    ("wrong", "reason", "remedy"),
    [
        (
            lambda: BookHotel(city=TRIP.to, **untyped({"nigths": 2})),
            "BookHotel has no field 'nigths'",
            "did you mean 'nights'?",
        ),
        (
            lambda: BookHotel(city="x", **untyped({"nigths": 2})),
            "BookHotel has no field 'nigths'",
            "did you mean 'nights'?",
        ),
        (lambda: BookHotel(**untyped({"city": TRIP.to})), "BookHotel needs 'nights'", None),
        (
            lambda: BookHotel(city=TRIP.to, nights=0),
            "BookHotel.nights: Input should be greater than or equal to 1, got 0",
            None,
        ),
        (
            lambda: BookHotel(city=untyped(TRIP.nights), nights=1),
            "BookHotel.city is str, but input.nights is int",
            None,
        ),
        (
            lambda: ChargeCard(usd=SEAT.usd, memo="m", tags=untyped(f"{SEAT.code}")),
            "ChargeCard.tags is list[str], but this is a str",
            None,
        ),
    ],
)
def test_commands_that_do_not_fit(
    wrong: Callable[[], object], reason: str, remedy: str | None
) -> None:
    """A command is checked where it is written, as far as its values are known."""
    error = refusal(wrong)
    assert (error.reason, error.remedy) == (reason, remedy)


@pytest.mark.parametrize(
    ("wrong", "reason", "remedy"),
    [
        (
            lambda: PLAN.do(untyped(SendMail)),
            "SendMail is a class",
            "write SendMail(…)",
        ),
        (lambda: PLAN.do(untyped("mail")), "do() sends a command, not 'mail'", None),
        (
            lambda: PLAN.do(FindSeats(to="a"), id="Find"),
            "'Find' is no id",
            "lower case letters, digits, _ and -",
        ),
        (
            lambda: PLAN.do(FindSeats(to="a"), id="seat"),
            "there is a step 'seat' already",
            "ids are unique in a plan",
        ),
        (
            lambda: PLAN.do(FindSeats(to="a"), timeout="soon"),
            "'soon' is no duration",
            'write "30s", "5m", "2h", "1d", "1h30m" or a timedelta',
        ),
        (
            lambda: PLAN.do(FindSeats(to="a"), retry=0),
            "retry=0 is no number of attempts",
            "1 is the first attempt alone",
        ),
        (
            lambda: PLAN.do(FindSeats(to="a"), when=True),
            "a condition is made of what the plan knows, got True",
            "compare a field of plan.input or of a step's output",
        ),
        (
            lambda: PLAN.do(SendMail(to="a", text="b"), undo_retry=3),
            "mail.send is irreversible: there is nothing to compensate it with",
            None,
        ),
        (
            lambda: PLAN.do(SendMail(to=OTHER.input.to, text="b")),
            "input.to belongs to another plan",
            None,
        ),
        (
            lambda: PLAN.do(SendMail(to=ROOM.number, text="b")),
            "steps.room.output.roomNumber belongs to the loop 'legs', which is closed",
            "after an each, plan.collect(…) gives the values of all items as a list",
        ),
        (
            lambda: PLAN.do(SendMail(to=LEG.city, text="b")),
            "item.city belongs to the loop 'legs', which is closed",
            "after an each, plan.collect(…) gives the values of all items as a list",
        ),
        (
            lambda: PLAN.collect(SEAT),
            "collect is for after the each, with a step from inside it",
            None,
        ),
        (
            lambda: PLAN.index,
            "plan.index is known in `with plan.each(…):` only",
            None,
        ),
        (
            lambda: PLAN.branch("x").__enter__(),
            "a branch stands directly in `with plan.parallel():`",
            None,
        ),
        (
            lambda: PLAN.each(untyped(TRIP.to)).__enter__(),
            "each goes over a list, but this is str",
            None,
        ),
        (lambda: PLAN.wait(None), "wait takes either a duration or until=", 'plan.wait("2h")'),
        (lambda: PLAN.returns(None), "returns takes one value, or named values", None),
        (
            lambda: PLAN.cel("${ a }", int),
            "'${ a }' is no expression",
            "write it without ${ }",
        ),
        (lambda: PLAN.written(object), "a type cannot be written as JSON", None),
        (
            lambda: Plan("P", input=Trip),
            "'P' is no name",
            "lower case letters, digits, _ and -",
        ),
        (
            lambda: Plan("p", input=Trip, labels=["travellr"]),
            "Trip has no field 'travellr'",
            "did you mean 'traveller'?",
        ),
        (lambda: Plan("p").document(), "the plan has no steps", None),
    ],
)
def test_steps_that_cannot_be(wrong: Callable[[], object], reason: str, remedy: str | None) -> None:
    """Builders refuse what the document could not say."""
    error = refusal(wrong)
    assert (error.reason, error.remedy) == (reason, remedy)


def empty_parallel(plan: Plan[Trip]) -> None:
    """A parallel without a branch."""
    with plan.parallel():
        pass


def empty_choice(plan: Plan[Trip]) -> None:
    """A choice without a case."""
    with plan.choice():
        pass


def endless_repeat(plan: Plan[Trip]) -> None:
    """A repeat that is never done."""
    with plan.repeat(max=3):
        plan.wait("1s")


def empty_each(plan: Plan[Trip]) -> None:
    """A body without steps."""
    with plan.each(plan.input.legs):
        pass


def stray_step(plan: Plan[Trip]) -> None:
    """A step that belongs to no case."""
    with plan.choice():
        plan.wait("1s")


def late_case(plan: Plan[Trip]) -> None:
    """A case that would never run."""
    with plan.choice() as c:
        with c.otherwise():
            plan.wait("1s")
        with c.when(plan.input.vip):
            plan.wait("1s")


def hidden_item(plan: Plan[Trip]) -> None:
    """The outer item in an inner loop."""
    with plan.each(plan.input.legs, id="outer") as outer, plan.each(plan.input.legs):
        plan.do(SendMail(to=outer.city, text="x"))


def deep_collect(plan: Plan[Trip]) -> None:
    """A list of lists."""
    with plan.each(plan.input.legs), plan.each(plan.input.legs):
        seat = plan.do(FindSeats(to="x"))
    plan.collect(seat)


def early_document(plan: Plan[Trip]) -> None:
    """A plan that is still being written."""
    with plan.each(plan.input.legs):
        plan.wait("1s")
        plan.document()


def undone_twice(plan: Plan[Trip]) -> None:
    """Two classes with one name."""

    class Again(ReleaseFlight, name="flights.find"):
        pass

    plan.do(FindSeats(to="x"))
    plan.do(Again(code=None))


@pytest.mark.parametrize(
    ("write", "line", "reason"),
    [
        (empty_parallel, 2, "this parallel has no branch"),
        (empty_choice, 2, "this choice has no case"),
        (endless_repeat, 2, "this repeat does not say when it is done"),
        (empty_each, 2, "this each has no steps"),
        (stray_step, 3, "a step directly in a choice belongs to no case"),
        (late_case, 5, "a case after otherwise() would never run"),
        (
            hidden_item,
            3,
            "item.city is that of the outer loop 'outer', hidden by the inner one",
        ),
        (deep_collect, 4, "steps.seat.output lies two loops deep"),
        (early_document, 4, "the plan is still being written"),
        (undone_twice, 7, "FindSeats and Again are both 'flights.find'"),
    ],
)
def test_blocks_that_cannot_be(write: Callable[[Plan[Trip]], None], line: int, reason: str) -> None:
    """The line is that of the block, or of the step in it that is wrong."""
    with pytest.raises(PlanError) as refused:
        write(Plan("p", input=Trip))
    first = inspect.getsourcelines(write)[1]
    assert (refused.value.reason, refused.value.at) == (reason, Origin(HERE, first + line))


def test_what_the_model_refuses_names_the_step() -> None:
    """Limits of the document's own model come with the line of the step."""
    plan = Plan("p", input=Trip)
    plan.wait("1s")
    with plan.each(plan.input.legs, concurrency=5000):
        plan.wait("1s")
    with pytest.raises(PlanError, match=r"steps\.1\.each\.concurrency: .*1000") as refused:
        plan.document()
    line = inspect.getsourcelines(test_what_the_model_refuses_names_the_step)[1]
    assert refused.value.at == Origin(HERE, line + 4)


def test_the_verifiers_errors_name_the_users_line() -> None:
    """By the JSON pointer of the place, or of the innermost step around it."""
    plan = Plan("p", input=Trip)
    plan.wait("1s")
    with plan.each(plan.input.legs):
        plan.wait("2s")
    line = inspect.getsourcelines(test_the_verifiers_errors_name_the_users_line)[1]
    errors = [
        FieldError(path="/steps/1/steps/0/for", reason="too long"),
        FieldError(path="/steps/1/items", reason="unknown"),
        FieldError(path="/deadline", reason="too short"),
    ]
    assert [(e.file, e.line) for e in plan.located(errors)] == [
        (HERE, line + 5),
        (HERE, line + 4),
        (HERE, line + 2),
    ]
