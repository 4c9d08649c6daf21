"""Permits: what steps of many sagas share, and who waits for it."""

from amends_migrations.sql import run_file

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables; prose and SQL are in the file."""
    run_file("v0003_permits.sql")
