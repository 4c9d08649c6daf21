"""Circuits: a sick participant is left alone, tried by one, and trusted again."""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta

from amends_contracts.codec import encode_hello
from amends_contracts.messages import Command, Hello, Json, Outcome, Reply
from amends_contracts.names import Op, StepPath
from amends_orchestrator.core import Decision, compile_plan
from amends_orchestrator.core.decision import Send
from amends_orchestrator.core.inputs import Input, ReplyReceived, Returned
from amends_orchestrator.engine.circuits import Circuit, Circuits
from core.dsl import EXPRESSIONS, action, definition, given
from engine.harness import action as step
from engine.harness import engine
from engine.scripted import silent, succeeded

PATH = StepPath("hotel")
PLAN = compile_plan(definition(action("hotel")), EXPRESSIONS)


@dataclass
class Watched:
    """Circuits with a clock that is given."""

    now: float = 0.0
    changes: list[str] = field(default_factory=list[str])

    def __post_init__(self) -> None:
        self.circuits = Circuits(lambda: self.now, 3, lambda _: PLAN, self.note)

    def note(self, circuit: Circuit) -> None:
        """A change."""
        self.changes.append(circuit.state.value)

    def decided(self, message: Input, *sends: Send) -> None:
        """A decision was committed."""
        saga = given(definition(action("hotel"))).saga
        self.circuits.decided(message, Decision(saga=saga, rows=(), sends=sends))

    def returned(self, times: int = 1) -> None:
        """Nobody had a queue for its command."""
        for _ in range(times):
            self.decided(Returned(path=PATH, op=Op.ACTION, attempt=1))

    def answers(self, outcome: Outcome = Outcome.SUCCEEDED) -> None:
        """It replied."""
        self.decided(
            ReplyReceived(path=PATH, op=Op.ACTION, attempt=1, service="hotels", outcome=outcome)
        )

    def sends(self) -> None:
        """An attempt went out."""
        send = Send(path=PATH, op=Op.ACTION, attempt=1, command="hotels.do", body=b"{}")
        self.decided(Returned(path=StepPath("gone"), op=Op.ACTION, attempt=1), send)

    def held(self) -> dict[str, timedelta]:
        """Who is held off now."""
        return dict(self.circuits.view().sick)


def test_it_opens_when_most_of_what_came_lately_was_no_answer() -> None:
    """Three bad ones, and at least half."""
    w = Watched()
    w.returned(2)
    assert w.held() == {}
    w.returned()
    assert w.held() == {"hotels": timedelta(seconds=1)}
    assert w.changes == ["open"]


def test_it_stays_closed_while_most_is_answered() -> None:
    """A known failure is an answer; `unknown` is none."""
    w = Watched()
    w.answers(Outcome.UNKNOWN)
    for _ in range(6):
        w.answers(Outcome.FAILED)
    w.answers(Outcome.UNKNOWN)
    w.answers(Outcome.UNKNOWN)
    assert w.held() == {}


def test_after_a_pause_one_canary_goes_out_and_the_others_wait() -> None:
    """In the very batch that sends it, and until it is heard of."""
    w = Watched()
    w.returned(3)
    w.now = 1.0
    view = w.circuits.view()
    assert view.sick == {}
    send = Send(path=PATH, op=Op.ACTION, attempt=1, command="hotels.do", body=b"{}")
    view.sent(Decision(saga=given(definition(action("hotel"))).saga, rows=(), sends=(send,)))
    assert list(view.sick) == ["hotels"]
    w.sends()
    assert w.held() == {"hotels": timedelta(seconds=1)}, "no longer than the pause"
    assert w.changes == ["open", "half_open"]


def test_an_answered_canary_closes_it() -> None:
    """And what was bad before is forgotten."""
    w = Watched()
    w.returned(3)
    w.now = 1.0
    w.sends()
    w.answers()
    w.returned(2)
    assert w.held() == {}
    assert w.changes == ["open", "half_open", "closed"]


