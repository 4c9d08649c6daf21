"""The list of sagas: what is asked for, what is found, and when it is another one."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlencode

from amends_contracts.names import is_name
from amends_orchestrator.api.ports import Reads, SagaRow
from amends_orchestrator.api.route import LABEL_PREFIX
from amends_orchestrator.core.state import SagaStatus

PAGE: Final = 50
LABELS_MAX: Final = 8
COUNT_MAX: Final = 10_000
"""The store counts no further."""
HOME: Final = "/console/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What part of a tenant's sagas is shown; the key of a live list."""

    tenant: str
    status: SagaStatus | None = None
    definition: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    cursor: str | None = None

    @property
    def active(self) -> bool:
        """Whether anything is left out."""
        return self != Filters(tenant=self.tenant)

    def url(self, path: str = HOME, **changed: Any) -> str:
        """The address of this list with other filters; it begins at the newest again."""
        other = replace(self, **{"cursor": None, **changed})
        query = {
            "status": other.status,
            "definition": other.definition,
            "cursor": other.cursor,
            **{LABEL_PREFIX + name: value for name, value in other.labels},
        }
        text = urlencode({k: str(v) for k, v in query.items() if v})
        return f"{path}?{text}" if text else path


def filters_of(tenant: str, query: Mapping[str, str]) -> Filters:
    """The filters in a page's address; what makes no sense is left out, as a person would."""
    status, definition = query.get("status", ""), query.get("definition", "")
    labels = [
        (name.removeprefix(LABEL_PREFIX), value)
        for name, value in query.items()
        if name.startswith(LABEL_PREFIX)
    ]
    return Filters(
        tenant=tenant,
        status=SagaStatus(status) if status in set(SagaStatus) else None,
        definition=definition if is_name(definition) else None,
        labels=tuple(sorted(labels)[:LABELS_MAX]),
        cursor=query.get("cursor") or None,
    )


@dataclass(frozen=True, slots=True)
class Found:
    """A page of the list; equal to another one exactly if it looks the same."""

    rows: tuple[SagaRow, ...]
    next: str | None
    counts: tuple[tuple[str, int], ...]


async def find(reads: Reads, wanted: Filters) -> Found:
    """The list as it now is. Raises ValueError for a cursor no page has given."""
    page = await reads.list_sagas(
        wanted.tenant,
        definition=wanted.definition,
        status=wanted.status,
        labels=dict(wanted.labels),
        cursor=wanted.cursor,
        limit=PAGE,
    )
    counts = await reads.counts(wanted.tenant)
    return Found(
        rows=tuple(page.items),
        next=page.next,
        counts=tuple((status, counts.get(status, 0)) for status in SagaStatus),
    )
