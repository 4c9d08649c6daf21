"""Rows at hand while a batch is decided."""

import json

from amends_orchestrator.engine.values import RowValues


def test_a_remembered_row_reads_as_the_database_gives_it() -> None:
    """However deep it is."""
    deep: object = 1
    for _ in range(400):
        deep = [deep]
    assert RowValues({7: json.dumps(deep)})[7] == deep
