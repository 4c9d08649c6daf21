"""Schedules: starts by the clock."""

from amends_migrations.sql import run_file

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table; prose and SQL are in the file."""
    run_file("v0007_schedules.sql")
