"""The state as compact JSON for its column: what equals a default is left out."""

from collections.abc import Callable
from dataclasses import fields
from datetime import datetime
from typing import Any, Final, cast

from amends_contracts.messages import Json
from amends_contracts.names import StepPath
from amends_orchestrator.core.journal_rows import failure_from_json, failure_to_json
from amends_orchestrator.core.packed import Packed, PackedSteps, in_loop, pack
from amends_orchestrator.core.state import (
    IDLE,
    Direction,
    Doing,
    Identity,
    LoopState,
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


_Form = tuple[tuple[str, Any, Callable[[Any], Json] | None, Callable[[Any], Any] | None], ...]


def _form(cls: type[Any], special: dict[str, _Pair]) -> _Form:
    members = (f for f in fields(cls) if f.name not in ("status", "steps"))
    return tuple((f.name, f.default, *special.get(f.name, _PLAIN)) for f in members)


def _to_json(form: _Form, value: Any) -> Json:
    data: dict[str, Json] = {}
    for name, default, encode, _ in form:
        member = getattr(value, name)
        if member is not default and member != default:
            data[name] = member if encode is None else encode(member)
    return data


def _from_json(form: _Form, data: Json) -> dict[str, Any]:
    return {
        name: data[name] if decode is None else decode(data[name])
        for name, _, _, decode in form
        if name in data
    }


def _op_to_json(op: OpState) -> Json:
    return _to_json(_OP, op)


def _op_from_json(data: Json) -> OpState:
    return OpState(**_from_json(_OP, data))


def _loop_to_json(loop: LoopState) -> Json:
    return _to_json(_LOOP, loop)


def _loop_from_json(data: Json) -> LoopState:
    return LoopState(**_from_json(_LOOP, data))


_LOOP: Final = _form(LoopState, {"interrupt_at": _TIME})
_OP: Final = _form(
    OpState, {"doing": (str, Doing), "due": _TIME, "progress_at": _TIME, "sent_at": _TIME}
)
_STEP: Final = _form(
    StepState,
    {
        "action": (_op_to_json, _op_from_json),
        "undo": (_op_to_json, _op_from_json),
        "loop": (_loop_to_json, _loop_from_json),
        "retained_until": _TIME,
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


def _step_to_json(path: StepPath, step: StepState) -> Json:
    if in_loop(path) and (packed := pack(step)) is not None:
        return packed
    data = _to_json(_STEP, step)
    data["status"] = step.status.value
    return data


def _step_from_json(data: Json) -> StepState:
    return StepState(StepStatus(data["status"]), **_from_json(_STEP, data))


def state_to_json(state: State) -> Json:
    """Small, without payloads; `state_from_json` gives an equal state."""
    data = _to_json(_STATE, state)
    steps = state.steps
    if isinstance(steps, PackedSteps):
        data["steps"] = {path: _held_to_json(path, step) for path, step in steps.held().items()}
    else:
        data["steps"] = {path: _step_to_json(path, step) for path, step in steps.items()}
    return data


def _held_to_json(path: StepPath, step: StepState | Packed) -> Json:
    return step if isinstance(step, list) else _step_to_json(path, step)


def state_from_json(data: Json) -> State:
    """The inverse of `state_to_json`."""
    values = _from_json(_STATE, data)
    raw: dict[StepPath, Json] = data["steps"]
    if any(type(step) is list for step in raw.values()):
        held = {path: _held_from_json(step) for path, step in raw.items()}
        return State(steps=PackedSteps(held), **values)
    return State(steps={path: _step_from_json(step) for path, step in raw.items()}, **values)


def _held_from_json(step: Json) -> StepState | Packed:
    return cast(Packed, step) if isinstance(step, list) else _step_from_json(step)


def from_stored(identity: Identity, seq: int, status: SagaStatus, state: Json) -> Saga:
    """The saga of a stored row; its status column must say what its state says."""
    saga = Saga(identity=identity, seq=seq, state=state_from_json(state))
    assert status_of(saga.state) is SagaStatus(status), f"status column {status} of {identity}"
    return saga


assert OpState() == IDLE
