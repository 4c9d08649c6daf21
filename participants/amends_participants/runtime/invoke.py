"""Calling handlers: input validated, output written, every way to end turned into an answer."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, cast

from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from amends_contracts import messages
from amends_contracts.command import Command
from amends_contracts.messages import Json, Outcome, to_body
from amends_contracts.names import BODY_BYTES_MAX
from amends_contracts.problems import FieldError, Problem, ProblemType
from amends_participants.app import Registration
from amends_participants.barrier.rules import Answer
from amends_participants.effects import Effect, Undo
from amends_participants.outcomes import Failed, Unknown, crashed, failed, refusal, unknown
from amends_participants.runtime.database import HandlerRaised, is_away, is_contention
from amends_participants.signatures import Bound, Part

log = logging.getLogger(__name__)

ERRORS_MAX: Final = 20


class Ended(HandlerRaised):
    """A handler did not succeed; raised so that the transaction around it rolls back."""

    def __init__(self, answer: Answer, cause: BaseException | None = None) -> None:
        super().__init__(answer.outcome.value)
        self.answer = answer
        self.worth_repeating = isinstance(cause, DBAPIError) and (
            is_contention(cause) or is_away(cause)
        )
        """The database was in the way, not the handler: the same may succeed a moment later."""


async def act(
    registration: Registration,
    command: messages.Command,
    effect: Effect,
    tx: AsyncConnection | None = None,
) -> Answer:
    """Run the action's handler: the answer `succeeded`, or Ended."""
    bound = registration.action
    assert bound is not None, "checked before anything runs"
    parts: dict[Part, object] = {
        Part.COMMAND: parse(registration.spec.model, command.json()),
        Part.EFFECT: effect,
    }
    output = await _call(bound, parts, tx)
    answer = _written(registration, output, rolled_back=tx is not None)
    return answer if effect.usage is None else replace(answer, usage=effect.usage)


async def undo(
    registration: Registration,
    command: messages.Command,
    effect: Effect,
    output: Json | None,
    tx: AsyncConnection | None = None,
) -> Answer:
    """Run the compensation's handler; `output` is the action's, None if it is not known."""
    bound = registration.compensation
    assert bound is not None, "checked before anything runs"
    assert command.compensates is not None
    body = command.json()
    parts: dict[Part, object] = {Part.EFFECT: effect}
    if bound.body_model is not None:
        parts[Part.BODY] = parse(bound.body_model, body)
    if bound.takes & {Part.UNDO, Part.COMMAND}:
        given = default_form(body)
        cmd = parse(registration.spec.model, given.get("input", body), "/input")
        known = given.get("output") if output is None else output
        parts[Part.COMMAND] = cmd
        parts[Part.UNDO] = Undo(
            input=cmd,
            output=None if known is None else _read(registration, known),
            key=command.compensates,
            effect=effect,
            body=body,
        )
    await _call(bound, parts, tx)
    return Answer(outcome=Outcome.SUCCEEDED, usage=effect.usage)


async def look(
    registration: Registration,
    input_: Json,
    effect: Effect,
) -> Answer | None:
    """Run the probe's handler: `succeeded` and the output, None if nothing is there, or Ended."""
    bound = registration.probe
    if bound is None:
        raise Ended(
            unknown(
                Problem(
                    type=ProblemType.EFFECT_IN_DOUBT,
                    title="the outcome is in doubt and the service has no probe for it",
                )
            )
        )
    parts: dict[Part, object] = {
        Part.COMMAND: parse(registration.spec.model, input_, "/input"),
        Part.EFFECT: effect,
    }
    found = await _call(bound, parts, None)
    return None if found is None else _written(registration, found, rolled_back=False)


def parse(model: type[Command[Any]], body: Json, at: str = "") -> Command[Any]:
    """The body as its model; Ended(`failed`, final, `amends:invalid-input`) names the fields."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        fields = tuple(
            FieldError(path=at + "".join(f"/{part}" for part in e["loc"]), reason=e["msg"])
            for e in found[:ERRORS_MAX]
        )
        said = "; ".join(f"{f.path or '/'}: {f.reason}" for f in fields[:3])
        raise Ended(refusal(ProblemType.INVALID_INPUT, said, fields)) from None


async def _call(bound: Bound, parts: dict[Part, object], tx: AsyncConnection | None) -> Any:
    """Call a handler. Whatever it raises becomes Ended; a cancellation passes."""
    try:
        if tx is None:
            return await bound.call(parts)
        parts[Part.TX] = tx
        if Part.SESSION not in bound.takes:
            return await bound.call(parts)
        session = AsyncSession(tx, expire_on_commit=False, join_transaction_mode="rollback_only")
        async with session:
            parts[Part.SESSION] = session
            output = await bound.call(parts)
            await session.flush()
            return output
    except Ended:
        raise
    except Failed as error:
        answer = failed(error.problem, retryable=error.retryable, retry_after_s=error.retry_after)
        raise Ended(answer) from error
    except Unknown as error:
        if tx is not None:  # rolled back with all that it is unsure of: nothing changed
            raise Ended(failed(error.problem, retryable=True)) from error
        raise Ended(unknown(error.problem)) from error
    except Exception as error:
        ended = Ended(crashed(error, rolled_back=tx is not None), error)
        if not ended.worth_repeating:
            log.exception("handler %s raised", getattr(bound.function, "__qualname__", "?"))
        raise ended from error


def _written(registration: Registration, output: Any, *, rolled_back: bool) -> Answer:
    """The output as bytes. One that cannot travel rolls back, or leaves the effect in doubt."""
    try:
        body = to_body(registration.spec.write_output(output))
    except Exception as error:
        log.exception("%s answered something else than its output", registration.spec.name)
        raise Ended(crashed(error, rolled_back=rolled_back), error) from error
    if len(body) > BODY_BYTES_MAX:
        problem = Problem(
            type=ProblemType.TOO_LARGE,
            detail=f"the output has {len(body)} bytes, {BODY_BYTES_MAX} can travel",
        )
        raise Ended(failed(problem) if rolled_back else unknown(problem))
    return Answer(outcome=Outcome.SUCCEEDED, body=body)


def _read(registration: Registration, output: Json) -> Any:
    """The action's output. One that no longer fits its model may fit after the next deployment."""
    try:
        return registration.spec.read_output(output)
    except ValidationError as error:
        detail = f"the action's output does not fit its model: {error.errors()[0]['msg']}"
        raise Ended(refusal(ProblemType.BAD_OUTPUT, detail, retryable=True)) from None


def default_form(body: Json) -> Mapping[str, Json]:
    """A compensation's `{"input", "output"}`, or nothing for a body that a plan mapped."""
    if not isinstance(body, dict):
        return {}
    members = cast(dict[str, Json], body)
    return members if members.keys() == {"input", "output"} else {}
