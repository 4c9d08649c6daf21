"""`amends doctor` on commands: does somebody still serve what running sagas may need?

A participant's release that drops a command, or its compensation, is found before the saga is that
needs it. A service that has nobody running is found by other checks; one that never says hello is
not known here.
"""

from collections.abc import Mapping, Sequence

from amends_contracts.names import service_of
from amends_orchestrator.cli.finding import Finding, note
from amends_orchestrator.core.undo_debt import commands_needed
from amends_orchestrator.store import Definitions
from amends_orchestrator.store.reads import ParticipantRow, Reads


async def check(reads: Reads, definitions: Definitions) -> list[Finding]:
    """A warning for each command that is missed."""
    offered = served(await reads.participants())
    missed: dict[str, list[str]] = {}
    for newest in await definitions.list():
        for row in await definitions.list(newest.name):
            lacking = sorted(
                command
                for command in commands_needed(row.document)
                if command not in offered.get(service_of(command), {command})
            )
            if lacking and await definitions.debt(row):
                for command in lacking:
                    missed.setdefault(command, []).append(f"{row.name}@{row.version}")
    return [_missed(command, versions) for command, versions in sorted(missed.items())]


def served(instances: Sequence[ParticipantRow]) -> Mapping[str, set[str]]:
    """What the running instances of each service offer, together: a rolling release is no gap."""
    offered: dict[str, set[str]] = {}
    for row in instances:
        if row.live:
            commands = row.commands
            names = offered.setdefault(row.service, set())
            names.update(commands)
            names.update(info.compensation for info in commands.values() if info.compensation)
    return offered


def _missed(command: str, versions: Sequence[str]) -> Finding:
    service = service_of(command)
    return note(
        f"command {command}",
        f"no running {service} offers it, and sagas of {', '.join(versions)} may need it",
        f"Run the release of {service} that serves it beside the new one, until "
        f"`amends definitions {versions[0].partition('@')[0]}` shows none open and none undoable.",
    )
