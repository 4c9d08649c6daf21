"""Tests of the core as sentences: `given(…)`, `expect(…).reply(…)`, `ends(…)`.

A scenario is one saga driven by hand. After every decision it checks what must always hold:
replaying the journal gives the same saga, the state survives its JSON, seqs have no gap, and a
saga that has not ended has a time at which it is looked at.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from amends_contracts.definition import Definition
from amends_contracts.messages import Json, Outcome
from amends_contracts.names import Op, SagaId, StepPath, service_of, undo_start_key
from amends_contracts.problems import Problem, ProblemType
from amends_orchestrator.cel import CelExpressions
from amends_orchestrator.core import (
    TERMINAL,
    Decision,
    Identity,
    JournalRow,
    Missing,
    Plan,
    Refused,
    Saga,
    SagaStatus,
    Send,
    UndoRequested,
    adopted_rows,
    compile_plan,
    decide,
    evolve,
    from_stored,
    replay,
    start,
    start_undo,
    state_to_json,
    wake_at,
)
from amends_orchestrator.core.decision import Ask, GiveBack, PermitChange
from amends_orchestrator.core.inputs import (
    CancelRequested,
    DeadLettered,
    Granted,
    Input,
    ReplyReceived,
    ResolveRequested,
    ResumeRequested,
    RetryRequested,
    Returned,
    ReviewDecision,
    Signalled,
    SkipRequested,
    StartRequested,
    SuspendRequested,
    Woke,
)
from amends_orchestrator.core.state import StepState

EXPRESSIONS = CelExpressions()
Entry = tuple[datetime, Input | None, Decision | Refused, Mapping[str, timedelta]]
"""When it was told what (None is what started it), its answer, and who was held off then."""
BEGAN = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
IDENTITY = Identity(
    saga_id=SagaId("0195f1c0-0000-7000-8000-000000000001"),
    tenant="default",
    definition="test",
    version=1,
    key="order-1",
    partition=0,
)
UNDO_IDENTITY = replace(
    IDENTITY,
    saga_id=SagaId("0195f1c0-0000-7000-8000-000000000002"),
    key=undo_start_key(IDENTITY.saga_id),
)


# --- definitions ---------------------------------------------------------------------------------


def action(step_id: str, **fields: Any) -> dict[str, Any]:
    """An action `<id>s.do` that its own command undoes, unless it says something else."""
    undone = "compensation" in fields or "reversal" in fields
    base: dict[str, Any] = {"kind": "action", "id": step_id, "command": f"{step_id}s.do"}
    return base | ({} if undone else {"compensation": {"command": f"{step_id}s.undo"}}) | fields


def awaits(step_id: str, event: str, **fields: Any) -> dict[str, Any]:
    """A step that waits for an event."""
    return {"kind": "await", "id": step_id, "event": event} | fields


def review(step_id: str, title: str = "May it?", **fields: Any) -> dict[str, Any]:
    """A step that a person decides."""
    return {"kind": "review", "id": step_id, "title": title} | fields


def child(step_id: str, name: str, **fields: Any) -> dict[str, Any]:
    """A step that runs another saga."""
    return {"kind": "saga", "id": step_id, "definition": name} | fields


def parallel(step_id: str, /, when: str | None = None, **branches: Any) -> dict[str, Any]:
    """A parallel with named branches."""
    condition = {"when": when} if when else {}
    return {"kind": "parallel", "id": step_id, "branches": branches} | condition


def choice(
    step_id: str, *cases: tuple[str, list[Any]], otherwise: list[Any] | None = None
) -> dict[str, Any]:
    """A choice of (condition, steps)."""
    return {
        "kind": "choice",
        "id": step_id,
        "cases": [{"when": when, "steps": steps} for when, steps in cases],
        "otherwise": otherwise or [],
    }


def each(step_id: str, items: Any, *steps: Any, **fields: Any) -> dict[str, Any]:
    """An each over `items`, one after the other unless `concurrency` says something else."""
    return {"kind": "each", "id": step_id, "items": items, "steps": list(steps), **fields}


def repeat(step_id: str, until: str, *steps: Any, turns: int = 5, **fields: Any) -> dict[str, Any]:
    """A repeat of at most `turns` iterations."""
    body = {"until": until, "max": turns, "steps": list(steps)}
    return {"kind": "repeat", "id": step_id, **body, **fields}


def alternatives(step_id: str, /, when: str | None = None, **plans: Any) -> dict[str, Any]:
    """Alternatives with named plans."""
    named = [{"name": name, "steps": steps} for name, steps in plans.items()]
    condition = {"when": when} if when else {}
    return {"kind": "alternatives", "id": step_id, "plans": named} | condition


def wait(step_id: str, **fields: Any) -> dict[str, Any]:
    """A wait `for` a duration or `until` a time."""
    return {"kind": "wait", "id": step_id, **fields}


def definition(*steps: Any, **fields: Any) -> Definition:
    """A definition named `test`."""
    return Definition.model_validate({"name": "test", "steps": list(steps), **fields})


# --- replies -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Said:
    """What a participant says."""

    outcome: Outcome
    fields: Mapping[str, Any] = field(default_factory=dict[str, Any])


def succeeded(**output: Json) -> Said:
    """It took effect."""
    return Said(Outcome.SUCCEEDED, {"output": output})


def bad_output() -> Said:
    """It took effect, and its output violates the schema."""
    problem = Problem(type=ProblemType.BAD_OUTPUT, title="not what was announced")
    return Said(Outcome.SUCCEEDED, {"output": {"?": 1}, "bad_output": problem})


def failed(
    kind: str = "sold-out", *, retryable: bool = False, retry_after_s: float | None = None
) -> Said:
    """Nothing changed."""
    after = None if retry_after_s is None else timedelta(seconds=retry_after_s)
    problem = Problem(type=kind)
    fields = {"problem": problem, "retryable": retryable, "retry_after": after}
    return Said(Outcome.FAILED, fields)


def unknown(kind: str = "amends:crashed") -> Said:
    """It cannot tell."""
    return Said(Outcome.UNKNOWN, {"problem": Problem(type=kind)})


def fenced() -> Said:
    """The compensation was there first."""
    return Said(Outcome.FENCED, {"problem": Problem(type=ProblemType.FENCED)})


def progress() -> Said:
    """Still working."""
    return Said(Outcome.PROGRESS)


def found(effect: str, output: Json = None) -> Said:
    """What a probe found."""
    return Said(Outcome.SUCCEEDED, {"output": {"effect": effect, "output": output}})


# --- the scenario --------------------------------------------------------------------------------


@dataclass
class Expectation:
    """A command that was sent."""

    scenario: "Scenario"
    send: Send

    def reply(self, said: Said, *, service: str | None = None) -> Decision | Refused:
        """Its participant answers."""
        return self.scenario.receive(
            ReplyReceived(
                path=self.send.path,
                op=self.send.op,
                attempt=self.send.attempt,
                service=service or service_of(self.send.command),
                outcome=said.outcome,
                **said.fields,
            )
        )

    def returned(self, *, never_delivered: bool = False) -> Decision | Refused:
        """Nobody has a queue for it."""
        send = self.send
        return self.scenario.receive(
            Returned(
                path=send.path,
                op=send.op,
                attempt=send.attempt,
                never_delivered=never_delivered,
            )
        )

    def dead_lettered(self) -> Decision | Refused:
        """Its participant could not read it."""
        send = self.send
        return self.scenario.receive(
            DeadLettered(path=send.path, op=send.op, attempt=send.attempt, reason="poison")
        )


@dataclass
class Scenario:
    """One saga, driven by hand."""

    plan: Plan
    saga: Saga
    now: datetime
    rows: list[JournalRow]
    unanswered: list[Send]
    permits: dict[tuple[StepPath, int], PermitChange] = field(
        default_factory=dict[tuple[StepPath, int], PermitChange]
    )
    """What stands in the table of permits: asked for, or taken."""
    sick: dict[str, timedelta] = field(default_factory=dict[str, timedelta])
    """Participants that do not answer, and for how long they are held off."""
    checked: bool = True
    """Whether every decision is checked against a replay of the whole journal."""
    heard: list[Entry] = field(default_factory=list[Entry])
    """All that it was told, and what it answered."""

    def expect(
        self, command: str, *, op: Op | None = None, attempt: int | None = None, **body: Json
    ) -> Expectation:
        """A command that was sent and not looked at yet; members of its body as given."""
        for send in self.unanswered:
            if send.command == command and op in (None, send.op):
                self.unanswered.remove(send)
                assert attempt in (None, send.attempt), f"attempt {send.attempt}"
                sent = json.loads(send.body)
                assert {name: sent.get(name) for name in body} == body
                return Expectation(self, send)
        sent = [f"{send.op} {send.command}" for send in self.unanswered]
        raise AssertionError(f"{command} was not sent; sent were {sent}")

    def expect_nothing(self) -> None:
        """Everything that was sent has been looked at."""
        assert [f"{send.op} {send.command} {send.attempt}" for send in self.unanswered] == []

    def receive(self, message: Input) -> Decision | Refused:
        """Decide, with the values it asks for, and keep what was decided."""
        values: dict[int, Json] = {}
        while isinstance(
            answer := decide(self.plan, self.saga, values, message, self.now, self.sick), Missing
        ):
            assert not answer.seqs & values.keys(), "asked twice for the same row"
            values |= {seq: self.rows[seq - 1].data for seq in answer.seqs}
        self.heard.append((self.now, message, answer, dict(self.sick)))
        if isinstance(answer, Decision):
            self.keep(answer, woke=isinstance(message, Woke))
        return answer

    def keep(self, decision: Decision, *, woke: bool = False) -> None:
        """Make a decision durable, and check what always holds."""
        self.rows.extend(decision.rows)
        self.unanswered.extend(decision.sends)
        self.saga = saga = decision.saga
        for change in decision.permits:
            if isinstance(change, GiveBack):
                del self.permits[change.path, change.ask]
            else:
                self.permits[change.path, change.ask] = change
        if self.checked:
            check_decision(saga, self.rows, decision, self.now if woke else None)
            needed = {(path, step.permit) for path, step in saga.state.steps.items() if step.permit}
            assert self.permits.keys() == needed, "the table holds what the steps ask for and keep"
            assert not self.permits or saga.status not in TERMINAL, "an end gives all back"

    def after(self, **time: float) -> Decision | Refused:
        """Time passes, and the saga is woken."""
        self.now += timedelta(**time)
        return self.receive(Woke())

    def wakes(self) -> Decision | Refused:
        """The saga's `wake_at` comes."""
        at = self.saga.wake_at
        assert at is not None
        self.now = max(self.now, at)
        return self.receive(Woke())

    def overdue(self) -> bool:
        """Whether something was due already (a reply came before the saga was woken)."""
        ops = [op for step in self.saga.state.steps.values() for op in (step.action, step.undo)]
        return any(op.due is not None and op.due <= self.now for op in ops)

    def asks(self, step: str) -> Ask:
        """The request for a permit that a step waits with."""
        change = self.permits[StepPath(step), self.step(step).permit]
        assert isinstance(change, Ask), f"{step} has its permit"
        return change

    def grants(self, step: str, ask: int | None = None) -> Decision | Refused:
        """The permit that a step waits for (or asked for in row `ask`) is its own."""
        asked = self.step(step).permit if ask is None else ask
        return self.receive(Granted(path=StepPath(step), ask=asked))

    def cancels(self, reason: str = "changed my mind") -> Decision | Refused:
        """Somebody cancels."""
        return self.receive(CancelRequested(reason=reason, by="ann"))

    def signals(self, event: str, signal_id: str, data: Json = None) -> Decision | Refused:
        """Somebody sends an event."""
        return self.receive(Signalled(event=event, id=signal_id, by="ann", data=data))

    def decides(
        self,
        step: str,
        decision: Literal["approve", "reject", "edit"],
        by: str = "bea",
        **fields: Any,
    ) -> Decision | Refused:
        """A reviewer decides what a step shows now, unless `shown_digest` says something else."""
        state = self.step(step).review
        given: dict[str, Any] = {"review": state.seq, "shown_digest": state.digest, **fields}
        return self.receive(ReviewDecision(decision=decision, by=by, **given))

    def undone(self, *, across_pivot: bool = False) -> "Scenario":
        """Somebody asks for its late undo: the undo saga."""
        decision = self.undo(across_pivot=across_pivot)
        assert isinstance(decision, Decision), decision
        undo = Scenario(self.plan, decision.saga, self.now, [], [])
        undo.heard.append((self.now, None, decision, {}))
        undo.keep(decision)
        return undo

    def undo(self, *, across_pivot: bool = False) -> Decision | Refused:
        """What asking for its late undo is answered."""
        request = UndoRequested(
            original=self.saga,
            values={seq: self.rows[seq - 1].data for seq in adopted_rows(self.saga)},
            reason="the customer called",
            by="ann",
            across_pivot=across_pivot,
        )
        return start_undo(self.plan, UNDO_IDENTITY, request, self.now)

    def suspends(self) -> Decision | Refused:
        """An operator suspends."""
        return self.receive(SuspendRequested(reason="look", by="ann"))

    def resumes(self) -> Decision | Refused:
        """An operator resumes."""
        return self.receive(ResumeRequested(reason="looked", by="ann"))

    def retries(self, step: str) -> Decision | Refused:
        """An operator retries a step."""
        return self.receive(RetryRequested(path=StepPath(step), reason="again", by="ann"))

    def skips(self, step: str) -> Decision | Refused:
        """An operator skips a step."""
        return self.receive(
            SkipRequested(path=StepPath(step), reason="mended", by="ann", owner="ann")
        )

    def resolves(self, step: str, outcome: Outcome, output: Json = None) -> Decision | Refused:
        """An operator says what became of a step."""
        return self.receive(
            ResolveRequested(
                path=StepPath(step), outcome=outcome, reason="looked", by="ann", output=output
            )
        )

    def step(self, path: str) -> StepState:
        """A step's state."""
        return self.saga.state.steps[StepPath(path)]

    def status(self, path: str) -> str:
        """A step's status."""
        return self.step(path).status.value

    def kinds(self) -> list[str]:
        """The kinds of all rows, with their steps."""
        return [f"{row.kind} {row.step}" if row.step else row.kind for row in self.rows]

    def statuses(self) -> list[tuple[str, SagaStatus]]:
        """Every row's kind with the status after it."""
        saga: Saga | None = None
        found: list[tuple[str, SagaStatus]] = []
        for row in self.rows:
            saga = evolve(saga, row, self.saga.identity)
            found.append((row.kind, saga.status))
        return found

    def is_now(self, status: str) -> None:
        """The saga's status."""
        assert self.saga.status == status, f"{self.saga.status}: {self.kinds()}"

    def ends(self, status: str, *, residue: int = 0) -> None:
        """The saga has ended, with nothing left to say."""
        self.is_now(status)
        assert self.saga.status in TERMINAL
        assert self.saga.wake_at is None
        assert self.saga.residue == residue
        self.expect_nothing()


