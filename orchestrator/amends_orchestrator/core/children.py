"""Child sagas, from the child's side: who waits for its end, and what it then says.

For the parent a child is an action of the reserved service `amends`; nothing in the core of the
parent knows more than that. The child keeps who asked, and its end is their reply.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from amends_contracts.messages import Json, Outcome
from amends_contracts.names import Op
from amends_contracts.problems import Problem, ProblemType
from amends_orchestrator.core import journal as j
from amends_orchestrator.core.decision import Decision, Missing, Refused
from amends_orchestrator.core.inputs import Asked, CancelRequested, StartRequested
from amends_orchestrator.core.kinds import Kind
from amends_orchestrator.core.operator import on_cancel
from amends_orchestrator.core.outcomes import turn_back
from amends_orchestrator.core.plan import Plan
from amends_orchestrator.core.state import Asker, Identity, Saga, SagaStatus, State
from amends_orchestrator.core.work import Work

_ENDS = frozenset({Kind.SAGA_COMPLETED.value, Kind.SAGA_COMPENSATED.value})


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildReply:
    """What a step of another saga is told: an ordinary reply of service `amends`."""

    asker: Asker
    outcome: Outcome
    body: Json
    """The output, or the problem as JSON."""
    retryable: bool = False


def on_asked(work: Work, message: Asked) -> Refused | None:
    """Note who waits. Who takes it back turns it back; past its pivot it first goes to its end."""
    asker = message.asker
    known = [
        a.attempt
        for a in work.draft.asked
        if (a.saga_id, a.path, a.op) == (asker.saga_id, asker.path, asker.op)
    ]
    if known and known[0] >= asker.attempt:
        detail = f"step {asker.path} of saga {asker.saga_id} waits for it already"
        return Refused(type=ProblemType.WRONG_STATE, detail=detail, duplicate=True)
    work.emit(j.SagaAsked(asker=asker))
    free = work.forward and work.draft.pivot is None and work.draft.stop is None
    if asker.op is Op.COMPENSATION and free:
        reason = "the saga that it belongs to takes it back"
        on_cancel(work, CancelRequested(reason=reason, by=f"saga {asker.saga_id}"))
    return None


def start_undone(
    plan: Plan, identity: Identity, request: StartRequested, now: datetime
) -> Decision:
    """A child that is undone before it was started: it is there as compensated, and never runs."""
    work = Work(plan, identity, 0, State(at=now), {}, now)
    work.emit(
        j.SagaStarted(
            key=request.key,
            input=request.input,
            by=request.by,
            labels=dict(request.labels),
            asked=request.asked,
        )
    )
    title = "taken back before it was started"
    turn_back(work, Problem(type=ProblemType.CANCELLED, title=title), by=request.by)
    work.emit(j.SagaCompensated())
    return work.decision()


def replies_of(decision: Decision) -> tuple[ChildReply, ...]:
    """What those who wait are told, if the saga has ended by this decision."""
    last = decision.rows[-1] if decision.rows else None
    if last is None or last.kind not in _ENDS:
        return ()
    data: dict[str, Json] = last.data or {}
    output = data.get("output")
    return tuple(reply_of(decision.saga, asker, output) for asker in decision.saga.state.asked)


def end_of(saga: Saga, asker: Asker, values: Mapping[int, Json]) -> ChildReply | Missing:
    """What a saga that has ended says to who asks now; `values` as for `decide`."""
    seq = saga.state.output_seq
    if asker.op is not Op.ACTION or not seq:
        return reply_of(saga, asker, None)
    if seq not in values:
        return Missing(frozenset({seq}))
    row: dict[str, Json] = values[seq]
    return reply_of(saga, asker, row.get("output"))


def reply_of(saga: Saga, asker: Asker, output: Json) -> ChildReply:
    """What a saga that has ended says to who asked; `output` is its own."""
    saga_id, done = saga.identity.saga_id, saga.status is SagaStatus.COMPLETED
    if asker.op is Op.ACTION and done:
        body: Json = output
        if not isinstance(output, dict):
            body = {} if output is None else {"output": output}
        return ChildReply(asker=asker, outcome=Outcome.SUCCEEDED, body=body)
    if asker.op is Op.ACTION:
        failure = saga.state.failure
        assert failure is not None, "a compensated saga has a failure"
        title = f"child saga {saga_id} failed, and was undone"
        problem = Problem(type=failure.type, title=title, detail=failure.detail or None)
        return ChildReply(asker=asker, outcome=Outcome.FAILED, body=problem.to_json())
    if not done:
        return ChildReply(asker=asker, outcome=Outcome.SUCCEEDED, body={"saga_id": saga_id})
    title = f"child saga {saga_id} has completed meanwhile: ask again, and it is undone"
    problem = Problem(type=ProblemType.RUNNING, title=title)
    return ChildReply(asker=asker, outcome=Outcome.FAILED, body=problem.to_json(), retryable=True)
