"""The state as compact JSON for its column: what equals a default is left out."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any, Final

from amends_contracts.messages import Json
from amends_contracts.names import StepPath
from amends_orchestrator.core.journal_rows import (
    asker_from_json,
    asker_to_json,
    failure_from_json,
    failure_to_json,
)
from amends_orchestrator.core.metering import meter_from_json, meter_to_json
from amends_orchestrator.core.packed import known, pack, read
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


_ELSEWHERE: Final = frozenset({"status", "steps", "at"})
"""Members that are read apart."""


class UnknownState(ValueError):
    """A newer release remembers something of this saga: it is refused here, not overlooked."""


class _Form:
    """How the members of one type are written; what equals its default is not."""

    def __init__(self, defaults: Mapping[str, Any], special: Mapping[str, _Pair]) -> None:
        codecs = {name: special.get(name, _PLAIN) for name in defaults}
        self.get = attrgetter(*defaults)
        self.members = [(name, defaults[name], encode) for name, (encode, _) in codecs.items()]
        self.decoders = {name: decode for name, (_, decode) in codecs.items()}

    def to_json(self, value: Any) -> dict[str, Json]:
        data: dict[str, Json] = {}
        for member, (name, default, encode) in zip(self.get(value), self.members, strict=True):
            if member is not default and member != default:
                data[name] = member if encode is None else encode(member)
        return data

    def from_json(self, data: Mapping[str, Json]) -> dict[str, Any]:
        """What is written; UnknownState for a member that is not ours."""
        decoders = self.decoders
        read: dict[str, Any] = {}
        for name, value in data.items():
            if name in decoders:
                decode = decoders[name]
                read[name] = value if decode is None else decode(value)
            elif name not in _ELSEWHERE:
                raise UnknownState(f"member {name!r} of a state is not known here")
        return read


def _op_to_json(op: OpState) -> Json:
    return _OP.to_json(op)


def _op_from_json(data: Json) -> OpState:
    return OpState(**_OP.from_json(data))


def _loop_to_json(loop: LoopState) -> Json:
    return _LOOP.to_json(loop)


def _loop_from_json(data: Json) -> LoopState:
    return LoopState(**_LOOP.from_json(data))


def _review_to_json(review: ReviewState) -> Json:
    return _REVIEW.to_json(review)


def _review_from_json(data: Json) -> ReviewState:
    return ReviewState(**_REVIEW.from_json(data))


_NAMES: Final[_Pair] = (list, tuple)
_REVIEW: Final = _Form(
    ReviewState._field_defaults,
    {
        "stage": (str, ReviewStage),
        "assignees": _NAMES,
        "approved_by": _NAMES,
        "valid_until": _TIME,
    },
)
_LOOP: Final = _Form(
    {member.name: member.default for member in fields(LoopState)}, {"interrupt_at": _TIME}
)
_OP: Final = _Form(
    OpState._field_defaults,
    {"doing": (str, Doing), "due": _TIME, "progress_at": _TIME, "sent_at": _TIME},
)
_STEP: Final = _Form(
    StepState._field_defaults,
    {
        "action": (_op_to_json, _op_from_json),
        "undo": (_op_to_json, _op_from_json),
        "review": (_review_to_json, _review_from_json),
        "loop": (_loop_to_json, _loop_from_json),
        "retained_until": _TIME,
        "asked_at": _TIME,
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


_STATE: Final = _Form(
    {name: default for name, default in State._field_defaults.items() if name != "steps"},
    {
        "direction": (str, Direction),
        "deadline": _TIME,
        "interrupt_at": _TIME,
        "stop": (failure_to_json, failure_from_json),
        "failure": (failure_to_json, failure_from_json),
        "ended": (str, SagaStatus),
        "meter": (meter_to_json, meter_from_json),
        "asked": (_asked_to_json, _asked_from_json),
        "kept": (_kept_to_json, _kept_from_json),
    },
)


def step_to_json(step: StepState) -> Json:
    """One step of a state."""
    data = _STEP.to_json(step)
    data["status"] = step.status.value
    return data


def step_from_json(data: Json) -> StepState:
    """The inverse of `step_to_json`."""
    return StepState(StepStatus(data["status"]), **_STEP.from_json(data))


_AFTER_STEPS: Final = State._fields.index("steps") + 1
_PLAIN_STATE: Final = State(at=datetime.max.replace(tzinfo=UTC))[_AFTER_STEPS:]


def state_to_json(state: State) -> Json:
    """Small, without payloads; `state_from_json` gives an equal state."""
    steps = known(state.steps)
    written: dict[StepPath, Json] = dict(steps.held())
    for path, step in steps.unpacked():
        written[path] = held_to_json(step)
    data = head_to_json(state)
    data["steps"] = written
    return data


def head_to_json(state: State) -> dict[str, Json]:
    """All of it but the steps."""
    data: dict[str, Json] = {"at": state.at.isoformat()}
    if state[_AFTER_STEPS:] != _PLAIN_STATE:
        data |= _STATE.to_json(state)
    return data


def held_to_json(step: StepState) -> Json:
    """One step as it stands in a state: short where there is not more to say of it."""
    packed = pack(step)
    return step_to_json(step) if packed is None else packed


def state_from_json(data: Json) -> State:
    """The inverse of `state_to_json`."""
    steps = read(data["steps"], step_from_json)
    return State(at=datetime.fromisoformat(data["at"]), steps=steps, **_STATE.from_json(data))


def from_stored(identity: Identity, seq: int, status: SagaStatus, state: Json) -> Saga:
    """The saga of a stored row; its status column must say what its state says."""
    saga = Saga(identity=identity, seq=seq, state=state_from_json(state))
    assert status_of(saga.state) is SagaStatus(status), f"status column {status} of {identity}"
    return saga


assert OpState() == IDLE
