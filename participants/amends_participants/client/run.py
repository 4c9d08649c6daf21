"""One saga, as whoever started it sees it."""

import time
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast, overload

from pydantic import TypeAdapter

from amends_contracts.messages import Cancel, Json, Signal, Undo
from amends_contracts.names import SagaId
from amends_contracts.problems import Problem
from amends_participants.client.errors import Compensated, NotEnded, Stuck, Unavailable

if TYPE_CHECKING:
    from amends_participants.client.amends import Amends

T = TypeVar("T")
WAIT_S: Final = 10
"""How long one request waits for the end; a stuck saga is noticed within this time."""


class Run:
    """A saga that was started. `created` is False if an earlier start of the same key made it."""

    def __init__(self, amends: "Amends", saga_id: SagaId, *, created: bool = False) -> None:
        self._amends = amends
        self.saga_id = saga_id
        self.created = created

    def __repr__(self) -> str:
        return f"Run({self.saga_id!r}, created={self.created})"

    @overload
    async def result(self, timeout: float | None = None) -> Any: ...
    @overload
    async def result(self, timeout: float | None = None, *, model: type[T]) -> T: ...
    async def result(self, timeout: float | None = None, *, model: Any = None) -> Any:
        """What the saga returns, as JSON or as `model` (of an undo saga: None); waits for its end.

        Raises Compensated if it failed and was undone, Stuck if it waits for an operator, NotEnded
        after `timeout` seconds (None: waits for ever). Asks REST, also where verbs go over the
        broker: the truth is there.
        """
        started = time.monotonic()
        status = "unknown"
        while True:
            left_s = None if timeout is None else timeout - (time.monotonic() - started)
            try:
                view = await self._look(left_s)
            except Unavailable:
                if timeout is not None and time.monotonic() - started >= timeout:
                    raise
                continue
            status = str(view["status"])
            if status == "completed":
                output: Json = view.get("output")
                return output if model is None else TypeAdapter(model).validate_python(output)
            if status == "compensated" and view.get("kind") == "undo":
                return None
            if status == "compensated":
                raise Compensated(self.saga_id, _failure(view), view)
            if status == "stuck":
                raise Stuck(self.saga_id, _failure(view), view)
            if timeout is not None and time.monotonic() - started >= timeout:
                raise NotEnded(self.saga_id, status, timeout)

    async def view(self) -> dict[str, Any]:
        """The saga as REST shows it: status, steps, failure, what it holds, what stays."""
        return await self._amends.rest().saga(
            self.saga_id, wait_s=0, timeout_s=self._amends.timeout_s
        )

    async def status(self) -> str:
        """`running`, `compensating`, `stuck`, `suspended`, `completed` or `compensated`."""
        return str((await self.view())["status"])

    async def signal(self, event: str, data: Json = None, *, id: str) -> None:  # noqa: A002  # as the wire calls it
        """Hand an event to the saga; once per `id`, however often it is sent."""
        await self._amends.ask(Signal(saga_id=self.saga_id, event=event, id=id, data=data))

    async def cancel(self, reason: str) -> None:
        """Stop the saga and undo what it did. Refused past its pivot."""
        await self._amends.ask(Cancel(saga_id=self.saga_id, reason=reason))

    async def undo(self, reason: str, *, across_pivot: bool = False) -> "Run":
        """Undo a saga that completed; gives the saga that undoes it, the same if asked again.

        Its `result()` is None once everything is taken back. Refused while the saga runs, when the
        undo window of a step has closed, and past a pivot, unless `across_pivot`: the problem's
        `errors` then list what would stay.
        """
        asked = Undo(saga_id=self.saga_id, reason=reason, across_pivot=across_pivot)
        answer = await self._amends.ask(asked)
        created = bool(answer.get("created", True))
        return Run(self._amends, SagaId(answer["saga_id"]), created=created)

    async def _look(self, left_s: float | None) -> dict[str, Any]:
        wait_s = WAIT_S if left_s is None else max(0, min(WAIT_S, round(left_s)))
        timeout_s = wait_s + self._amends.timeout_s
        if left_s is not None:
            timeout_s = max(0.1, min(timeout_s, left_s + 1))
        return await self._amends.rest().saga(self.saga_id, wait_s=wait_s, timeout_s=timeout_s)


def _failure(view: dict[str, Any]) -> Problem:
    """The first failure; REST may wrap it with the step that it happened in."""
    failure = cast(dict[str, Any], view.get("failure") or {})
    try:
        return Problem.model_validate(failure.get("problem") or failure)
    except ValueError:
        return Problem(detail=str(failure))
