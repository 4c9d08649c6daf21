"""Reviews: people approve, reject or edit what they are shown, and that is what runs.

A review is a step of its own, or the guard of an action, whose rendered body it shows. A decision
is bound to the digest of what was shown; so is what is dispatched. An edit is shown under another
digest, which nobody but its editor has approved yet. Who is no longer asked is refused.
"""

from typing import Final, cast

from amends_contracts.messages import Json, digest_of, to_body
from amends_contracts.names import BODY_BYTES_MAX, StepPath
from amends_contracts.problems import Problem, ProblemType
from amends_orchestrator.core import journal_reviews as j
from amends_orchestrator.core.conditions import condition
from amends_orchestrator.core.decision import Refused
from amends_orchestrator.core.expressions import CompiledTemplate, ExpressionError
from amends_orchestrator.core.inputs import ReviewDecision
from amends_orchestrator.core.outcomes import fail
from amends_orchestrator.core.plan import ActionNode
from amends_orchestrator.core.plan_reviews import Review, ReviewNode
from amends_orchestrator.core.reviews import ReviewStage, ReviewState, may_decide
from amends_orchestrator.core.state import Doing, StepState, unpacked
from amends_orchestrator.core.work import Work, render

TITLE_CHARS_MAX: Final = 300
ASSIGNEES_MAX: Final = 50
_Reviewed = ActionNode | ReviewNode


# --- asking --------------------------------------------------------------------------------------


def ask(work: Work, node: ReviewNode, path: StepPath) -> None:
    """A step of its own shows its `show`."""
    shown = work.evaluate(node.show, path)
    if isinstance(shown, ExpressionError):
        problem = _bad("`show`", shown.text)
    else:
        problem = _too_much(shown)
    if problem is not None:
        fail(work, node, path, problem, via="engine")
        return
    _request(work, node, node.review, path, shown, None)


def holds_back(work: Work, node: ActionNode, path: StepPath, value: Json, body: bytes) -> bool:
    """Whether the guard of an action keeps it from being sent now; it asks where it has to."""
    guard = node.guard
    if guard is None:
        return False
    step = work.draft.steps.get(path)
    review = ReviewState() if step is None else step.review
    if review.stage is ReviewStage.APPROVED:
        assert digest_of(body) == review.digest, f"{path}: what runs is not what was approved"
        until = review.valid_until
        if until is None or work.now <= until:
            return False
        _request(work, node, guard, path, value, (value, None), lapsed=review.seq)
        return True
    if guard.when is not None:
        holds = condition(work, guard.when, "the review's `when`", path, (value, None))
        if isinstance(holds, Problem):
            fail(work, node, path, holds, via="engine")
            return True
        if not holds:
            return False
    _request(work, node, guard, path, value, (value, None))
    return True


def _request(
    work: Work,
    node: _Reviewed,
    review: Review,
    path: StepPath,
    shown: Json,
    action: tuple[Json, Json] | None,
    *,
    lapsed: int = 0,
) -> None:
    title = work.evaluate(review.title, path, action)
    assignees = _people(work, review.assignees, path, action)
    if isinstance(title, ExpressionError):
        fail(work, node, path, _bad("the review's title", title.text), via="engine")
        return
    if isinstance(assignees, Problem):
        fail(work, node, path, assignees, via="engine")
        return
    line = " ".join(str(title).split())[:TITLE_CHARS_MAX]
    work.emit(
        j.ReviewRequested(
            path=path,
            title=line,
            digest=digest_of(to_body(shown)),
            assignees=assignees,
            show=shown,
            due=None if review.expires is None else work.now + review.expires,
            lapsed=lapsed,
        )
    )


def _people(
    work: Work, template: CompiledTemplate, path: StepPath, action: tuple[Json, Json] | None
) -> tuple[str, ...] | Problem:
    """Names and roles, each once."""
    value = work.evaluate(template, path, action)
    if isinstance(value, ExpressionError):
        return _bad("the review's assignees", value.text)
    names = cast("list[Json]", value)
    if len(names) > ASSIGNEES_MAX or not all(isinstance(n, str) and n.strip() for n in names):
        return _bad("the review's assignees", f"at most {ASSIGNEES_MAX} names or roles, as text")
    return tuple(dict.fromkeys(names))


def _bad(what: str, why: str) -> Problem:
    return Problem(
        type=ProblemType.BAD_EXPRESSION, title=f"{what} could not be evaluated", detail=why
    )


def _too_much(shown: Json) -> Problem | None:
    try:
        size = len(to_body(shown))
    except ValueError as error:  # not finite, or a lone surrogate
        return _bad("`show`", str(error)[:200])
    if size > BODY_BYTES_MAX:
        title = f"`show` has {size} bytes; at most {BODY_BYTES_MAX} can be shown"
        return Problem(type=ProblemType.TOO_LARGE, title=title)
    return None


# --- deciding ------------------------------------------------------------------------------------


