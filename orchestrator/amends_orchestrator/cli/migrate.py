"""`amends migrate`: bring the orchestrator's database to this release's schema."""

from rich.text import Text

from amends_orchestrator.cli import options, output
from amends_orchestrator.cli.address import find_database
from amends_orchestrator.cli.exits import CliError


def migrate(*, database_url: options.DatabaseUrl = None, as_json: options.Json = False) -> None:
    """Bring the database to this release's schema; safe to repeat and to run side by side."""
    from amends_migrations import MigrationFailed, current, upgrade
    from amends_orchestrator.cli import schema

    url = find_database(database_url)
    with schema.reaching(url):
        before = current(url)
        try:
            upgrade(url)
        except MigrationFailed as error:
            raise CliError(f"Not migrated: {error}") from error
        after = current(url)
    result = {"from": before, "to": after, "changed": before != after}
    said = f"migrated to {after}" if before != after else f"is at {after} already"
    output.show(result, as_json, lambda: Text(f"{schema.without_password(url)} {said}", "ok"))
