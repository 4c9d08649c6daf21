"""What is left of a cell to judge it by: its journal, what the gateway saw, the ledgers."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, cast

from amends_contracts.definition import Definition
from amends_contracts.drill import TENANT
from amends_contracts.messages import Json, Outcome
from amends_contracts.names import Op, SagaId, StepPath, service_of
from amends_contracts.problems import ProblemType
from amends_orchestrator.core import Saga, SagaStatus, StepStatus, replay
from amends_orchestrator.core.checker import Change, Effect, History, SagaPast, Violation, check
from amends_orchestrator.core.expressions import Expressions
from amends_orchestrator.core.kinds import Kind
from amends_orchestrator.drills.gateway import REVIEW, Play, Seen
from amends_orchestrator.drills.matrix import TIMES_OUT, Cell
from amends_orchestrator.drills.oracle import Foreseen
from amends_orchestrator.drills.results import Line, Result, Undos, Verdict
from amends_orchestrator.drills.verdict import Facts, Judged
from amends_orchestrator.engine.ids import uuid7
from amends_orchestrator.store import pasts
from amends_orchestrator.store.pasts import Connection

RECENT_MAX: Final = 4
"""The saga, its undo, and what may have come between."""
STORY_MAX: Final = 60
_STATUS: Final = "SELECT status FROM amends.saga WHERE id = $1"
_LEFT: Final = """
SELECT s.id, s.status FROM amends.saga s
WHERE s.tenant = $1 AND (s.status NOT IN ('completed', 'compensated')
    OR s.status = 'completed' AND NOT EXISTS (
        SELECT FROM amends.saga u WHERE u.tenant = s.tenant AND u.key = 'undo:' || s.id))
ORDER BY s.id
"""


@dataclass(frozen=True, slots=True)
class Past:
    """A saga as the drill's database has it."""

    past: SagaPast
    saga: Saga


def new_saga() -> SagaId:
    """An id that no saga has."""
    return SagaId(str(uuid7()))


def services_of(definition: Definition) -> tuple[str, ...]:
    """The services whose commands a definition names, child sagas aside."""
    found: set[str] = set()
    _collect(definition.model_dump(mode="json", by_alias=True)["steps"], found)
    return tuple(sorted(found))


def _collect(value: Any, found: set[str]) -> None:
    if isinstance(value, dict):
        members = cast(dict[str, Any], value)
        if members.get("kind") == "action":
            found.add(service_of(str(members["command"])))
        for inner in members.values():
            _collect(inner, found)
    elif isinstance(value, list):
        for inner in cast(list[Any], value):
            _collect(inner, found)


async def status(connection: Connection, saga_id: SagaId) -> SagaStatus | None:
    """A saga's status now."""
    found = await connection.fetchval(_STATUS, saga_id)
    return None if found is None else SagaStatus(found)


async def left(connection: Connection) -> Sequence[tuple[SagaId, SagaStatus]]:
    """Sagas of drills that have not ended, or completed and were not undone."""
    rows = await connection.fetch(_LEFT, TENANT)
    return [(SagaId(str(saga_id)), SagaStatus(found)) for saga_id, found in rows]


async def read(connection: Connection, saga_id: SagaId, expressions: Expressions) -> Past | None:
    """A saga with its journal."""
    found = await pasts.recent(connection, expressions, sagas=RECENT_MAX)
    for past in found.history.sagas:
        if past.identity.saga_id == saga_id:
            return Past(past, replay(past.rows, past.identity))
    return None


def outputs(past: Past) -> dict[StepPath, Json]:
    """What each action answered."""
    return {
        row.step: row.data.get("output")
        for row in past.past.rows
        if row.kind == Kind.STEP_SUCCEEDED and row.step is not None
    }


def paths(past: Past) -> list[StepPath]:
    """The step instances at which something can go wrong, in the order in which they began."""
    return _steps_of(past, {Kind.STEP_DISPATCHED, Kind.REVIEW_REQUESTED})


def reviewed(past: Past) -> list[StepPath]:
    """Those at which somebody was asked."""
    return _steps_of(past, {Kind.REVIEW_REQUESTED})


def _steps_of(past: Past, kinds: Collection[str]) -> list[StepPath]:
    found = [r.step for r in past.past.rows if r.kind in kinds and r.step is not None]
    return list(dict.fromkeys(found))


