"""A broker, a database and names of its own for a test's service."""

import pytest

from conform.playing import Place


@pytest.fixture
def place(broker_url: str, database_url: str, wire_prefix: str) -> Place:
    """Where the test's service and its checks meet."""
    return Place(broker_url, database_url, wire_prefix)
