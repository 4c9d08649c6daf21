"""A world for one saga: participants with the barrier of the wire contract, and a bad broker.

Each participant keeps one row per action key, exactly by the table "What a participant promises".
The broker delivers late, twice, in any order, returns and dead-letters. What really happened is
kept as a ledger of effects, and the promises are checked against it.
"""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from amends_contracts.definition import Definition
from amends_contracts.messages import ActionOutcome, Effect, Json, Outcome, Reversal
from amends_contracts.names import Op, StepPath, service_of
from amends_contracts.problems import Problem, ProblemType
from amends_orchestrator.core import TERMINAL, Decision, Refused, Send, saga_view, undo_plan
from amends_orchestrator.core.decision import Ask
from amends_orchestrator.core.frames import frames_of, prefix_at
from amends_orchestrator.core.inputs import (
    DeadLettered,
    Granted,
    ReplyReceived,
    Returned,
    Signalled,
    Woke,
)
from amends_orchestrator.core.plan import ActionNode, EachNode
from amends_orchestrator.core.state import ACTIVE, Doing, StepState, StepStatus
from core import reviewed
from core.barrier import Row, Truth
from core.dsl import Scenario, given
from core.plan_order import DONE, UNSETTLED, bare, precedes


@dataclass
class World:
    """One saga and everything around it."""

    saga: Scenario
    random: random.Random
    rows: dict[StepPath, Row] = field(default_factory=dict[StepPath, Row])
    truth: dict[StepPath, Truth] = field(default_factory=dict[StepPath, Truth])
    commands: list[Send] = field(default_factory=list[Send])
    replies: list[ReplyReceived] = field(default_factory=list[ReplyReceived])
    owned: set[StepPath] = field(default_factory=set[StepPath])
    """Steps that an operator took over."""
    undo_order: list[StepPath] = field(default_factory=list[StepPath])
    signalled: int = 0
    """Signals sent so far, repetitions aside."""
    healthy: bool = False

    def collect(self) -> None:
        """What was decided is published; undos obey the order of the plan."""
        for send in self.saga.unanswered:
            if send.op is Op.COMPENSATION:
                self.check_order(send.path)
                assert self.saga.saga.state.pivot is None, "an undo after the pivot"
            elif send.op is Op.ACTION:
                self.check_begin(send.path)
            self.commands.append(send)
        self.saga.unanswered.clear()

    def check_order(self, path: StepPath) -> None:
        """Whatever the plan sequences after `path` is settled and undone."""
        for later, step in self.actions():
            if precedes(self.saga.plan, path, later) and not step.residue:
                assert step.status not in UNSETTLED, f"{path} undone before {later} ({step.status})"

    def check_begin(self, path: StepPath) -> None:
        """What the plan sequences before `path` is done; plans that failed before it are undone."""
        for earlier, step in self.actions():
            if not precedes(self.saga.plan, earlier, path) or step.residue:
                continue
            where = f"{path} began after {earlier} ({step.status})"
            if self.is_passed(earlier):
                assert step.status not in UNSETTLED, where
            else:
                assert step.status in DONE or step.ignored, where

    def is_passed(self, path: StepPath) -> bool:
        """Whether the step belongs to a plan of alternatives that failed."""
        steps = self.saga.saga.state.steps
        places = self.saga.plan.places
        for name, number in places[self.saga.plan.nodes[bare(path)].id].plans:
            around = StepPath(prefix_at(path, len(places[name].repeats)) + name)
            if steps[around].chosen != number:
                return True
        return False

    def check_concurrency(self) -> None:
        """No more items of an each are under way than it allows."""
        working: dict[StepPath, set[int]] = {}
        for path, step in self.saga.saga.state.steps.items():
            for frame in frames_of(path):
                if frame.each and step.action.doing in ACTIVE:
                    working.setdefault(frame.holder, set()).add(frame.number)
        for holder, numbers in working.items():
            node = self.saga.plan.node_of(holder)
            assert isinstance(node, EachNode)
            assert len(numbers) <= node.concurrency, f"{holder}: {numbers} at a time"

    def actions(self) -> list[tuple[StepPath, StepState]]:
        """All instances of actions."""
        steps = self.saga.saga.state.steps
        return [(p, s) for p, s in steps.items() if self.saga.plan.action_of(p) is not None]

    # --- participants

    def handle(self, send: Send) -> ReplyReceived | None:
        """A participant's answer, by the table; None: it dies, or says nothing."""
        row = self.rows.setdefault(send.path, Row())
        truth = self.truth.setdefault(send.path, Truth())
        match send.op:
            case Op.ACTION:
                said = self.act(send, row, truth)
            case Op.COMPENSATION:
                said = self.undo(send, row, truth)
            case _:
                said = self.probe(send, row, truth)
        if said is None:
            return None
        outcome, output, retryable = said
        problem = None
        if outcome is not Outcome.SUCCEEDED:
            problem = Problem(type=output if isinstance(output, str) else "about:blank")
            output = None
        bad = outcome is Outcome.SUCCEEDED and send.op is Op.ACTION and output == {"bad": True}
        return ReplyReceived(
            path=send.path,
            op=send.op,
            attempt=send.attempt,
            service=service_of(send.command),
            outcome=outcome,
            output=output,
            problem=problem,
            retryable=retryable,
            bad_output=Problem(type=ProblemType.BAD_OUTPUT) if bad else None,
        )

    def act(self, send: Send, row: Row, truth: Truth) -> tuple[Outcome, Json, bool] | None:
        node = self.saga.plan.action_of(send.path)
        assert node is not None
        if row.state == "tombstone":
            return Outcome.FENCED, "amends:fenced", False
        if row.state in ("succeeded", "undone", "failed-final"):
            return row.reply
        again = node.effect is not Effect.NONE
        if send.attempt <= row.closed or (row.state == "unknown" and not again):
            return row.reply or (Outcome.FAILED, "amends:closed", True)
        row.closed = send.attempt
        return self.run(row, truth)

    def run(self, row: Row, truth: Truth) -> tuple[Outcome, Json, bool] | None:
        if row.state == "unknown" and truth.applied:  # the outside honours the key
            row.state, row.reply = "succeeded", (Outcome.SUCCEEDED, {"n": 1}, False)
            return row.reply
        dice = 0.0 if self.healthy else self.random.random()
        if dice < 0.55:
            truth.applied += 1
            output = {"bad": True} if not self.healthy and dice > 0.52 else {"n": 1}
            row.state, row.reply = "succeeded", (Outcome.SUCCEEDED, output, False)
            return row.reply if dice < 0.45 or dice > 0.52 else None
        if dice < 0.7:
            row.state, row.reply = "failed", (Outcome.FAILED, "busy", True)
        elif dice < 0.8:
            row.state, row.reply = "failed-final", (Outcome.FAILED, "sold-out", False)
        elif dice < 0.82:
            return Outcome.UNKNOWN, "amends:key-reused", False
        else:
            truth.applied += self.random.random() < 0.5
            row.state, row.reply = "unknown", (Outcome.UNKNOWN, "amends:crashed", False)
        return row.reply if dice < 0.95 else None

    def undo(self, send: Send, row: Row, truth: Truth) -> tuple[Outcome, Json, bool] | None:
        dice = 0.0 if self.healthy else self.random.random()
        if row.undo:
            return Outcome.SUCCEEDED, {}, False
        if dice > 0.8:
            return (Outcome.FAILED, "busy", True) if dice < 0.9 else None
        if dice > 0.77:
            return Outcome.FAILED, "cannot", False
        if dice > 0.75:
            return Outcome.UNKNOWN, "amends:crashed", False
        if row.state == "none":
            assert send.action_outcome is not ActionOutcome.SUCCEEDED, "succeeded, but no row"
        if truth.applied > truth.undone:
            assert row.state in ("succeeded", "unknown"), row.state
            truth.undone += 1
            row.state = "undone" if row.state == "succeeded" else "tombstone"
            self.undo_order.append(send.path)
        else:
            row.state = "tombstone"
        row.undo = True
        return (Outcome.SUCCEEDED, {}, False) if dice < 0.7 else None

    def probe(self, send: Send, row: Row, truth: Truth) -> tuple[Outcome, Json, bool] | None:
        dice = 0.0 if self.healthy else self.random.random()
        row.closed = max(row.closed, send.attempt)
        if dice > 0.85:
            return (Outcome.UNKNOWN, "amends:running", False) if dice < 0.95 else None
        match row.state:
            case "undone":
                effect = "undone"
            case "succeeded":
                effect = "present"
            case "unknown" if truth.applied > truth.undone:
                effect = "present"
            case _:
                effect = "absent"
                if row.state in ("none", "unknown"):
                    row.state, row.reply = "closed", (Outcome.FAILED, "amends:closed", True)
        return Outcome.SUCCEEDED, {"effect": effect, "output": {"n": 1}}, False

    # --- the broker and time

    def deliver(self, n: int, *, keep: bool = False) -> None:
        """One command reaches its participant, and perhaps stays to come again."""
        send = self.commands[n] if keep else self.commands.pop(n)
        reply = self.handle(send)
        if reply is not None:
            self.replies.append(reply)

    def answer(self, n: int, *, keep: bool = False) -> None:
        """One reply reaches the saga."""
        self.receive(self.replies[n] if keep else self.replies.pop(n))

    def receive(self, message: Any) -> None:
        """A message is decided; after its end a saga only refuses."""
        ended = self.saga.saga.status in TERMINAL
        before = len(self.saga.rows)
        answer = self.saga.receive(message)
        if isinstance(answer, Refused):
            assert len(self.saga.rows) == before
        assert not ended or isinstance(answer, Refused), "a terminal state absorbs"
        undo_plan(self.saga.plan, self.saga.saga)
        self.check_concurrency()
        self.collect()

    def step(self) -> None:
        """Something bad, or something good, happens."""
        choices: list[tuple[float, Callable[[], None]]] = [(3, self.time_passes)]
        if self.commands:
            n = self.random.randrange(len(self.commands))
            choices += [
                (8, lambda: self.deliver(n)),
                (1, lambda: self.deliver(n, keep=True)),
                (0.4, lambda: self.give_back(n)),
                (0.2, lambda: self.bury(n)),
            ]
        if self.replies:
            m = self.random.randrange(len(self.replies))
            choices += [(8, lambda: self.answer(m)), (1, lambda: self.answer(m, keep=True))]
        choices += [(0.3, self.operate), (0.6, self.signal), (0.3, self.falls_sick)]
        if self.saga.permits:
            choices += [(4, self.grant)]
        if reviewed.asked(self.saga):
            choices += [(1.5, self.decide)]
        weights = [weight for weight, _ in choices]
        self.random.choices([act for _, act in choices], weights)[0]()

    def falls_sick(self) -> None:
        """Or gets well: some participant is held off, or is not any more."""
        nodes = self.saga.plan.nodes.values()
        services = [node.service for node in nodes if isinstance(node, ActionNode)]
        service = self.random.choice([*services, "nobodys"])
        if self.saga.sick.pop(service, None) is None:
            self.saga.sick[service] = timedelta(seconds=self.random.choice((0, 1, 30)))

    def grant(self) -> None:
        """A grant, of what is asked for or of what is not any more."""
        path, ask = self.random.choice(sorted(self.saga.permits))
        self.receive(Granted(path=path, ask=ask - (self.random.random() < 0.1)))

    def give_back(self, n: int) -> None:
        send = self.commands.pop(n)
        sure = not any(other is send for other in self.commands) and send.path not in self.rows
        self.receive(
            Returned(path=send.path, op=send.op, attempt=send.attempt, never_delivered=sure)
        )

    def bury(self, n: int) -> None:
        send = self.commands.pop(n)
        self.receive(
            DeadLettered(path=send.path, op=send.op, attempt=send.attempt, reason="poison")
        )

    def time_passes(self) -> None:
        """Up to the next due time, or less; nothing may fire early."""
        due = self.saga.saga.wake_at
        if due is None:
            return
        early = self.random.random() < 0.3
        if early and due > self.saga.now:
            self.saga.now += (due - self.saga.now) * self.random.random() * 0.99
            before = len(self.saga.rows)
            if self.saga.now < due and not self.saga.overdue():
                self.receive(Woke())
                assert len(self.saga.rows) == before, "a timer fired early"
            return
        self.saga.now = max(self.saga.now, due)
        self.receive(Woke())
        self.saga.now += timedelta(milliseconds=1)

    def signal(self) -> None:
        """Somebody sends an event, perhaps one that came before, perhaps too early or too late."""
        if not self.saga.plan.awaited:
            return
        event = self.random.choice(sorted(self.saga.plan.awaited))
        again = self.random.random() < 0.3
        n = self.random.randrange(max(1, self.signalled)) if again else self.signalled
        self.signalled += not again
        self.receive(Signalled(event=event, id=f"s-{n}", by="ann", data={"n": n}))

    def decide(self) -> None:
        """A reviewer decides."""
        self.receive(reviewed.decision(self.saga, self.random, healthy=self.healthy))

    def operate(self) -> None:
        """Somebody does something, at any time."""
        dice = self.random.random()
        if dice < 0.3:
            self.saga.cancels()
        elif dice < 0.5:
            self.saga.suspends()
        elif dice < 0.8:
            self.saga.resumes()
        elif self.saga.saga.state.steps:
            path = self.random.choice(sorted(self.saga.saga.state.steps))
            if dice < 0.97:
                self.saga.retries(path)
            elif isinstance(self.saga.skips(path), Decision):
                self.owned.add(path)
        self.collect()

    # --- the end

    def calm_down(self) -> None:
        """Faults stop, operators mend what needs them, and the saga must end."""
        self.healthy = True
        self.saga.sick.clear()
        for _ in range(3_000):
            saga = self.saga.saga
            if saga.status in TERMINAL:
                break
            if saga.status == "suspended":
                self.saga.resumes()
                self.collect()
            elif self.commands:
                self.deliver(self.random.randrange(len(self.commands)))
            elif self.replies:
                self.answer(self.random.randrange(len(self.replies)))
            elif saga.status == "stuck":
                self.mend()
            elif any(isinstance(change, Ask) for change in self.saga.permits.values()):
                self.grant()
            elif any(s.action.doing is Doing.AWAITING for s in saga.state.steps.values()):
                self.signal()
            elif any(s.action.doing is Doing.REVIEWING for s in saga.state.steps.values()):
                self.decide()
            else:
                self.time_passes()
        self.saga.is_now(self.saga.saga.status)
        assert self.saga.saga.status in TERMINAL, f"it does not end: {self.saga.kinds()[-30:]}"
        while self.commands:  # however late they come
            self.deliver(0)
        while self.replies:
            self.answer(0)

    def look(self) -> None:
        """Somebody looks: every instance of an action is shown, once."""
        shown = saga_view(self.saga.plan, self.saga.saga, self.saga.rows)
        paths = [step["path"] for step in shown.steps]
        assert len(paths) == len(set(paths)), "a step is shown twice"
        assert {path for path, _ in self.actions()} <= set(paths), "a step is not shown"

    def mend(self) -> None:
        """An operator looks at what really happened and says so."""
        for path, step in list(self.saga.saga.state.steps.items()):
            if Doing.BLOCKED not in (step.action.doing, step.undo.doing):
                continue
            truth = self.truth.setdefault(path, Truth())
            row = self.rows.setdefault(path, Row())
            there = truth.applied > truth.undone
            match step.status:
                case StepStatus.SUCCEEDED:
                    self.saga.resolves(path, Outcome.SUCCEEDED, {"n": 1})
                case StepStatus.UNKNOWN if there:
                    row.state, row.reply = "succeeded", (Outcome.SUCCEEDED, {"n": 1}, False)
                    self.saga.resolves(path, Outcome.SUCCEEDED, {"n": 1})
                case StepStatus.UNKNOWN if self.saga.saga.state.pivot is None:
                    row.state = "tombstone"
                    self.saga.resolves(path, Outcome.FAILED)
                case StepStatus.COMPENSATION_FAILED if self.can_undo(path):
                    self.saga.retries(path)
                case _:
                    row.state = "tombstone" if not there else row.state
                    self.owned.add(path)
                    self.saga.skips(path)
            self.collect()

    def can_undo(self, path: StepPath) -> bool:
        node = self.saga.plan.action_of(path)
        return node is not None and node.undo is not None

    def check_the_end(self) -> None:
        """Promises 1 to 5 at quiescence."""
        self.look()
        saga = self.saga.saga
        for path, truth in self.truth.items():
            node = self.saga.plan.action_of(path)
            assert node is not None
            step = saga.state.steps[path]
            assert truth.applied <= 1, f"{path}: {truth.applied} effects"
            assert truth.undone <= truth.applied, f"{path}: undone without an effect"
            if path in self.owned:
                continue
            there = truth.applied > truth.undone
            if node.reversal is Reversal.READ_ONLY:
                continue
            if step.status is StepStatus.FAILED:
                assert not there, f"{path} is failed and has an effect"
            if saga.status == "compensated" or self.is_passed(path):
                assert not there or step.residue, f"{path}: {step.status}, its effect is left"
            elif step.status is StepStatus.SUCCEEDED:
                assert there, f"{path} succeeded without an effect"
        taken = [row.data["signal"] for row in self.saga.rows if row.kind == "step.signalled"]
        assert len(taken) == len(set(taken)), "a signal satisfied two steps"
        came = [row.data["id"] for row in self.saga.rows if row.kind == "signal.received"]
        assert len(came) == len(set(came)), "a signal was recorded twice"
        reviewed.check_decisions(self.saga)
        patient = (Doing.AWAITING, Doing.REVIEWING)
        waiting = [s for s in saga.state.steps.values() if s.action.doing in patient]
        assert not waiting, "a saga ended while a step waited"
        if saga.status == "completed":
            kept = [path for path in self.undo_order if not self.is_passed(path)]
            assert not kept, "a completed saga undid something that it needed"

    def check_the_undo(self, original: "World") -> None:
        """Everything that can be taken back was, once; the original did not move."""
        assert original.saga.saga.status == "completed"
        assert self.saga.saga.status == "compensated"
        for path, truth in self.truth.items():
            node = self.saga.plan.action_of(path)
            assert node is not None
            assert truth.undone <= truth.applied <= 1, path
            if path in self.owned or node.reversal is not Reversal.COMPENSATABLE:
                continue
            assert truth.applied == truth.undone, f"{path}: its effect is left"


def input_by(chance: random.Random) -> dict[str, Json]:
    """The input of a random saga."""
    n = chance.randrange(3)
    return {"n": n, "items": list(range(n + 1)), "maybe": [[1], None, 7][n]}


def live(what: Definition, seed: int, steps: int) -> World:
    """A whole life: bad weather, then calm, then the promises."""
    chance = random.Random(seed)
    world = World(given(what, **input_by(chance)), chance)
    world.collect()
    for _ in range(steps):
        world.step()
    world.look()
    world.calm_down()
    world.check_the_end()
    if world.saga.saga.status == "completed":
        undo(world, steps).check_the_undo(world)
    return world


def undo(world: World, steps: int) -> World:
    """The late undo of a completed life, in the same world and the same weather."""
    undoing = World(world.saga.undone(across_pivot=True), world.random, world.rows, world.truth)
    undoing.owned |= world.owned
    undoing.collect()
    for _ in range(steps // 2):
        undoing.step()
    undoing.calm_down()
    return undoing


def show(world: World) -> str:
    """The journal, for a failing example."""
    return "\n".join(
        f"{row.seq} {row.kind} {row.step} {row.attempt} {json.dumps(row.data)[:150]}"
        for row in world.saga.rows
    )
