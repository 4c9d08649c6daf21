"""Reviews that people decide."""

from amends_migrations.sql import run_file

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table; prose and SQL are in the file."""
    run_file("v0010_reviews.sql")
