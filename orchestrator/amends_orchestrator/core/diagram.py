"""The diagrams of docs/state-machine.md, drawn from the tables of moves."""

from amends_orchestrator.core.kinds import Kind
from amends_orchestrator.core.moves import SAGA_MOVES, STEP_MOVES

_HIDDEN = frozenset({Kind.SAGA_SUSPENDED, Kind.SAGA_RESUMED})
"""Suspension may lie over every status; drawing it would hide the rest."""


def mermaid_saga() -> str:
    """Statuses of a saga; a suspension, which hides any of them, is left out."""
    lines = ["stateDiagram-v2", "    [*] --> running: saga.started"]
    for kind, (sources, targets) in SAGA_MOVES.items():
        if kind in _HIDDEN:
            continue
        lines += [
            f"    {source} --> {target}: {kind}"
            for source in sources
            for target in targets
            if "suspended" not in (source, target) and source is not target
        ]
    lines += ["    completed --> [*]", "    compensated --> [*]"]
    return "\n".join(lines)


def mermaid_steps() -> str:
    """Statuses of a step, with the facts that move it; facts that leave it are left out."""
    moves: dict[tuple[str, str], list[str]] = {}
    for kind, rows in STEP_MOVES.items():
        for sources, target in rows:
            for source in sources:
                if target is None or source is target:
                    continue
                name = "[*]" if source is None else source.value
                moves.setdefault((name, target.value), []).append(kind.value)
    lines = ["stateDiagram-v2"]
    for (source, target), kinds in moves.items():
        lines.append(f"    {source} --> {target}: {', '.join(kinds)}")
    return "\n".join(lines)
