"""The state as compact JSON for its column: what equals a default is left out."""

from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from datetime import datetime
from typing import Any, Final, cast

from amends_contracts.messages import Json
from amends_contracts.names import StepPath
from amends_orchestrator.core.journal_rows import (
    asker_from_json,
    asker_to_json,
    failure_from_json,
    failure_to_json,
)
from amends_orchestrator.core.packed import Packed, PackedSteps, in_loop, pack
from amends_orchestrator.core.reviews import ReviewStage, ReviewState
from amends_orchestrator.core.state import (
    IDLE,
    Asker,
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
    return tuple((f.name, _default(f), *special.get(f.name, _PLAIN)) for f in members)


def _default(member: Field[Any]) -> Any:
    made = member.default_factory
    return member.default if made is MISSING else made()


def _to_json(form: _Form, value: Any) -> Json:
    data: dict[str, Json] = {}
    for name, default, encode, _ in form:
        member = getattr(value, name)
        if member is not default and member != default:
            data[name] = member if encode is None else encode(member)
    return data


def _from_json(form: _Form, data: Json, *besides: str) -> dict[str, Any]:
    """What is written, without the members `besides`; UnknownState for one that is not ours."""
    values = {
        name: data[name] if decode is None else decode(data[name])
        for name, _, _, decode in form
        if name in data
    }
    if len(values) + len(besides) != len(data):
        unknown = data.keys() - values.keys() - set(besides)
        raise UnknownState(f"members {sorted(unknown)} of a state are not known here")
    return values


def _op_to_json(op: OpState) -> Json:
    return _to_json(_OP, op)


def _op_from_json(data: Json) -> OpState:
    return OpState(**_from_json(_OP, data))


def _loop_to_json(loop: LoopState) -> Json:
    return _to_json(_LOOP, loop)


def _loop_from_json(data: Json) -> LoopState:
    return LoopState(**_from_json(_LOOP, data))


def _review_to_json(review: ReviewState) -> Json:
    return _to_json(_REVIEW, review)


def _review_from_json(data: Json) -> ReviewState:
    return ReviewState(**_from_json(_REVIEW, data))


_NAMES: Final[_Pair] = (list, tuple)
_REVIEW: Final = _form(
    ReviewState,
    {
        "stage": (str, ReviewStage),
        "assignees": _NAMES,
        "approved_by": _NAMES,
        "valid_until": _TIME,
    },
)
_LOOP: Final = _form(LoopState, {"interrupt_at": _TIME})
_OP: Final = _form(
    OpState, {"doing": (str, Doing), "due": _TIME, "progress_at": _TIME, "sent_at": _TIME}
)
_STEP: Final = _form(
    StepState,
    {
        "action": (_op_to_json, _op_from_json),
        "undo": (_op_to_json, _op_from_json),
        "review": (_review_to_json, _review_from_json),
        "loop": (_loop_to_json, _loop_from_json),
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


class UnknownState(ValueError):
    """A newer release remembers something of this saga: it is refused here, not overlooked."""


def step_to_json(step: StepState) -> Json:
    """One step of a state."""
    data = _to_json(_STEP, step)
    data["status"] = step.status.value
    return data


def step_from_json(data: Json) -> StepState:
    """The inverse of `step_to_json`."""
    return StepState(StepStatus(data["status"]), **_from_json(_STEP, data, "status"))


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


def _step_to_json(path: StepPath, step: StepState) -> Json:
    packed = pack(step) if in_loop(path) else None
    return step_to_json(step) if packed is None else packed


def state_from_json(data: Json) -> State:
    """The inverse of `state_to_json`."""
    values = _from_json(_STATE, data, "steps")
    raw: dict[StepPath, Json] = data["steps"]
    if any(type(step) is list for step in raw.values()):
        held = {path: _held_from_json(step) for path, step in raw.items()}
        return State(steps=PackedSteps(held), **values)
    return State(steps={path: step_from_json(step) for path, step in raw.items()}, **values)


def _held_from_json(step: Json) -> StepState | Packed:
    return cast(Packed, step) if isinstance(step, list) else step_from_json(step)


def from_stored(identity: Identity, seq: int, status: SagaStatus, state: Json) -> Saga:
    """The saga of a stored row; its status column must say what its state says."""
    saga = Saga(identity=identity, seq=seq, state=state_from_json(state))
    assert status_of(saga.state) is SagaStatus(status), f"status column {status} of {identity}"
    return saga


assert OpState() == IDLE