def test_an_unanswered_canary_opens_it_for_twice_as_long() -> None:
    """Up to a minute."""
    w = Watched()
    w.returned(3)
    pauses: list[float] = []
    for _ in range(8):
        w.now += w.held()["hotels"].total_seconds()
        w.sends()
        w.returned()
        pauses.append(w.held()["hotels"].total_seconds())
    assert pauses == [2, 4, 8, 16, 32, 60, 60, 60]


def test_a_canary_that_is_never_heard_of_is_given_up() -> None:
    """Its saga may have been cancelled: then another goes out."""
    w = Watched()
    w.returned(3)
    w.now = 1.0
    w.sends()
    w.now = 122.0
    assert w.held() == {}


def test_an_undo_that_is_answered_closes_it_too() -> None:
    """Undos are always sent, and say as much."""
    w = Watched()
    w.returned(3)
    w.answers()
    assert w.held() == {}


def test_a_hello_ends_the_pause() -> None:
    """Who has just started is tried at once."""
    w = Watched()
    w.returned(3)
    w.circuits.heard("hotels")
    assert w.held() == {}


def test_no_failures_allowed_means_no_circuit() -> None:
    """Switched off by `circuit_failures=0`."""
    circuits = Circuits(lambda: 0.0, 0, lambda _: PLAN, lambda _: None)
    saga = given(definition(action("hotel"))).saga
    for _ in range(30):
        message = Returned(path=PATH, op=Op.ACTION, attempt=1)
        circuits.decided(message, Decision(saga=saga, rows=()))
    assert circuits.view().sick == {}


STAY: Json = {
    "name": "stay",
    "version": 1,
    "steps": [
        step("hotel", "hotels.book", timeout="PT1S", retry={"max_attempts": None}),
    ],
}
FLY: Json = {"name": "fly", "version": 1, "steps": [step("flight", "flights.reserve")]}


async def test_a_silent_participant_is_left_alone_and_others_go_on() -> None:
    """After some timeouts one at a time is sent; when it answers, every saga ends."""
    async with engine(circuit_failures=5) as e:
        e.participants.on("hotels.book", silent)
        e.register(STAY)
        e.register(FLY)
        sagas = [await e.start(f"s{n}", definition="stay") for n in range(12)]
        await e.until(lambda: bool(e.store.circuits))
        await asyncio.sleep(1.2)  # what was sent before it opened comes back
        before = len(e.participants.seen)
        assert await e.ends(await e.start("f", definition="fly")) == "completed"
        await asyncio.sleep(1.5)
        assert len(e.participants.seen) - before <= 4, "a canary a second, and the flight"
        held = [row for s in sagas for row in e.store.journal[s] if row.kind == "step.held"]
        assert held, "nobody was held off"
        e.participants.on("hotels.book", succeeded())
        assert [await e.ends(saga) for saga in sagas] == ["completed"] * 12
        await e.until(lambda: not e.store.circuits)


async def test_a_participant_that_starts_late_is_tried_when_it_says_hello() -> None:
    """Commands that nobody wanted open the circuit; the hello ends the pause."""
    async with engine(services=("flights",), circuit_failures=2) as e:
        seen: list[Command] = []

        def book(command: Command) -> Reply | None:
            seen.append(command)
            return succeeded()(command)

        e.participants.on("hotels.book", book)
        e.register(STAY)
        sagas = [await e.start(f"s{n}", definition="stay") for n in range(6)]
        await e.until(lambda: bool(e.store.circuits))
        e.participants.run("hotels")
        hello = Hello(service="hotels", instance="h1", commands={})
        e.broker.publish(encode_hello(hello, e.topology))
        assert [await e.ends(saga) for saga in sagas] == ["completed"] * 6


def test_the_engine_is_never_held_off() -> None:
    """A child saga may take longer than its parent waits before it asks again."""
    watched = Watched()
    for _ in range(9):
        watched.decided(
            ReplyReceived(
                path=PATH, op=Op.ACTION, attempt=1, service="amends", outcome=Outcome.UNKNOWN
            )
        )
    assert watched.held() == {}