def on_decision(work: Work, message: ReviewDecision) -> Refused | None:
    """One reviewer's decision, once; refused if not theirs, too late, or of another thing."""
    found = _find(work, message.review)
    if isinstance(found, Refused):
        return found
    path, step, node = found
    guard = node.review if isinstance(node, ReviewNode) else node.guard
    assert guard is not None, f"{path} has no review"
    refused = _refusal(work, guard, step, message)
    if refused is not None:
        return refused
    review = step.review
    edited: str | None = None
    if message.decision == "edit":
        checked = _edited(node, review, message)
        if isinstance(checked, Refused):
            return checked
        edited = checked
    work.emit(
        j.ReviewDecided(
            path=path,
            review=review.seq,
            by=message.by,
            decision=message.decision,
            digest=message.shown_digest,
            comment=message.comment,
            show=message.body if edited is not None else None,
            edited=edited,
        )
    )
    if message.decision == "reject":
        title = f"rejected by {message.by}"
        problem = Problem(type=ProblemType.REJECTED, title=title, detail=message.comment)
        fail(work, node, path, problem, via="engine")
    elif len(work.draft.steps[path].review.approved_by) >= guard.quorum:
        _approve(work, node, guard, path)
    return None


def _find(work: Work, seq: int) -> tuple[StepPath, StepState, _Reviewed] | Refused:
    for path, step in unpacked(work.draft.steps):
        if step.review.seq == seq:
            node = work.plan.node_of(path)
            assert isinstance(node, ActionNode | ReviewNode), f"{path} is never reviewed"
            return path, step, node
    return Refused(type=ProblemType.NOT_FOUND, detail="no such review, or another took its place")


def _requester(work: Work) -> str:
    """The person who started the saga, or what the saga is a part of."""
    first: dict[str, Json] = work.row_data(1)
    return first.get("requested_by") or first["by"]


def _refusal(work: Work, guard: Review, step: StepState, message: ReviewDecision) -> Refused | None:
    review = step.review
    if not may_decide(review.assignees, message.by, message.roles):
        detail = f"this review is for {', '.join(review.assignees)}, not for {message.by}"
        return Refused(type=ProblemType.FORBIDDEN, detail=detail)
    if guard.not_requester and _requester(work) == message.by:
        detail = f"{message.by} started the saga and may not decide what it asks for"
        return Refused(type=ProblemType.FORBIDDEN, detail=detail)
    if not review.is_open:
        return _wrong_state(f"the review is over: {review.stage.value.replace('_', ' ')}")
    due = step.action.due
    if due is not None and due <= work.now:
        return _wrong_state(f"the review expired at {due.isoformat(timespec='seconds')}")
    if message.shown_digest != review.digest:
        detail = "what was shown has been edited since: look at it again, then decide"
        return Refused(type=ProblemType.REVIEW_CHANGED, detail=detail)
    if message.by in review.approved_by:
        return _wrong_state(f"{message.by} has decided this already")
    return None


def _wrong_state(detail: str) -> Refused:
    return Refused(type=ProblemType.WRONG_STATE, detail=detail)


def _edited(node: _Reviewed, review: ReviewState, message: ReviewDecision) -> str | Refused:
    """The digest of an edit (its form was checked at the edge), or why it is none."""

    def bad(detail: str) -> Refused:
        return Refused(type=ProblemType.BAD_REQUEST, detail=detail)

    if isinstance(node, ActionNode):
        body = render(message.body, "the edited body")
        problem = body if isinstance(body, Problem) else None
    else:
        problem = _too_much(message.body)
    if problem is not None:
        return bad(": ".join(text for text in (problem.title, problem.detail) if text))
    digest = digest_of(to_body(message.body))
    return bad("nothing was changed: approve it") if digest == review.digest else digest


def _approve(work: Work, node: _Reviewed, review: Review, path: StepPath) -> None:
    state = work.draft.steps[path].review
    until = None if review.valid_for is None else work.now + review.valid_for
    work.emit(j.ReviewApproved(path=path, review=state.seq, digest=state.digest, valid_until=until))
    if isinstance(node, ReviewNode):
        work.emit(j.StepReviewed(path=path, output=shown_in(work, state)))


def shown_in(work: Work, review: ReviewState) -> Json:
    """What the review shows now: what runs, once it is approved."""
    return work.row_data(review.shown_seq).get("show")


# --- time ----------------------------------------------------------------------------------------


def expire_review(work: Work, path: StepPath) -> None:
    """Nobody decided in time: that is a reject, an approval, or somebody else's to decide, once."""
    step, node = work.draft.steps[path], work.plan.node_of(path)
    assert isinstance(node, ActionNode | ReviewNode), f"{path} is never reviewed"
    review = node.review if isinstance(node, ReviewNode) else node.guard
    assert review is not None, f"{path} has no review"
    assert step.action.doing is Doing.REVIEWING
    seq = step.review.seq
    if review.on_expiry == "escalate" and not step.review.escalated:
        people = _people(work, review.escalate_to, path, _action(work, node, step))
        if not isinstance(people, Problem):
            due = None if review.expires is None else work.now + review.expires
            work.emit(
                j.ReviewExpired(path=path, review=seq, then="escalate", assignees=people, due=due)
            )
            return
    if review.on_expiry == "approve":
        work.emit(j.ReviewExpired(path=path, review=seq, then="approve"))
        _approve(work, node, review, path)
        return
    work.emit(j.ReviewExpired(path=path, review=seq, then="reject"))
    problem = Problem(type=ProblemType.REVIEW_EXPIRED, title="nobody decided in time")
    fail(work, node, path, problem, via="engine")


def _action(work: Work, node: _Reviewed, step: StepState) -> tuple[Json, Json] | None:
    """What `action` is in a guard."""
    return (shown_in(work, step.review), None) if isinstance(node, ActionNode) else None
