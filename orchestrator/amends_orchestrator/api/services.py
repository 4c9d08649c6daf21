"""What the routes of REST and console work with, in one object per application."""

import asyncio
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Final, TypeAlias

from fastapi import Depends, Request

from amends_contracts.messages import Json
from amends_contracts.names import SagaId
from amends_contracts.problems import ProblemType
from amends_orchestrator.api.drill_ports import Drills
from amends_orchestrator.api.guard import Guard
from amends_orchestrator.api.live import Live
from amends_orchestrator.api.ports import (
    Audit,
    Checker,
    Definitions,
    Orchestrator,
    Reads,
    ReviewRow,
    Reviews,
    SagaRow,
    Schedules,
    Views,
)
from amends_orchestrator.api.problems import ApiProblem
from amends_orchestrator.api.review_links import Links
from amends_orchestrator.core.state import SagaStatus
from amends_orchestrator.engine.ports import StoreUnavailable

CHECK_S: Final = 2.0
NO_SAGA: Final = SagaId("00000000-0000-0000-0000-000000000000")
Head: TypeAlias = tuple[int, SagaStatus]


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Everything behind the routes."""

    orchestrator: Orchestrator
    reads: Reads
    definitions: Definitions
    schedules: Schedules
    audit: Audit
    views: Views
    checker: Checker
    guard: Guard
    reviews: Reviews
    drills: Drills
    links: Links
    heads: Live[SagaId, Head]
    """Who waits for a saga to change."""
    secrets: Sequence[bytes] = field(default=(), repr=False)
    """The first signs console sessions, all are believed."""
    registered: Callable[[str], None]
    """Told the name of a definition that has a new version."""
    trace_url: str | None = None
    """Template of a trace's page, with `{trace_id}`."""
    public_url: str | None = None
    """Where people reach this service; None: where the request came to."""

    async def saga(self, tenant: str, saga_id: SagaId) -> SagaRow:
        """A saga of this tenant, or 404: another tenant's saga is not there."""
        row = await self.reads.saga(tenant, saga_id)
        if row is None:
            raise ApiProblem(ProblemType.NOT_FOUND, f"There is no saga {saga_id}.")
        return row

    async def view(self, row: SagaRow) -> Json:
        """A saga with its steps; 501 if this release cannot read its definition."""
        with _readable(row.identity.definition, row.identity.version):
            return await self.views.view(row)

    async def undo_plan(self, row: SagaRow) -> Json:
        """What a compensation would do now; 501 if this release cannot read its definition."""
        with _readable(row.identity.definition, row.identity.version):
            return await self.views.undo_plan(row)

    async def form(self, row: ReviewRow) -> Json:
        """What an edit of a review must be; 501 if this release cannot read its definition."""
        with _readable(row.definition, row.version):
            return await self.views.form(row)

    async def checks(self) -> dict[str, bool]:
        """What readiness consists of: the engine's leases and broker, and the database."""
        try:
            async with asyncio.timeout(CHECK_S):
                await self.reads.heads([NO_SAGA])
            database = True
        except (StoreUnavailable, TimeoutError, OSError):
            database = False
        return {"engine": self.orchestrator.is_ready(), "database": database}


@contextmanager
def _readable(definition: str, version: int) -> Generator[None]:
    try:
        yield
    except LookupError:
        name = f"{definition}@{version}"
        detail = f"The saga's definition {name} was made for a newer release than this one."
        raise ApiProblem(ProblemType.UNSUPPORTED, detail) from None


def services_of(request: Request) -> Services:
    """The services of the application that serves this request."""
    services = request.app.state.services
    assert isinstance(services, Services)
    return services


ServicesDep = Annotated[Services, Depends(services_of)]
