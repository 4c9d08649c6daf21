"""The state as compact JSON for its column: what equals a default is left out."""

from collections.abc import Callable
from dataclasses import fields
from datetime import datetime
from typing import Any, Final

from amends_contracts.messages import Json
from amends_contracts.names import StepPath
from amends_orchestrator.core.journal_rows import failure_from_json, failure_to_json
from amends_orchestrator.core.state import (
    IDLE,
    Direction,
    Doing,
    Identity,
    OpState,
    Saga,
    SagaStatus,
    State,
    StepState,
    StepStatus,
    status_of,
)

_Pair = tuple[Callable[[Any], Json] | None, Callable[[Any], Any] | None]
_TIME: Final[_Pair] = (datetime.isoformat, datetime.fromisoformat)
_PLAIN: Final[_Pair] = (None, None)


def _form(
    cls: type[Any], special: dict[str, _Pair]
) -> tuple[tuple[str, Any, Callable[[Any], Json] | None, Callable[[Any], Any] | None], ...]:
    members = (f for f in fields(cls) if f.name not in ("status", "steps"))
    return tuple((f.name, f.default, *special.get(f.name, _PLAIN)) for f in members)


def _op_to_json(op: OpState) -> Json:
    data: dict[str, Json] = {}
    for name, default, encode, _ in _OP:
        value = getattr(op, name)
        if value is not default and value != default:
            data[name] = value if encode is None else encode(value)
    return data


def _op_from_json(data: Json) -> OpState:
    values = {
        name: data[name] if decode is None else decode(data[name])
        for name, _, _, decode in _OP
        if name in data
    }
    return OpState(**values)


_OP: Final = _form(
    OpState, {"doing": (str, Doing), "due": _TIME, "progress_at": _TIME, "sent_at": _TIME}
)
_STEP: Final = _form(
    StepState,
    {
        "action": (_op_to_json, _op_from_json),
        "undo": (_op_to_json, _op_from_json),
        "retained_until": _TIME,
        "asked_at": _TIME,
    },
)
_STATE: Final = _form(
    State,
    {
        "at": _TIME,
        "direction": (str, Direction),
        "deadline": _TIME,
        "interrupt_at": _TIME,
        "stop": (failure_to_json, failure_from_json),
        "failure": (failure_to_json, failure_from_json),
        "ended": (str, SagaStatus),
    },
)


def _step_to_json(step: StepState) -> Json:
    data: dict[str, Json] = {"status": step.status.value}
    for name, default, encode, _ in _STEP:
        value = getattr(step, name)
        if value is not default and value != default:
            data[name] = value if encode is None else encode(value)
    return data


def _step_from_json(data: Json) -> StepState:
    values = {
        name: data[name] if decode is None else decode(data[name])
        for name, _, _, decode in _STEP
        if name in data
    }
    return StepState(StepStatus(data["status"]), **values)


def state_to_json(state: State) -> Json:
    """Small, without payloads; `state_from_json` gives an equal state."""
    data: dict[str, Json] = {}
    for name, default, encode, _ in _STATE:
        value = getattr(state, name)
        if value is not default and value != default:
            data[name] = value if encode is None else encode(value)
    data["steps"] = {path: _step_to_json(step) for path, step in state.steps.items()}
    return data


def state_from_json(data: Json) -> State:
    """The inverse of `state_to_json`."""
    values = {
        name: data[name] if decode is None else decode(data[name])
        for name, _, _, decode in _STATE
        if name in data
    }
    steps = {StepPath(path): _step_from_json(step) for path, step in data["steps"].items()}
    return State(steps=steps, **values)


def from_stored(identity: Identity, seq: int, status: SagaStatus, state: Json) -> Saga:
    """The saga of a stored row; its status column must say what its state says."""
    saga = Saga(identity=identity, seq=seq, state=state_from_json(state))
    assert status_of(saga.state) is SagaStatus(status), f"status column {status} of {identity}"
    return saga


assert OpState() == IDLE
