"""When a start key's saga was archived."""

from amends_migrations.sql import run_file

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column and its index; prose and SQL are in the file."""
    run_file("v0008_archive.sql")