def violations(
    past: Past, play: Play, ledger: Mapping[StepPath, str], silent: frozenset[str]
) -> tuple[Violation, ...]:
    """What the checker finds, with the participants' ledgers as the world."""
    plan, saga_id = past.past.plan, past.past.identity.saga_id
    seen = [one for one in play.seen if one.saga_id == saga_id]
    others = {
        path
        for path in past.saga.state.steps
        if (node := plan.action_of(path)) is not None and node.service in silent
    }
    history = History(
        sagas=(past.past,),
        effects=tuple(_effects(saga_id, seen, ledger)),
        quiet_at=2 * len(seen) + 2,
        calm=True,
        others=frozenset(others),
    )
    return check(history).violations


def _effects(
    saga_id: SagaId, seen: Sequence[Seen], ledger: Mapping[StepPath, str]
) -> Iterator[Effect]:
    """The ledger's effects, in the order in which their replies came."""
    for path, effect in ledger.items():
        if effect not in {"present", "undone"}:
            continue
        acted = _first(seen, path, Op.ACTION)
        yield Effect(order=acted, saga_id=saga_id, path=path, change=Change.TAKEN)
        if effect == "undone":
            at = max(_first(seen, path, Op.COMPENSATION), acted + 1)
            yield Effect(order=at, saga_id=saga_id, path=path, change=Change.UNDONE)


def _first(seen: Sequence[Seen], path: StepPath, op: Op) -> int:
    """Where the first success of an operation stands; early, where nobody saw it."""
    for n, one in enumerate(seen):
        if one.path == path and one.op is op and one.outcome is Outcome.SUCCEEDED:
            return 2 * n
    return 0


def late(play: Play) -> frozenset[StepPath]:
    """Actions sent after their undo was acknowledged, and answered `succeeded` nevertheless."""
    found: set[StepPath] = set()
    over: dict[StepPath, bool] = {}
    acted: set[StepPath] = set()
    for seen in play.seen:
        if seen.what == "reply" and seen.outcome is Outcome.SUCCEEDED:
            if seen.op is Op.COMPENSATION:
                over[seen.path] = seen.path in acted
            elif seen.op is Op.ACTION:
                if over.get(seen.path) is False:
                    found.add(seen.path)
                acted.add(seen.path)
        if seen.what == "sent" and seen.op is Op.ACTION and seen.path not in over:
            acted.add(seen.path)
    return frozenset(found)


def twice(play: Play) -> frozenset[StepPath]:
    """Actions whose successes differ."""
    said: dict[StepPath, set[str]] = {}
    for seen in play.seen:
        if seen.what == "reply" and seen.op is Op.ACTION and seen.outcome is Outcome.SUCCEEDED:
            said.setdefault(seen.path, set()).add(seen.digest)
    return frozenset(path for path, digests in said.items() if len(digests) > 1)


def slow(cell: Cell, past: Past | None) -> frozenset[StepPath]:
    """Steps that ran into a timeout which is not the cell's doing."""
    caused = cell.step if cell.fault in TIMES_OUT else ""
    return frozenset(
        row.step
        for row in (past.past.rows if past else ())
        if row.kind in _DETECTS and row.step is not None and row.step != caused
        if _problem(row.data) in _TIMEOUTS
    )


def _problem(data: Json) -> str | None:
    """The type of the problem that a row tells of."""
    problem: Json = data.get("problem")
    return None if problem is None else problem.get("type")


_TIMEOUTS: Final = frozenset(
    {ProblemType.TIMEOUT, ProblemType.INTERRUPTED, ProblemType.REVIEW_EXPIRED}
)


def judged_with(facts: Facts, foreseen: Foreseen | None) -> Facts:
    """The facts with what was foreseen, which of the calm run is known afterwards."""
    return replace(facts, foreseen=foreseen)


