"""What a decision of the core costs, per message, on one core of this machine.

Microseconds for the 4-step saga's start, reply, state to and from JSON, and a replay.
"""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from amends_contracts.definition import Definition
from amends_contracts.messages import Json, Outcome
from amends_contracts.names import Op, SagaId, StepPath
from amends_orchestrator.cel import CelExpressions
from amends_orchestrator.core import (
    Decision,
    Identity,
    JournalRow,
    Missing,
    Plan,
    Saga,
    compile_plan,
    decide,
    from_stored,
    replay,
    start,
    state_to_json,
)
from amends_orchestrator.core.inputs import ReplyReceived, StartRequested

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WHO = Identity(
    saga_id=SagaId("0195f1c0-0000-7000-8000-000000000001"),
    tenant="default",
    definition="trip",
    version=1,
    key="k",
    partition=0,
)
STEPS = ("flight", "hotel", "card", "mail")


def plan_of_four() -> Plan:
    """Four actions in a row, each with an input from the one before, as plain paths."""
    steps = [
        {
            "kind": "action",
            "id": name,
            "command": f"{name}s.do",
            "compensation": {},
            "input": {"to": "${ input.to }"}
            if n == 0
            else {"ref": f"${{ steps.{STEPS[n - 1]}.output.ref }}", "to": "${ input.to }"},
        }
        for n, name in enumerate(STEPS)
    ]
    return compile_plan(
        Definition.model_validate({"name": "trip", "steps": steps}), CelExpressions()
    )


class Life:
    """One saga from start to end, decision by decision."""

    def __init__(self, plan: Plan) -> None:
        request = StartRequested(key="k", input={"to": "Rome"}, by="bench")
        first = start(plan, WHO, request, NOW)
        assert isinstance(first, Decision)
        self.rows: list[JournalRow] = list(first.rows)
        self.moments: list[tuple[Saga, dict[int, Json], ReplyReceived]] = []
        saga = first.saga
        for name in STEPS:
            reply = ReplyReceived(
                path=StepPath(name),
                op=Op.ACTION,
                attempt=1,
                service=f"{name}s",
                outcome=Outcome.SUCCEEDED,
                output={"ref": f"{name}-1", "usd": 12},
            )
            values: dict[int, Json] = {}
            answer = decide(plan, saga, values, reply, NOW + timedelta(seconds=1))
            if isinstance(answer, Missing):
                values = {r.seq: r.data for r in self.rows if r.seq in answer.seqs}
                answer = decide(plan, saga, values, reply, NOW + timedelta(seconds=1))
            assert isinstance(answer, Decision)
            self.moments.append((saga, values, reply))
            self.rows.extend(answer.rows)
            saga = answer.saga
        self.end = saga


def cost(call: Callable[[], object], calls: int, seconds: float) -> float:
    """Microseconds of CPU per call, best of the rounds that fit into `seconds`.

    Rounds are short: in a long one somebody else has the processor, too.
    """
    best, until = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < until:
        began = time.process_time()
        for _ in range(10):
            call()
        best = min(best, (time.process_time() - began) / 10 / calls)
    return round(best * 1e6, 1)


def run(seconds: float) -> dict[str, Any]:
    """All numbers of this file, within `seconds` together."""
    each = seconds / 7
    plan = plan_of_four()
    life = Life(plan)
    request = StartRequested(key="k", input={"to": "Rome"}, by="bench")
    at = NOW + timedelta(seconds=1)

    def replies() -> None:
        for saga, values, reply in life.moments:
            decide(plan, saga, values, reply, at)

    def misses() -> None:
        for saga, _, reply in life.moments[:3]:
            decide(plan, saga, {}, reply, at)

    saga = life.moments[-1][0]
    state = state_to_json(saga.state)
    stored = (WHO, saga.seq, saga.status, state)
    return {
        "unit": "us",
        "start": cost(lambda: start(plan, WHO, request, NOW), 1, each),
        "reply": cost(replies, len(life.moments), each),
        "missing_values": cost(misses, 3, each),
        "state_to_json": cost(lambda: state_to_json(saga.state), 1, each),
        "from_stored": cost(lambda: from_stored(*stored), 1, each),
        "replay_per_row": cost(lambda: replay(life.rows, WHO), len(life.rows), each),
        "wake_at": cost(lambda: saga.wake_at, 1, each),
        "state_bytes": len(json.dumps(state)),
    }