def check_decision(
    saga: Saga, rows: list[JournalRow], decision: Decision, woken_at: datetime | None
) -> None:
    """What holds after every decision; `woken_at` where the saga had been woken."""
    assert [row.seq for row in rows] == list(range(1, len(rows) + 1)), "seqs without a gap"
    assert saga.seq == len(rows)
    assert replay(rows, saga.identity) == saga, "the journal tells the same saga"
    state = json.loads(json.dumps(state_to_json(saga.state)))
    json.dumps([row.data for row in decision.rows])
    assert from_stored(saga.identity, saga.seq, saga.status, state) == saga, "its JSON too"
    due = wake_at(saga, woken_at)
    assert (due is None) == (saga.status in TERMINAL), "no silent saga"
    assert due is None or woken_at is None or due > woken_at, "what was due has happened"
    told = {(row.step, row.kind.split(".")[0], row.attempt) for row in decision.rows}
    for send in decision.sends:
        side = {"action": "step", "compensation": "undo"}.get(send.op)
        if side is not None:
            assert (send.path, side, send.attempt) in told, "intent before dispatch"


def started_with(fields: Json) -> StartRequested:
    """The start of every scenario, with this input."""
    return StartRequested(key="order-1", input=fields, by="test")


def given(what: Definition, **fields: Json) -> Scenario:
    """A saga that was just started."""
    plan = compile_plan(what, EXPRESSIONS)
    decision = start(plan, IDENTITY, started_with(fields), BEGAN)
    assert isinstance(decision, Decision)
    scenario = Scenario(plan, decision.saga, BEGAN, [], [])
    scenario.heard.append((BEGAN, None, decision, {}))
    scenario.keep(decision)
    return scenario