def result(
    cell: Cell,
    judged: Judged,
    facts: Facts,
    play: Play,
    past: Past | None,
    undo: Past | None,
    *,
    at: datetime,
    took_s: float,
    trace_id: str,
) -> Result:
    """All that is kept of a cell."""
    undos, commands = _undos(facts, past, undo)
    detected, stopped, consistent = _times(play, past, undo)
    return Result(
        cell=cell,
        verdict=judged.verdict,
        at=at,
        took_s=took_s,
        findings=judged.findings,
        why=judged.why,
        saga_id=None if past is None else past.past.identity.saga_id,
        trace_id=trace_id,
        detected_s=detected,
        stopped_s=stopped,
        consistent_s=consistent,
        undos=undos,
        commands=commands,
        held=_held(facts),
        story=_story(play, past, undo) if judged.verdict is not Verdict.PASS else (),
    )


def _undos(facts: Facts, past: Past | None, undo: Past | None) -> tuple[Undos, dict[StepPath, str]]:
    attempted: set[StepPath] = set()
    succeeded: set[StepPath] = set()
    for one in (past, undo):
        for row in one.past.rows if one else ():
            if row.step is not None and row.kind == Kind.UNDO_DISPATCHED:
                attempted.add(row.step)
            if row.step is not None and row.kind == Kind.UNDO_SUCCEEDED:
                succeeded.add(row.step)
    verified = {
        path
        for path in succeeded
        if (node := facts.plan.action_of(path)) is not None
        and node.service not in facts.silent
        and facts.ledger_after.get(path, "undone") == "undone"
    }
    commands = {
        path: node.undo.command
        for path in succeeded
        if (node := facts.plan.action_of(path)) is not None and node.undo is not None
    }
    undos = Undos(
        attempted=frozenset(attempted),
        succeeded=frozenset(succeeded),
        verified=frozenset(verified),
    )
    return undos, commands


def _times(
    play: Play, past: Past | None, undo: Past | None
) -> tuple[float | None, float | None, float | None]:
    """Seconds from what went wrong to its detection, to the stop, and to the end."""
    if play.began_at is None or past is None or not play.seen:
        return None, None, None
    # The two clocks meet at the saga's start, which both have seen.
    started = past.past.rows[0].at
    began_s = play.began_at - play.opened_at
    rows = past.past.rows
    detected = next((r.at for r in rows if r.kind in _DETECTS), None)
    stopped = next((r.at for r in rows if r.kind == Kind.SAGA_COMPENSATING), None)
    ended = (undo or past).past.rows[-1].at

    def since(time: datetime | None) -> float | None:
        return None if time is None else max(0.0, (time - started).total_seconds() - began_s)

    return since(detected), since(stopped), since(ended)


_DETECTS: Final = frozenset(
    {
        Kind.STEP_RETRYING,
        Kind.STEP_DOUBTED,
        Kind.STEP_FAILED,
        Kind.STEP_UNKNOWN,
        Kind.STEP_UNDELIVERABLE,
        Kind.SAGA_COMPENSATING,
        Kind.UNDO_RETRYING,
    }
)


def _held(facts: Facts) -> tuple[str, ...]:
    """What is there at the end and could have been undone."""
    found: list[str] = []
    for path, effect in sorted(facts.ledger_after.items()):
        node = facts.plan.action_of(path)
        if node is not None and node.undo is not None and effect != "undone":
            found.append(f"{path} at {node.service} ({effect})")
    for saga in (facts.saga, facts.undo):
        if saga is not None:
            found += [
                f"{path} (its undo failed)"
                for path, step in saga.state.steps.items()
                if step.status is StepStatus.COMPENSATION_FAILED
            ]
    return tuple(found)


def _story(play: Play, past: Past | None, undo: Past | None) -> tuple[Line, ...]:
    """What passed the gateway, step by step; with the sagas' ends."""
    lines = [Line(seen.at - play.opened_at, _told(seen)) for seen in play.seen]
    for one, name in ((past, "the saga"), (undo, "its undo")):
        if one is not None and one.past.rows:
            last = lines[-1].at_s if lines else 0.0
            lines.append(Line(last, f"{name} is {one.saga.status}"))
    return tuple(lines[:STORY_MAX])


def _told(seen: Seen) -> str:
    if seen.what == REVIEW:
        return f"{seen.path} review ← {seen.detail}"
    what = f"{seen.path} {seen.op} {seen.attempt or ''}".strip()
    arrow = {"sent": "→", "reply": "←"}.get(seen.what, f"✘ {seen.what}")
    said = " ".join(part for part in (seen.outcome and str(seen.outcome), seen.detail) if part)
    return f"{what} {arrow} {said}".strip()
