"""What REST and page ask of core and contracts, which know neither the store nor each other.

`CoreViews` implements `api.ports.Views`, `DocumentChecker` `api.ports.Checker`.
"""

from collections.abc import Sequence

from amends_contracts.documents import (
    BadDocument,
    definition_digest,
    dump_definition,
    load_document,
)
from amends_contracts.messages import Json
from amends_contracts.names import SagaId, undo_start_key
from amends_contracts.problems import FieldError
from amends_orchestrator.api.ports import Checked, ReviewRow, SagaRow
from amends_orchestrator.core import JournalRow, Plan, Saga, from_stored
from amends_orchestrator.core.expressions import Expressions
from amends_orchestrator.core.resolve import resolve
from amends_orchestrator.core.state import SagaStatus
from amends_orchestrator.core.undo_plan import undo_plan
from amends_orchestrator.core.verify import verify
from amends_orchestrator.core.view import saga_view
from amends_orchestrator.engine.catalog import Catalog
from amends_orchestrator.store.reads import Reads

JOURNAL_PAGE = 1000


class UnknownDefinition(LookupError):
    """The definition of a saga is one that this release cannot run."""


class CoreViews:
    """A saga through the core's eyes: its plan, its stored state and its journal."""

    def __init__(self, reads: Reads, catalog: Catalog) -> None:
        self._reads = reads
        self._catalog = catalog

    async def view(self, row: SagaRow) -> Json:
        """The shape of REST, with what the row alone knows: times, labels, trace."""
        plan, saga = await self._of(row)
        shown = saga_view(plan, saga, await self._journal(row)).to_json()
        undone_by = await self._undone_by(row)
        await self._name_children(row.identity.tenant, shown["steps"])
        await self._name_children(row.identity.tenant, shown["tree"])
        return {
            **shown,
            **({} if undone_by is None else {"undone_by": undone_by}),
            "labels": dict(row.labels),
            "started_at": row.started_at.isoformat(),
            "ended_at": row.ended_at.isoformat() if row.ended_at else None,
            "trace_id": row.trace_id,
        }

    async def _undone_by(self, row: SagaRow) -> SagaId | None:
        """Its undo saga is found by the key that only that can have."""
        if row.status is not SagaStatus.COMPLETED:
            return None
        identity = row.identity
        key = undo_start_key(identity.saga_id)
        found = await self._reads.by_key(identity.tenant, identity.definition, key)
        return None if found is None else found.identity.saga_id

    async def _name_children(self, tenant: str, steps: Sequence[Json]) -> None:
        """Of steps that run a saga: which it is, and how it stands."""
        for step in steps:
            child = step.get("child")
            if child is not None and "saga_id" not in child:
                found = await self._reads.by_key(tenant, child["definition"], child["key"])
                if found is not None:
                    child["saga_id"] = found.identity.saga_id
                    child["status"] = found.status.value
            await self._name_children(tenant, step.get("children", ()))

    async def undo_plan(self, row: SagaRow) -> Json:
        """What a compensation would do now, in order."""
        plan, saga = await self._of(row)
        return [item.to_json() for item in undo_plan(plan, saga)]

    async def form(self, row: ReviewRow) -> Json:
        """What an edit of a review must be."""
        registered = await self._catalog.get(row.definition, row.version)
        if registered is None:
            raise UnknownDefinition(f"{row.definition}@{row.version}")
        review = registered.plan.review_of(row.step)
        return None if review is None else review.form

    async def _of(self, row: SagaRow) -> tuple[Plan, Saga]:
        identity = row.identity
        registered = await self._catalog.get(identity.definition, identity.version)
        if registered is None:
            raise UnknownDefinition(f"{identity.definition}@{identity.version}")
        return registered.plan, from_stored(identity, row.seq, row.status, row.state)

    async def _journal(self, row: SagaRow) -> Sequence[JournalRow]:
        """All rows up to the one that the state was folded from."""
        tenant, saga_id = row.identity.tenant, row.identity.saga_id
        rows: list[JournalRow] = []
        while len(rows) < row.seq:
            page = await self._reads.journal(
                tenant, saga_id, after_seq=len(rows), until_seq=row.seq, limit=JOURNAL_PAGE
            )
            if not page:
                break
            rows.extend(page)
        return rows


class DocumentChecker:
    """Reads and verifies a document against what participants say of their commands."""

    def __init__(self, reads: Reads, expressions: Expressions) -> None:
        self._reads = reads
        self._expressions = expressions

    async def check(self, text: str) -> Checked | Sequence[FieldError]:
        """The definition with everything made explicit; or what is wrong with it."""
        try:
            document = load_document(text)
        except BadDocument as error:
            return error.errors
        commands = await self._reads.commands()
        wrong = verify(document.definition, commands, self._expressions)
        if wrong:
            return document.located(wrong)
        resolved = resolve(document.definition, commands)
        return Checked(dump_definition(resolved), definition_digest(document.definition))
