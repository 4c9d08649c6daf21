"""Facts of the journal to rows and back. What equals a field's default is left out of the row."""

import typing
from collections.abc import Callable
from dataclasses import MISSING, fields
from datetime import datetime
from typing import Any, Final

from amends_contracts.messages import ActionOutcome, Json, Outcome
from amends_contracts.names import Op, SagaId, StepPath
from amends_contracts.problems import Problem, ProblemType
from amends_orchestrator.core.decision import JournalRow
from amends_orchestrator.core.journal import EVENT_TYPES, Event
from amends_orchestrator.core.kinds import UnknownKind
from amends_orchestrator.core.state import Asker, Failure

_Encode = Callable[[Any], Json]
_Decode = Callable[[Any], Any]


def failure_to_json(failure: Failure) -> Json:
    """Without members that are not set."""
    pairs = (("type", failure.type), ("detail", failure.detail or None), ("step", failure.step))
    by = {} if failure.by is None else {"by": failure.by}
    return {name: value for name, value in pairs if value is not None} | by


def failure_from_json(data: Json) -> Failure:
    """The inverse of `failure_to_json`."""
    return Failure(data["type"], data.get("detail", ""), data.get("step"), data.get("by"))


def _problem_to_json(problem: Problem) -> Json:
    data: dict[str, Json] = {"type": problem.type}
    if problem.title:
        data["title"] = problem.title
    if problem.status is not None or problem.instance or problem.errors or problem.model_extra:
        return problem.to_json()
    if problem.detail is not None:
        data["detail"] = problem.detail
    return data


def asker_to_json(asker: Asker) -> Json:
    """All of it."""
    return {
        "saga_id": asker.saga_id,
        "step": asker.path,
        "partition": asker.partition,
        "op": asker.op.value,
        "attempt": asker.attempt,
    }


def asker_from_json(data: Json) -> Asker:
    """The inverse of `asker_to_json`."""
    return Asker(
        saga_id=SagaId(data["saga_id"]),
        path=StepPath(data["step"]),
        partition=data["partition"],
        op=Op(data["op"]),
        attempt=data["attempt"],
    )


_CODECS: Final[dict[Any, tuple[_Encode | None, _Decode | None]]] = {
    datetime: (datetime.isoformat, datetime.fromisoformat),
    Problem: (_problem_to_json, Problem.model_validate),
    Asker: (asker_to_json, asker_from_json),
    Failure: (failure_to_json, failure_from_json),
    Outcome: (str, Outcome),
    ActionOutcome: (str, ActionOutcome),
}


def _codec(hint: Any) -> tuple[_Encode | None, _Decode | None]:
    if typing.get_origin(hint) is tuple:
        return list, tuple
    for member in (hint, *typing.get_args(hint)):
        if isinstance(member, type) and member in _CODECS:
            return _CODECS[member]
    return None, None


class _Form:
    """How one type of fact is written; computed once."""

    def __init__(self, event: type[Any]) -> None:
        hints = typing.get_type_hints(event)
        self.event = event
        self.kind: str = event.KIND.value
        names = [f.name for f in fields(event)]
        self.has_path = "path" in names
        self.has_attempt = "attempt" in names
        self.members = [
            (f.name, f.default, *_codec(hints[f.name]))
            for f in fields(event)
            if f.name not in ("path", "attempt")
        ]


_FORMS: Final = {kind: _Form(event) for kind, event in EVENT_TYPES.items()}


def to_row(event: Event, seq: int, at: datetime) -> JournalRow:
    """The row of a fact."""
    form = _FORMS[event.KIND]
    data: dict[str, Json] = {}
    for name, default, encode, _ in form.members:
        value = getattr(event, name)
        if value is default or value is None or (default is not MISSING and value == default):
            continue
        data[name] = value if encode is None else encode(value)
    return JournalRow(
        seq=seq,
        at=at,
        kind=form.kind,
        step=getattr(event, "path", None),
        attempt=getattr(event, "attempt", None),
        data=data,
    )


def from_row(row: JournalRow) -> Event:
    """The fact of a row; UnknownKind for one that a newer release has written."""
    form = _FORMS.get(row.kind)
    if form is None:
        raise UnknownKind(f"journal kind {row.kind!r} (row {row.seq}) is not known here")
    values: dict[str, Any] = {}
    if form.has_path:
        values["path"] = row.step
    if form.has_attempt:
        values["attempt"] = row.attempt
    data: dict[str, Json] = row.data or {}
    for name, default, _, decode in form.members:
        value = data.get(name)
        if value is not None:
            values[name] = value if decode is None else decode(value)
        elif default is MISSING:
            values[name] = None
    return form.event(**values)


def is_timeout(row: JournalRow) -> bool:
    """Whether the row says that nobody answered in time."""
    data: dict[str, Json] = row.data or {}
    problem: dict[str, Json] = data.get("problem") or {}
    return problem.get("type") == ProblemType.TIMEOUT
