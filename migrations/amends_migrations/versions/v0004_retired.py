"""Definitions that take no new starts any more."""

from amends_migrations.sql import run_file

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; prose and SQL are in the file."""
    run_file("v0004_retired.sql")
