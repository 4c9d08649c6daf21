"""Refusals as problems: what a client is told, and what a step that runs a saga is told."""

from amends_contracts.messages import Outcome
from amends_contracts.names import SagaId
from amends_contracts.problems import Problem, ProblemType
from amends_orchestrator.core.children import ChildReply
from amends_orchestrator.core.decision import Refused
from amends_orchestrator.core.state import Asker


def problem_of(refused: Refused) -> Problem:
    """A refusal as a problem."""
    return Problem(
        type=refused.type,
        title=refused.type.value.partition(":")[2].replace("-", " ").capitalize(),
        detail=refused.detail,
        errors=refused.errors,
    )


def other_input(key: str, saga_id: SagaId) -> Refused:
    """A start whose key is another's."""
    detail = f"key {key!r} was used with another input, by saga {saga_id}"
    return Refused(type=ProblemType.KEY_CONFLICT, detail=detail)


def refusal_of(asker: Asker, refused: Refused, *, retryable: bool = False) -> ChildReply:
    """`failed`: nothing changed, for good unless it is retryable."""
    body = problem_of(refused).to_json()
    return ChildReply(asker=asker, outcome=Outcome.FAILED, body=body, retryable=retryable)
