"""A reviewer's decision as work: the review found, and an edit checked against its form.

Whether the decision still counts is the core's to say. A form never changes: it is the version's.
"""

from amends_contracts.messages import Decide
from amends_contracts.names import SagaId
from amends_contracts.problems import FieldError, ProblemType
from amends_orchestrator import core
from amends_orchestrator.core.decision import Refused
from amends_orchestrator.core.inputs import ReviewDecision
from amends_orchestrator.core.reviews import split_review_id
from amends_orchestrator.core.state import unpacked
from amends_orchestrator.engine.catalog import Catalog, Schema
from amends_orchestrator.engine.ports import Store
from amends_orchestrator.engine.work import ForSaga

NO_REVIEW = Refused(type=ProblemType.NOT_FOUND, detail="no such review")


async def decision_of(
    store: Store,
    catalog: Catalog,
    tenant: str,
    by: str,
    roles: frozenset[str],
    asked: Decide,
) -> ForSaga | Refused:
    """The decision for its saga, or what is wrong with it. Raises StoreUnavailable."""
    found = split_review_id(asked.review_id)
    if found is None:
        return NO_REVIEW
    saga_id, seq = found
    if (asked.decision == "edit") != (asked.body is not None):
        detail = "`body` is given for an edit, and only for that"
        return Refused(type=ProblemType.BAD_REQUEST, detail=detail)
    if asked.decision == "edit":
        refused = await _edit_refused(store, catalog, tenant, saga_id, seq, asked)
        if refused is not None:
            return refused
    message = ReviewDecision(
        review=seq,
        decision=asked.decision,
        by=by,
        shown_digest=asked.shown_digest,
        roles=roles,
        comment=asked.comment,
        body=asked.body,
    )
    return ForSaga(saga_id=saga_id, message=message, tenant=tenant)


async def _edit_refused(
    store: Store, catalog: Catalog, tenant: str, saga_id: SagaId, seq: int, asked: Decide
) -> Refused | None:
    stored = (await store.load([saga_id], [])).sagas.get(saga_id)
    if stored is None or stored.identity.tenant != tenant:
        return NO_REVIEW
    identity = stored.identity
    registered = await catalog.get(identity.definition, identity.version)
    if registered is None:
        detail = f"definition {identity.definition}@{identity.version} cannot be run here"
        return Refused(type=ProblemType.BAD_DEFINITION, detail=detail)
    saga = core.from_stored(identity, stored.seq, stored.status, stored.state)
    steps = unpacked(saga.state.steps)
    path = next((path for path, step in steps if step.review.seq == seq), None)
    review = None if path is None else registered.plan.review_of(path)
    if review is None:
        return NO_REVIEW
    if review.form is None:
        detail = "this review offers no form: approve it, or reject it with a comment"
        return Refused(type=ProblemType.BAD_REQUEST, detail=detail)
    errors = Schema(review.form).errors(asked.body)
    if not errors:
        return None
    errors = tuple(FieldError(path=f"/body{e.path}", reason=e.reason) for e in errors)
    detail = f"{errors[0].path}: {errors[0].reason}"
    return Refused(type=ProblemType.BAD_REQUEST, detail=detail, errors=errors)
