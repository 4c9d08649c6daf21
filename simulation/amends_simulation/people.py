"""Operators and strangers: what they ask, what they are told, what they know.

An operator does at any time what comes to mind, and when all is calm looks at what really happened
and mends what needs it.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from amends_contracts.codec import encode_reply
from amends_contracts.messages import Outcome, Reply, to_body
from amends_contracts.names import Key, MessageId, Op, SagaId, StepPath, key_of
from amends_orchestrator.core.checker import Asked
from amends_orchestrator.core.decision import Decision
from amends_orchestrator.core.inputs import (
    CancelRequested,
    Input,
    ResolveRequested,
    ResumeRequested,
    RetryRequested,
    SkipRequested,
    SuspendRequested,
)
from amends_orchestrator.core.plan import Plan
from amends_orchestrator.core.state import Doing, Saga, SagaStatus, StepState, StepStatus
from amends_simulation.broker import TOPOLOGY, Broker
from amends_simulation.clients import Clients
from amends_simulation.orchestrators import TOKENS, Shared, expire
from amends_simulation.schedule import MOMENT_S, TIMED, Fault, Point
from amends_simulation.world import FORGED, World

LOOK_S: Final = 2.0
RETRIES_MAX: Final = 6
"""Then somebody takes it back by hand: only a person can tell, and a retry does not help."""
WHAT: Final[Mapping[type, str]] = {
    CancelRequested: "cancel",
    SuspendRequested: "saga.suspended",
    ResumeRequested: "saga.resumed",
    RetryRequested: "operator.retried",
    SkipRequested: "operator.skipped",
    ResolveRequested: "operator.resolved",
}
"""By request, the journal row that it leaves when it is applied."""


class People:
    """Everybody outside."""

    def __init__(
        self, world: World, broker: Broker, shared: Shared, plans: dict[str, Plan]
    ) -> None:
        self._world = world
        self._broker = broker
        self._shared = shared
        self._plans = plans
        self.clients = Clients(world, broker, shared, plans)
        self.calm = False
        self._watched: dict[SagaId, None] = {}
        shared.changed = self._changed

    def begin(self) -> None:
        """Everybody has plans."""
        self.clients.begin()
        for fault in self._world.schedule.faults:
            if fault.point in TIMED:
                self._world.later(fault.nth * MOMENT_S, self._happen, fault)

    # --- what the schedule says

    def _happen(self, fault: Fault) -> None:
        if self._world.faults.over:
            return
        self._world.faults.happened.append(fault)
        match fault.point:
            case Point.CLIENT:
                self._client(fault.what)
            case Point.PERSON:
                self._person(fault.what)
            case _:
                self._lease(fault.what)

    def _client(self, what: str) -> None:
        chance = self._world.chance
        beginning = chance.choice(self._world.schedule.sagas)
        saga_id = self._some_saga()
        match what:
            case "again":
                self.clients.again(beginning)
            case "otherwise":
                self.clients.otherwise(beginning)
            case "signal again":
                self.clients.signal_again()
            case "signal otherwise":
                self.clients.signal_otherwise()
            case "stray signal" if saga_id is not None:
                self.clients.stray_signal(saga_id)
            case "foreign cancel" if saga_id is not None:
                self._request(saga_id, CancelRequested(reason="mine", by="eve"), tenant="eve")
            case "forged reply" | "unsigned" if saga_id is not None:
                self._forge(saga_id, signed=what == "forged reply")
            case _:
                pass

    def _forge(self, saga_id: SagaId, *, signed: bool) -> None:
        """A stranger says that some step succeeded."""
        saga = self._shared.saga(saga_id)
        paths = [path for path in saga.state.steps if self._plan(saga).action_of(path)]
        if not paths:
            return
        path = self._world.chance.choice(paths)
        node = self._plan(saga).action_of(path)
        assert node is not None
        key = key_of(saga_id, path, Op.ACTION)
        other = Key(f"{key}x") if signed else key
        reply = Reply(
            saga_id=saga_id,
            type=node.command,
            key=key,
            attempt=max(1, saga.state.steps[path].action.attempt),
            token=TOKENS.sign(other) if signed else None,
            message_id=MessageId(FORGED),
            outcome=Outcome.SUCCEEDED,
            body=to_body({"n": -1}),
        )
        to = f"reply.{node.service}.{saga.identity.partition:02d}"
        self._broker.publish(encode_reply(reply, to, TOPOLOGY))

    def _person(self, what: str) -> None:
        saga_id = self._some_saga()
        if saga_id is None:
            return
        chance, by = self._world.chance, "ann"
        steps = sorted(self._shared.saga(saga_id).state.steps)
        match what:
            case "cancel":
                self._request(saga_id, CancelRequested(reason="no", by=by))
            case "suspend":
                self._request(saga_id, SuspendRequested(reason="look", by=by))
            case "resume":
                self._request(saga_id, ResumeRequested(reason="go on", by=by))
            case "retry" if steps:
                path = chance.choice(steps)
                self._request(saga_id, RetryRequested(path=path, reason="again", by=by))
            case "skip" if steps:
                path = chance.choice(steps)
                self._request(saga_id, SkipRequested(path=path, reason="no", by=by, owner=by))
            case "resolve" if steps:
                self._resolve(saga_id, chance.choice(steps))
            case "undo":
                self.clients.undo(saga_id, across_pivot=chance.random() < 0.5)
            case _:
                pass

    def _resolve(self, saga_id: SagaId, path: StepPath) -> None:
        """Somebody says what became of a step, as far as can be seen now."""
        receipt = self._world.look(key_of(saga_id, path, Op.ACTION))
        resolved = ResolveRequested(
            path=path,
            outcome=Outcome.FAILED if receipt is None else Outcome.SUCCEEDED,
            reason="looked",
            by="ann",
            output=None if receipt is None else {"n": receipt},
        )
        self._request(saga_id, resolved)

    def _lease(self, what: str) -> None:
        engines = self._shared.engines
        if engines and what == "lost":
            expire(self._shared, self._world.chance.choice(engines))
        elif engines:
            engine = self._world.chance.choice(engines)
            engine.pause(4.0)
            expire(self._shared, engine)

    # --- requests

    def _request(self, saga_id: SagaId, message: Input, tenant: str = "default") -> None:
        """Ask any orchestrator; it may die before it answers."""
        if not self._shared.engines:
            return
        engine = self._world.chance.choice(self._shared.engines)
        answer = engine.submit(tenant, saga_id, message)
        n = len(self._world.asked)
        what = WHAT[type(message)]
        self._world.asked.append(Asked(tenant=tenant, what=what, answer="none", saga_id=saga_id))
        self._world.note(f"{tenant} asks for {what} of {self._shared.saga(saga_id).identity.key}")

        def heard(done: "asyncio.Future[Any]") -> None:
            if done.cancelled():
                return
            result, asked = done.result(), self._world.asked[n]
            if not isinstance(result, Decision):
                self._world.asked[n] = replace(asked, answer="refused")
                return
            kinds = {row.kind for row in result.rows}
            left = "saga.unstuck" if what == "saga.resumed" and what not in kinds else what
            self._world.asked[n] = replace(asked, answer="applied", what=left)

        answer.add_done_callback(heard)

    def _some_saga(self) -> SagaId | None:
        sagas = sorted(self._shared.store.sagas)
        return self._world.chance.choice(sagas) if sagas else None

    def _plan(self, saga: Saga) -> Plan:
        return self._plans[saga.identity.definition]

    # --- when all is calm

    def calm_down(self) -> None:
        """From now on operators look after what needs them."""
        self.calm = True
        self.clients.nudge()
        for saga_id, status in self._shared.open.items():
            self._watch(saga_id, status)

    def _changed(self, saga_id: SagaId, status: SagaStatus) -> None:
        self.clients.changed(self._shared.store.sagas[saga_id].stored.identity, status)
        self._watch(saga_id, status)

    def _watch(self, saga_id: SagaId, status: SagaStatus) -> None:
        resting = status in (SagaStatus.STUCK, SagaStatus.SUSPENDED)
        if self.calm and resting and saga_id not in self._watched:
            self._watched[saga_id] = None
            self._world.later(LOOK_S, self._look_after, saga_id)

    def _look_after(self, saga_id: SagaId) -> None:
        del self._watched[saga_id]
        saga = self._shared.saga(saga_id)
        if saga.status is SagaStatus.SUSPENDED:
            self._request(saga_id, ResumeRequested(reason="looked", by="ann"))
        elif saga.status is SagaStatus.STUCK:
            if saga.state.fault or saga.state.full:
                self._request(saga_id, ResumeRequested(reason="mended", by="ann"))
            for path, step in saga.state.steps.items():
                if Doing.BLOCKED in (step.action.doing, step.undo.doing):
                    self._request(saga_id, self._mending(saga, path, step))
        if saga.status in (SagaStatus.STUCK, SagaStatus.SUSPENDED):
            self._watch(saga_id, saga.status)

    def _mending(self, saga: Saga, path: StepPath, step: StepState) -> Input:
        """What somebody does who looks at what really happened."""
        receipt = self._world.look(key_of(saga.identity.saga_id, path, Op.ACTION))
        output = {"n": receipt or 0}
        node = self._plan(saga).action_of(path)
        succeeded = ResolveRequested(
            path=path, outcome=Outcome.SUCCEEDED, reason="looked", by="ann", output=output
        )
        skip = SkipRequested(path=path, reason="mended", by="ann", owner="ann")
        match step.status:
            case StepStatus.SUCCEEDED:
                return succeeded
            case StepStatus.UNKNOWN if receipt is not None:
                return succeeded
            case StepStatus.UNKNOWN if saga.state.pivot is None:
                return ResolveRequested(
                    path=path, outcome=Outcome.FAILED, reason="looked", by="ann"
                )
            case StepStatus.COMPENSATION_FAILED if (
                node is not None and node.undo is not None and step.undo.attempt < RETRIES_MAX
            ):
                return RetryRequested(path=path, reason="mended", by="ann")
            case _:
                return skip
