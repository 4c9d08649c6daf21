"""The reviews of a batch as arrays: those asked for, and those that stand otherwise now."""

from collections.abc import Sequence
from typing import Any

from pydantic_core import to_json

from amends_orchestrator.core.review_tasks import ReviewTask
from amends_orchestrator.engine.ports import SagaWrite


def review_arrays(writes: Sequence[SagaWrite]) -> dict[str, Any]:
    """Those that `commit_batch_with_reviews` has besides; none where nothing is reviewed."""
    if not writes:
        return {}
    tasks = [(write, task) for write in writes for task in write.reviews]
    asked = [(write, task, task.request) for write, task in tasks if task.request is not None]
    return {
        **_stand("review", [task for _, task in tasks if task.request is None]),
        **_stand("asked", [task for _, task, _ in asked]),
        "asked_tenant": [write.identity.tenant for write, _, _ in asked],
        "asked_definition": [write.identity.definition for write, _, _ in asked],
        "asked_version": [write.identity.version for write, _, _ in asked],
        "asked_key": [write.identity.key for write, _, _ in asked],
        "asked_step": [request.step for _, _, request in asked],
        "asked_command": [request.command for _, _, request in asked],
        "asked_title": [request.title for _, _, request in asked],
        "asked_quorum": [request.quorum for _, _, request in asked],
        "asked_at": [request.at for _, _, request in asked],
    }


def _stand(name: str, tasks: Sequence[ReviewTask]) -> dict[str, Any]:
    return {
        f"{name}_saga_id": [t.saga_id for t in tasks],
        f"{name}_seq": [t.seq for t in tasks],
        f"{name}_status": [t.stage.value for t in tasks],
        f"{name}_shown_seq": [t.shown_seq for t in tasks],
        f"{name}_digest": [t.digest for t in tasks],
        f"{name}_assignees": [to_json(t.assignees).decode() for t in tasks],
        f"{name}_approved_by": [to_json(t.approved_by).decode() for t in tasks],
        f"{name}_due": [t.due for t in tasks],
        f"{name}_decided_at": [t.decided_at for t in tasks],
    }
