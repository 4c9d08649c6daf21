"""Settled steps of loops in a few numbers, so that a state with thousands of them stays cheap.

A step that is over needs its seqs, its attempts and when they were sent, and nothing else. In the
state's JSON it is then a short list; and a state that was read keeps it so until somebody looks at
it. Steps outside loops are never packed: a saga without loops has an ordinary dict.
"""

from collections.abc import Iterator, Mapping, MutableMapping
from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias

from amends_contracts.names import StepPath
from amends_orchestrator.core.state import (
    Doing,
    OpState,
    StepState,
    StepStatus,
    UnreadSteps,
)

Packed: TypeAlias = list[str | int]
"""`[code, input_seq, output_seq, undo_seq, attempt, sent, undo attempt, undo sent]`, without the
zeros at its end; times in microseconds since 1970."""

_CODES: Final[Mapping[str, tuple[StepStatus, bool]]] = {
    "s": (StepStatus.SUCCEEDED, True),
    "k": (StepStatus.SKIPPED, False),
    "c": (StepStatus.COMPENSATED, True),
    "u": (StepStatus.COMPENSATED, False),
}
"""Status, and whether the action is known to have succeeded. Never renamed: states are stored."""
_CODE_OF: Final[Mapping[tuple[StepStatus, bool], str]] = {
    meaning: code for code, meaning in _CODES.items()
}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def in_loop(path: str) -> bool:
    """Whether a step path lies in a frame."""
    return "[" in path or "#" in path


def pack(step: StepState) -> Packed | None:
    """The short form of a settled step in a loop; None if there is more to say of it."""
    code = _CODE_OF.get((step.status, step.known))
    if code is None:
        return None
    action, undo = step.action, step.undo
    packed: Packed = [code, step.input_seq, step.output_seq, step.undo_seq]
    packed += [action.attempt, _micros(action.sent_at), undo.attempt, _micros(undo.sent_at)]
    while packed[-1] == 0:
        packed.pop()
    return packed if unpack(packed) == step else None


def unpack(packed: Packed) -> StepState:
    """The inverse of `pack`."""
    code, *numbers = packed
    status, known = _CODES[str(code)]
    given = [int(number) for number in numbers]
    seqs, ops = given[:3], given[3:]
    seqs += [0] * (3 - len(seqs))
    ops += [0] * (4 - len(ops))
    return StepState(
        status,
        action=OpState(attempt=ops[0], doing=Doing.IDLE, sent_at=_time(ops[1])),
        undo=OpState(attempt=ops[2], doing=Doing.IDLE, sent_at=_time(ops[3])),
        input_seq=seqs[0],
        output_seq=seqs[1],
        undo_seq=seqs[2],
        known=known,
    )


def _micros(time: datetime | None) -> int:
    return 0 if time is None else (time - _EPOCH) // _MICROSECOND


def _time(micros: int) -> datetime | None:
    return None if micros == 0 else _EPOCH + micros * _MICROSECOND


class PackedSteps(UnreadSteps):
    """The steps of a state that was read: packed ones are unpacked when they are looked at."""

    __slots__ = ("_held",)

    def __init__(self, held: Mapping[StepPath, StepState | Packed]) -> None:
        self._held = dict(held)

    def __getitem__(self, path: StepPath) -> StepState:
        step = self._held[path]
        return unpack(step) if isinstance(step, list) else step

    def __setitem__(self, path: StepPath, step: StepState) -> None:
        self._held[path] = step

    def __delitem__(self, path: StepPath) -> None:
        del self._held[path]

    def __iter__(self) -> Iterator[StepPath]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)

    def unpacked(self) -> Iterator[tuple[StepPath, StepState]]:
        """All that are not packed: in those nothing is open."""
        for path, step in self._held.items():
            if not isinstance(step, list):
                yield path, step

    def held(self) -> Mapping[StepPath, StepState | Packed]:
        """As they are."""
        return self._held


def copy_of(steps: Mapping[StepPath, StepState]) -> MutableMapping[StepPath, StepState]:
    """Steps to work on."""
    return PackedSteps(steps.held()) if isinstance(steps, PackedSteps) else dict(steps)
