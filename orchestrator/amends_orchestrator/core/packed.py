"""Steps in a few numbers, so that a state costs what moves in it and not what lies in it.

A step that is over needs its seqs, its attempts and when they were sent, and nothing else; one
whose command is under way, its timeout too. In the state's JSON it is then a short list; and in a
state that was read, one that is over stays so until somebody looks at it.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias, TypeVar, overload

from amends_contracts.names import StepPath
from amends_orchestrator.core.state import (
    IDLE,
    Doing,
    OpState,
    StepState,
    StepStatus,
    UnreadSteps,
)

Packed: TypeAlias = list[str | int]
"""`[code, input_seq, output_seq, undo_seq, attempt, sent, undo attempt, undo sent, due]`, without
the zeros at its end; times in microseconds since 1970."""
T = TypeVar("T")

_CODES: Final[Mapping[str, tuple[StepStatus, bool]]] = {
    "s": (StepStatus.SUCCEEDED, True),
    "k": (StepStatus.SKIPPED, False),
    "c": (StepStatus.COMPENSATED, True),
    "u": (StepStatus.COMPENSATED, False),
    "r": (StepStatus.RUNNING, False),
    "b": (StepStatus.COMPENSATING, True),
    "d": (StepStatus.COMPENSATING, False),
}
"""Status, and whether the action is known to have succeeded. Never renamed: states are stored."""
_CODE_OF: Final[Mapping[tuple[StepStatus, bool], str]] = {
    meaning: code for code, meaning in _CODES.items()
}
_OUTPUT: Final = 2
"""Where `output_seq` stands."""
_DONE: Final = frozenset("sk")
_SENT: Final = frozenset("rbd")
"""Under way: its action (`r`), or its compensation."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def pack(step: StepState) -> Packed | None:
    """The short form of a step; None if there is more to say of it."""
    code = _CODE_OF.get((step.status, step.known))
    if code is None:
        return None
    action, undo = step.action, step.undo
    due = _micros(action.due if code == "r" else undo.due) if code in _SENT else 0
    packed: Packed = [code, step.input_seq, step.output_seq, step.undo_seq]
    packed += (action.attempt, _micros(action.sent_at), undo.attempt, _micros(undo.sent_at), due)
    while packed[-1] == 0:
        packed.pop()
    return packed if unpack(packed) == step else None


def unpack(packed: Packed) -> StepState:
    """The inverse of `pack`."""
    given: Any = packed + _ZEROS[len(packed) :]
    code, input_seq, output_seq, undo_seq, attempt, sent, undo_attempt, undo_sent, due = given
    status, known = _CODES[code]
    action = undo = IDLE
    if attempt or sent or due:
        action = OpState(attempt, sent_at=_time(sent))
    if undo_attempt or undo_sent:
        undo = OpState(undo_attempt, sent_at=_time(undo_sent))
    if code == "r":
        action = OpState(attempt, 0, Doing.SENT, _time(due), sent_at=_time(sent))
    elif code in _SENT:
        undo = OpState(undo_attempt, 0, Doing.SENT, _time(due), sent_at=_time(undo_sent))
    return StepState(status, action, undo, input_seq, output_seq, undo_seq, known)


_ZEROS: Final = [0] * 9


def _micros(time: datetime | None) -> int:
    return 0 if time is None else (time - _EPOCH) // _MICROSECOND


def _time(micros: int) -> datetime | None:
    return _EPOCH + timedelta(0, 0, micros) if micros else None


class PackedSteps(UnreadSteps):
    """Steps of which those that are packed are unpacked when they are looked at."""

    __slots__ = ("_held", "_loose")

    def __init__(
        self, held: dict[StepPath, StepState | Packed], loose: dict[StepPath, None]
    ) -> None:
        self._held = held
        self._loose = loose
        """Those that are not packed, in their order."""

    def copy(self) -> "PackedSteps":
        """One to change, while this one stays as it is."""
        return PackedSteps(self._held.copy(), self._loose.copy())

    def __getitem__(self, path: StepPath) -> StepState:
        step = self._held[path]
        return unpack(step) if isinstance(step, list) else step

    @overload
    def get(self, key: StepPath, /) -> StepState | None: ...
    @overload
    def get(self, key: StepPath, default: StepState | T, /) -> StepState | T: ...
    def get(self, key: StepPath, default: StepState | T | None = None, /) -> StepState | T | None:
        """The step, or what is given instead."""
        step = self._held.get(key)
        if step is None:
            return default
        return unpack(step) if isinstance(step, list) else step

    def __setitem__(self, path: StepPath, step: StepState) -> None:
        self._held[path] = step
        self._loose[path] = None

    def __delitem__(self, path: StepPath) -> None:
        del self._held[path]
        self._loose.pop(path, None)

    def __iter__(self) -> Iterator[StepPath]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)

    def is_done(self, path: StepPath) -> bool:
        """Whether it is known without a look that what follows it in the plan may begin."""
        step = self._held.get(path)
        return isinstance(step, list) and step[0] in _DONE

    def output_seq(self, path: StepPath) -> int:
        """The row with a step's output; 0 if there is none."""
        step = self._held.get(path)
        if isinstance(step, list):
            return int(step[_OUTPUT]) if len(step) > _OUTPUT else 0
        return 0 if step is None else step.output_seq

    def unpacked(self) -> Iterator[tuple[StepPath, StepState]]:
        """All that are not packed: in those that are, nothing is open."""
        for path in self._loose:
            yield path, self[path]

    def held(self) -> Mapping[StepPath, StepState | Packed]:
        """As they are."""
        return self._held


def read(raw: Mapping[StepPath, StepState | Packed]) -> PackedSteps:
    """Steps of which those that are over stay packed."""
    held: dict[StepPath, StepState | Packed] = {}
    loose: dict[StepPath, None] = {}
    for path, step in raw.items():
        if not isinstance(step, list):
            held[path], loose[path] = step, None
        elif step[0] in _SENT:
            held[path], loose[path] = unpack(step), None
        else:
            assert step[0] in _CODES, f"{path}: {step[0]!r} is the code of a newer release"
            held[path] = step
    return PackedSteps(held, loose)


def output_seq_of(steps: Mapping[StepPath, StepState], path: StepPath) -> int:
    """The row with a step's output; 0 if there is none."""
    if isinstance(steps, PackedSteps):
        return steps.output_seq(path)
    step = steps.get(path)
    return 0 if step is None else step.output_seq


def copy_of(steps: Mapping[StepPath, StepState]) -> PackedSteps:
    """Steps to work on."""
    if isinstance(steps, PackedSteps):
        return steps.copy()
    return PackedSteps(dict(steps), dict.fromkeys(steps))
