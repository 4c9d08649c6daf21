"""Circuits: which participants do not answer."""

from amends_migrations.sql import run_file

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table; prose and SQL are in the file."""
    run_file("v0006_circuits.sql")
