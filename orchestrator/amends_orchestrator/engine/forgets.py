"""`forget`: which participants are told that sagas are over, so that their rows may go."""

from collections.abc import Iterable, Sequence
from typing import Final
from uuid import UUID

from amends_contracts.amqp import AmqpMessage
from amends_contracts.codec import encode_command
from amends_contracts.messages import Command, to_body
from amends_contracts.names import ENGINE, MessageId, Op, SagaId, service_of
from amends_contracts.topology import Topology
from amends_orchestrator.core.decision import JournalRow
from amends_orchestrator.core.plan import Plan

SAGAS_MAX: Final = 500
"""Sagas in one message: about 20 KB."""


def services_in(plan: Plan, rows: Iterable[JournalRow]) -> frozenset[str]:
    """The services that a saga may have left rows with: those of the actions in its journal."""
    found: set[str] = set()
    for path in {row.step for row in rows if row.step is not None}:
        action = plan.action_of(path)
        if action is not None:
            found.add(service_of(action.command))
    return frozenset(found - {ENGINE})


def forget_messages(
    over: Iterable[tuple[SagaId, frozenset[str]]], batch: UUID, topology: Topology
) -> list[AmqpMessage]:
    """One message per service and `SAGAS_MAX` sagas; the same batch gives the same ids."""
    by_service: dict[str, list[SagaId]] = {}
    for saga_id, services in over:
        for service in services:
            by_service.setdefault(service, []).append(saga_id)
    return [
        encode_command(_forget(service, sagas[at : at + SAGAS_MAX], batch, at), topology)
        for service, sagas in sorted(by_service.items())
        for at in range(0, len(sagas), SAGAS_MAX)
    ]


def _forget(service: str, sagas: Sequence[SagaId], batch: UUID, at: int) -> Command:
    suffix = f"#{at // SAGAS_MAX}" if at else ""
    return Command(
        type=f"{service}.forget",
        op=Op.FORGET,
        message_id=MessageId(f"forget:{service}:{batch}{suffix}"),
        body=to_body({"sagas": list(sagas)}),
    )
