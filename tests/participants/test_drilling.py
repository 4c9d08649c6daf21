"""Orders of drills are obeyed where they are signed, enabled and declared; undoing always works."""

import pytest
from pydantic import SecretStr

from amends_contracts import drill
from amends_contracts.command import Command as Declared
from amends_contracts.drill import Order, Ordered, read_order, write_order
from amends_contracts.messages import ActionOutcome, Command
from amends_contracts.names import Key, Op, SagaId, StepPath, key_of, message_id_of
from amends_contracts.problems import Problem, ProblemType
from amends_participants import Participant
from amends_participants.runtime.drilling import Died, Drilling
from amends_participants.runtime.invoke import Ended

SECRET = "a secret for drills alone"
SAGA = SagaId("0197a1b2-c3d4-7e5f-8a6b-0123456789ab")
FLIGHT = StepPath("flight")


class Hold(Declared[None], name="flights.hold", effect="transactional"):
    """A seat."""


def service(sandbox: str | None) -> Participant:
    """One that says what it acts on in drills, or does not."""
    app = Participant("flights")

    @app.action(Hold, drill=sandbox)
    async def hold(cmd: Hold) -> None: ...

    @app.compensation(Hold)
    async def free(cmd: Hold) -> None: ...

    return app


def command(order: Order, *, op: Op = Op.ACTION, attempt: int = 1, secret: str = SECRET) -> Command:
    """A command of a drill."""
    key = key_of(SAGA, FLIGHT, op)
    return Command(
        type="flights.hold",
        op=op,
        message_id=message_id_of(SAGA, FLIGHT, op, attempt),
        body=b"{}",
        saga_id=SAGA,
        reply_to="reply.flights.00",
        key=key,
        attempt=attempt,
        compensates=None if op is Op.ACTION else key_of(SAGA, FLIGHT, Op.ACTION),
        action_outcome=None if op is Op.ACTION else ActionOutcome.SUCCEEDED,
        extra_headers={drill.HEADER: write_order(order, key, secret)},
    )


def test_an_order_is_good_for_one_key() -> None:
    """Who copies it to another command has nothing."""
    order, key = Order(Ordered.FAIL, 2), Key(f"{SAGA}/flight/action")
    text = write_order(order, key, SECRET)
    assert read_order(text, key, SECRET) == order
    assert read_order(text, Key(f"{SAGA}/hotel/action"), SECRET) is None
    assert read_order(text, key, "another secret") is None
    assert read_order(text.replace("2", "9", 1), key, SECRET) is None
    assert read_order("", key, SECRET) is None


@pytest.mark.parametrize(
    ("secret", "sandbox", "signed", "said"),
    [
        (None, "seats", SECRET, "drills are not enabled here"),
        (SECRET, "seats", "another secret", "is not signed with this service's secret"),
        (SECRET, None, SECRET, "does not say in which sandbox"),
    ],
)
def test_an_action_is_refused_unless_all_agree(
    secret: str | None, sandbox: str | None, signed: str, said: str
) -> None:
    """Its handler is never called."""
    drilling = Drilling(None if secret is None else SecretStr(secret))
    registration = service(sandbox).find_action("flights.hold")
    assert registration is not None
    refused = drilling.refusal(command(drill.CALM, secret=signed), registration)
    assert refused is not None
    problem = Problem.model_validate_json(refused.body)
    assert problem.type == ProblemType.DRILL_REFUSED
    assert said in str(problem.detail)


def test_one_that_is_signed_enabled_and_declared_runs() -> None:
    """And does what it was ordered, for so many attempts."""
    drilling = Drilling(SecretStr(SECRET))
    registration = service("seats").find_action("flights.hold")
    assert registration is not None
    assert drilling.refusal(command(drill.CALM), registration) is None
    drilling.before(command(drill.CALM))
    with pytest.raises(Ended) as ended:
        drilling.before(command(Order(Ordered.FAIL_FOR_NOW, 1)))
    assert ended.value.answer.retryable
    drilling.before(command(Order(Ordered.FAIL_FOR_NOW, 1), attempt=2))
    with pytest.raises(Died):
        drilling.after(command(Order(Ordered.DIE)))


def test_an_undo_is_never_refused() -> None:
    """One that is not signed for us is an ordinary undo."""
    undo = command(Order(Ordered.FAIL_FOR_NOW, 5), op=Op.COMPENSATION, secret="another secret")
    admitted = Drilling(SecretStr(SECRET)).admitted(undo)
    assert admitted.extra_headers == {}
    assert Drilling().admitted(undo).extra_headers == {}


def test_hello_says_what_a_command_acts_on_in_drills() -> None:
    """Only where it was said."""
    said = service("its own seats").hello("i").commands["flights.hold"].drill
    assert (said, service(None).hello("i").commands["flights.hold"].drill) == (
        "its own seats",
        None,
    )
