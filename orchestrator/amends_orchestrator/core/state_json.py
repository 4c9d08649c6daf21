"""The state as compact JSON for its column: what equals a default is left out."""

from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from datetime import datetime
from typing import Any, Final

from amends_contracts.messages import Json
from amends_contracts.names import StepPath
from amends_orchestrator.core.journal_rows import (
    asker_from_json,
    asker_to_json,
    failure_from_json,
    failure_to_json,
)
from amends_orchestrator.core.state import (
    IDLE,
    Asker,
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
    return tuple((f.name, _default(f), *special.get(f.name, _PLAIN)) for f in members)


def _default(member: Field[Any]) -> Any:
    made = member.default_factory
    return member.default if made is MISSING else made()


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
    },
)


def _asked_to_json(asked: tuple[Asker, ...]) -> Json:
    return [asker_to_json(asker) for asker in asked]


def _asked_from_json(data: Json) -> tuple[Asker, ...]:
    return tuple(asker_from_json(asker) for asker in data)


def _kept_to_json(kept: Any) -> Json:
    return {event: list(rows) for event, rows in kept.items()}


def _kept_from_json(data: Json) -> dict[str, tuple[int, ...]]:
    return {event: tuple(rows) for event, rows in data.items()}


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
        "asked": (_asked_to_json, _asked_from_json),
        "kept": (_kept_to_json, _kept_from_json),
    },
)


def step_to_json(step: StepState) -> Json:
    """One step of a state."""
    data: dict[str, Json] = {"status": step.status.value}
    for name, default, encode, _ in _STEP:
        value = getattr(step, name)
        if value is not default and value != default:
            data[name] = value if encode is None else encode(value)
    return data


def step_from_json(data: Json) -> StepState:
    """The inverse of `step_to_json`."""
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
    data["steps"] = {path: step_to_json(step) for path, step in state.steps.items()}
    return data


def state_from_json(data: Json) -> State:
    """The inverse of `state_to_json`."""
    values = {
        name: data[name] if decode is None else decode(data[name])
        for name, _, _, decode in _STATE
        if name in data
    }
    steps = {StepPath(path): step_from_json(step) for path, step in data["steps"].items()}
    return State(steps=steps, **values)


def from_stored(identity: Identity, seq: int, status: SagaStatus, state: Json) -> Saga:
    """The saga of a stored row; its status column must say what its state says."""
    saga = Saga(identity=identity, seq=seq, state=state_from_json(state))
    assert status_of(saga.state) is SagaStatus(status), f"status column {status} of {identity}"
    return saga


assert OpState() == IDLE
