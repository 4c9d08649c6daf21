"""The reviewers of a drill, who say what the script of a cell has them say.

They come in by the door that every reviewer comes in by, and nobody else decides in a drill.
"""

from typing import Final

from amends_contracts.drill import TENANT
from amends_contracts.messages import Decide
from amends_contracts.names import SagaId, StepPath
from amends_orchestrator.core.reviews import EVERYBODY, review_id
from amends_orchestrator.drills.gateway import Gateway
from amends_orchestrator.drills.oracle import reviewer
from amends_orchestrator.drills.private import PrivateOrchestrator
from amends_orchestrator.store.pasts import Connection

_OPEN: Final = """
SELECT seq, step, digest, cardinality(approved_by) AS approvals FROM amends.review
WHERE saga_id = $1 AND status = 'open' ORDER BY seq
"""


class Reviewers:
    """As many as a review wants, with every role, and none of them whoever started the saga."""

    def __init__(self, reading: Connection, inner: PrivateOrchestrator, gateway: Gateway) -> None:
        self._reading = reading
        self._inner = inner
        self._gateway = gateway

    async def attend(self, saga_id: SagaId) -> None:
        """Decide what a saga asks now. What is refused is still there the next time, or over."""
        for row in await self._reading.fetch(_OPEN, saga_id):
            said = self._gateway.review(saga_id, StepPath(row["step"]))
            if said is None:
                continue
            decision = Decide(
                review_id=review_id(saga_id, row["seq"]),
                decision=said,
                shown_digest=row["digest"],
                comment="a drill",
            )
            await self._inner.ready()
            await self._inner.engine.decide(
                TENANT, reviewer(row["approvals"]), frozenset({EVERYBODY}), decision
            )
