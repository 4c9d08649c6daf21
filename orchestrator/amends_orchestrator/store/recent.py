"""What of the journal was written here lately, as the texts that were written.

The next decision of a saga mostly needs rows of its last ones: its input, the output just recorded.
A committed row never changes, so what is remembered cannot be out of date; where the database was
away, a server that knows less may answer next, and everything is forgotten.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from amends_contracts.names import SagaId

BYTES_MAX: Final = 32 * 1024 * 1024
SAGA_BYTES: Final = 600
ROW_BYTES: Final = 150
"""What a saga and a row take beside the text itself."""


class RecentRows:
    """Texts of journal rows by saga and seq; whose turn was longest ago is forgotten first."""

    def __init__(self, bytes_max: int = BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._sagas: OrderedDict[SagaId, dict[int, str]] = OrderedDict()

    def of(self, sagas: Iterable[SagaId]) -> dict[SagaId, Mapping[int, str]]:
        """What is known of these sagas."""
        known = self._sagas
        return {saga_id: known[saga_id] for saga_id in sagas if saga_id in known}

    def keep(self, sagas: Sequence[SagaId], seqs: Sequence[int], texts: Sequence[str]) -> None:
        """Rows that are committed."""
        known = self._sagas
        for saga_id, seq, text in zip(sagas, seqs, texts, strict=True):
            rows = known.get(saga_id)
            if rows is None:
                rows = known[saga_id] = {}
                self._bytes += SAGA_BYTES
            else:
                known.move_to_end(saga_id)
            if seq in rows:
                self._bytes -= len(rows[seq]) + ROW_BYTES
            self._bytes += len(text) + ROW_BYTES
            rows[seq] = text
        while self._bytes > self._bytes_max and known:
            _, rows = known.popitem(last=False)
            self._bytes -= _size(rows)

    def forget(self, sagas: Iterable[SagaId]) -> None:
        """Sagas that have ended."""
        for saga_id in sagas:
            rows = self._sagas.pop(saga_id, None)
            if rows is not None:
                self._bytes -= _size(rows)

    def clear(self) -> None:
        """Forget everything."""
        self._sagas.clear()
        self._bytes = 0


def _size(rows: Mapping[int, str]) -> int:
    return SAGA_BYTES + sum(len(text) + ROW_BYTES for text in rows.values())
