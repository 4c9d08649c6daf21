"""The first schema: sagas, journal, outbox, leases, definitions, keys and audit."""

from amends_migrations.sql import run_file

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create everything; prose and SQL are in the file."""
    run_file("v0001_first.sql")
