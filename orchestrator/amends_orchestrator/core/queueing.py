"""A step that waits for others: for a permit (`limit`), or for a participant that is sick.

A step whose attempts need a permit asks, waits without a timeout, and hears that it may. It keeps
the permit until its action is settled, or has failed and changed nothing; whatever is in
doubt may still be at work, and keeps its place.
"""

import hashlib
from datetime import timedelta
from typing import Final

from amends_contracts.names import StepPath
from amends_contracts.problems import Problem, ProblemType
from amends_orchestrator.core.decision import Refused
from amends_orchestrator.core.expressions import ExpressionError
from amends_orchestrator.core.inputs import Granted
from amends_orchestrator.core.journal_permits import StepHeld, StepPermitted, StepQueued
from amends_orchestrator.core.plan import ActionNode, LimitNode
from amends_orchestrator.core.retries import fraction
from amends_orchestrator.core.state import LOOK_AGAIN, Doing, StepState
from amends_orchestrator.core.work import Work

HELD_MIN: Final = timedelta(seconds=1)
KEY_CHARS_MAX: Final = 200
"""A longer key is its digest."""


def hold(work: Work, node: ActionNode, path: StepPath) -> bool:
    """Whether the next attempt waits because its participant does not answer.

    It uses no attempt, and gives its place to others. All come back spread over a while.
    """
    rest = work.sick.get(node.service)
    if rest is None:
        return False
    step = work.draft.steps.get(path)
    attempt = 0 if step is None else step.action.attempt
    spread = fraction(work.identity.saga_id, path, "held", work.seq) * max(rest, HELD_MIN)
    due = work.now + max(rest, HELD_MIN) + spread
    work.emit(StepHeld(path=path, attempt=attempt, due=due, service=node.service))
    return True


def needs_permit(node: ActionNode, step: StepState | None) -> bool:
    """Whether the next attempt has to wait for one."""
    return node.limit is not None and (step is None or not step.permitted)


def ask(work: Work, node: ActionNode, path: StepPath) -> Problem | None:
    """Queue the next attempt; asked for anew, it keeps its place. A Problem: its key is none."""
    assert node.limit is not None
    key = _key(work, node.limit, path)
    if isinstance(key, Problem):
        return key
    step = work.draft.steps.get(path)
    since = work.now if step is None or step.asked_at is None else step.asked_at
    rate = node.limit.rate
    work.emit(
        StepQueued(
            path=path,
            attempt=0 if step is None else step.action.attempt,
            due=work.now + LOOK_AGAIN,
            since=since,
            pool=node.limit.pool,
            key=key,
            concurrency=node.limit.concurrency,
            rate_count=None if rate is None else rate.count,
            rate_per_s=None if rate is None else rate.per.total_seconds(),
            total=node.limit.total,
        )
    )
    return None


def _key(work: Work, limit: LimitNode, path: StepPath) -> str | Problem:
    if limit.key is None:
        return ""
    value = work.evaluate(limit.key, path)
    if isinstance(value, ExpressionError):
        title = "the key of its limit could not be evaluated"
        return Problem(type=ProblemType.BAD_EXPRESSION, title=title, detail=value.text)
    if not isinstance(value, str | int | float):  # a bool is an int
        title = f"the key of its limit must be a text or a number, not {type(value).__name__}"
        return Problem(type=ProblemType.BAD_EXPRESSION, title=title)
    text = str(value)
    whole = len(text) <= KEY_CHARS_MAX
    return text if whole else hashlib.sha256(text.encode(errors="replace")).hexdigest()


def on_granted(work: Work, message: Granted) -> Refused | None:
    """Send what waited for this permit; a grant of an earlier request is too late."""
    step = work.draft.steps.get(message.path)
    if step is None or step.permit != message.ask or step.action.doing is not Doing.QUEUED:
        detail = f"{message.path}: it does not wait for the permit of row {message.ask}"
        return Refused(type=ProblemType.WRONG_STATE, detail=detail, duplicate=True)
    work.emit(StepPermitted(path=message.path, attempt=step.action.attempt, ask=message.ask))
    return None
