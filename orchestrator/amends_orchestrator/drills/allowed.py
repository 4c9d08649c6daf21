"""What may be drilled, by what services say of themselves and the operator of them. Pure."""

from collections.abc import Mapping
from typing import TypeAlias

from amends_contracts.drill import ENABLED
from amends_contracts.messages import Hello
from amends_contracts.names import ENGINE, StepPath
from amends_orchestrator.core.checker.order import precedes
from amends_orchestrator.core.plan import ActionNode, Plan

Hellos: TypeAlias = Mapping[str, Mapping[str, Hello]]
"""By service and instance."""


def barred(plan: Plan, hellos: Hellos, sandbox: Mapping[str, str]) -> dict[str, str]:
    """By step id, why its command may not run here; and the pivot that would lead to one."""
    nodes = [node for node in plan.nodes.values() if isinstance(node, ActionNode)]
    found = {node.id: why for node in nodes if (why := _why_not(node, hellos, sandbox))}
    for pivot in [node for node in nodes if node.pivot and node.id not in found]:
        beyond = [b for b in found if precedes(plan, StepPath(pivot.id), StepPath(b))]
        if beyond:
            found[pivot.id] = f"after it comes {beyond[0]}: {found[beyond[0]]}"
    return found


def _why_not(node: ActionNode, hellos: Hellos, sandbox: Mapping[str, str]) -> str:
    service = node.service
    if service in sandbox:
        return ""
    if service == ENGINE:
        return "child sagas are drilled by themselves"
    for hello in hellos[service].values():
        info = hello.commands.get(node.command)
        if hello.sdk is not None and ENABLED not in hello.accepts:
            return f"drills are not enabled at {service}: set AMENDS_DRILL_SECRET there"
        if info is None:
            return f"{service} does not serve {node.command}"
        if info.drill is None:
            return (
                f"{node.command} does not say what it acts on in drills:"
                " @app.action(…, drill='a test account')"
            )
    return ""


def obeys(service: str, hellos: Hellos) -> bool:
    """Whether every instance of a service follows a drill's orders."""
    known = hellos.get(service, {}).values()
    return bool(known) and all(ENABLED in hello.accepts for hello in known)
