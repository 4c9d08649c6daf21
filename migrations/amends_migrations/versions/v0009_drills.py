"""The record of drills."""

from amends_migrations.sql import run_file

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables; prose and SQL are in the file."""
    run_file("v0009_drills.sql")
