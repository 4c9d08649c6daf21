"""Permits: what steps of many sagas share, and who waits for it."""

from amends_migrations.sql import run_file

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables; prose and SQL are in the file."""
    run_file("v0005_permits.sql")
