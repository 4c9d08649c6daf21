"""Alembic's entry: runs the pending migrations on the connection that `run` hands over."""

from alembic import context
from sqlalchemy import Connection

from amends_migrations.run import SCHEMA


def migrate(connection: Connection) -> None:
    """Each migration in its own transaction; the version table lies in our schema."""
    context.configure(
        connection=connection,
        version_table_schema=SCHEMA,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


migrate(context.config.attributes["connection"])
