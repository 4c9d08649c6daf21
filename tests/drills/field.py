"""A drill in a test: its orchestrator over a real Postgres, participants over the memory broker."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from amends_contracts.definition import Definition
from amends_contracts.messages import Json
from amends_contracts.topology import Topology
from amends_orchestrator.cel import CelExpressions
from amends_orchestrator.cli.embedded import runtime_of
from amends_orchestrator.drills import runner
from amends_orchestrator.drills.invariants import Invariant
from amends_orchestrator.drills.outside import MemoryOutside
from amends_orchestrator.transport.memory import MemoryBroker
from amends_participants import Participant
from drills.plain import Plain, Wrong

SECRET = "a secret for drills alone"
TOPOLOGY = Topology("amends")


def step(name: str, command: str, **more: Json) -> dict[str, Json]:
    """An action of a definition."""
    base: dict[str, Json] = {"kind": "action", "id": name, "command": command}
    return base | {"retry": {"max_attempts": 3}} | more


def definition(*steps: Json) -> Definition:
    """A definition named `drilled`."""
    return Definition.model_validate({"name": "drilled", "steps": list(steps)})


SEATS = definition(
    step("hold", "seats.hold", compensation={"command": "seats.free"}),
    step("print", "seats.print", compensation={"command": "seats.tear"}),
)
BANK = definition(
    step("charge", "bank.charge", input={"usd": 10}),
    step("wire", "bank.wire", input={"usd": 20}),
)


@asynccontextmanager
async def drilling(
    url: str,
    what: Definition,
    *,
    apps: Sequence[Participant] = (),
    wrong: Wrong | None = None,
    invariants: Sequence[Invariant] = (),
    sandbox: dict[str, str] | None = None,
    secret: str | None = SECRET,
    **order: Any,
) -> AsyncGenerator[tuple[runner.Drill, Plain]]:
    """A drill whose participants run; not prepared yet."""
    broker = MemoryBroker()
    plain = Plain(broker, TOPOLOGY, wrong or Wrong.IN_NOTHING)
    order.setdefault("input", {})
    given = runner.Order(
        definition=what,
        invariants=invariants,
        sandbox=sandbox or {},
        hello_s=0.5,
        end_s=4.0,
        **order,
    )
    outside = MemoryOutside(broker, TOPOLOGY)
    opened = runner.opened(
        given, outside, TOPOLOGY, CelExpressions(), database_url=url, secret=SECRET
    )
    more: dict[str, Any] = {"sweep_s": 0.2, "busy_s": 0.5, "hello_s": 0.2, "drill_secret": secret}
    async with opened as drill:
        if wrong is not None:
            plain.start()
        runtimes = [await runtime_of(app, broker, TOPOLOGY, url, **more) for app in apps]
        tasks = [asyncio.ensure_future(runtime.run()) for runtime in runtimes]
        yield drill, plain
        for runtime in runtimes:
            runtime.stop()
        await asyncio.gather(*tasks)
