"""The whole of it as processes: RabbitMQ, Postgres, orchestrators, the trip's four services.

What a test sees of it is what an operator sees: REST, the services' own tables, and signals.
"""

import asyncio
import threading
import time
import uuid
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from amends_orchestrator.cli import ledger
from amends_orchestrator.cli.example import TRIP, examples_folder
from amends_orchestrator.cli.exits import CliError
from amends_orchestrator.cli.machine import Machine
from amends_orchestrator.cli.rest import Rest, saga_path
from amends_orchestrator.local.servers import Server

DEADLINE_S = 120.0
"""Generous: the machine that runs this may be busy with other things."""
POLL_S = 0.05
ENDED = frozenset({"completed", "compensated", "stuck"})
ALL_ONCE = {"seat": 1, "room": 1, "charge": 1, "mail": 1}
NOTHING = dict.fromkeys(ALL_ONCE, 0)


@dataclass
class World:
    """A running machine, restarted where it dies, and questions to it."""

    machine: Machine
    lock: threading.Lock = field(default_factory=threading.Lock)
    """Held while the processes are changed: the watch restarts what dies."""

    # --- sagas

    def start(self, **changes: Any) -> str:
        """Start a trip; its saga id."""
        trip = {"traveller": f"t-{uuid.uuid4().hex[:8]}", "to": "Lisbon", "nights": 2}
        body = {
            "definition": TRIP.definition,
            "key": f"k-{uuid.uuid4()}",
            "input": {**trip, "email": "someone@example.com", **changes},
        }
        return str(self.steadily(lambda rest: rest.post("/v1/sagas", body))["saga_id"])

    def start_many(self, inputs: Sequence[dict[str, Any]]) -> list[str]:
        """Start trips side by side; each start is repeated until it is answered."""

        def start(changes: dict[str, Any]) -> str:
            return self.start(**changes)

        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(start, inputs))

    def show(self, saga_id: str) -> dict[str, Any]:
        """The saga as REST shows it."""
        return self.steadily(lambda rest: rest.get(saga_path(saga_id)))

    def end_of(self, saga_id: str) -> dict[str, Any]:
        """The saga when it has ended or is stuck."""
        return self.until(lambda: self._ended(saga_id), f"saga {saga_id} to end")

    def ends_of(self, saga_ids: Sequence[str]) -> dict[str, str]:
        """Status of each when all have ended."""
        return {saga_id: str(self.end_of(saga_id)["status"]) for saga_id in saga_ids}

    def step(self, saga_id: str, path: str) -> dict[str, Any]:
        """One step of a saga."""
        return next(s for s in self.show(saga_id)["steps"] if s["path"] == path)

    def steadily(self, ask: Callable[[Rest], Any]) -> Any:
        """Ask until there is an answer: the orchestrator may be starting again."""

        def answer() -> tuple[Any] | None:
            try:
                with Rest(self.machine.address) as rest:
                    return (ask(rest),)
            except CliError as error:
                if error.problem and error.problem.get("status", 500) < 500:
                    raise
                return None
            except httpx.HTTPError:
                return None

        return self.until(answer, "the service to answer")[0]

    def until(self, look: Callable[[], Any], what: str) -> Any:
        """The first answer that is true; fails at a generous deadline."""
        end = time.monotonic() + DEADLINE_S
        while not (found := look()):
            assert time.monotonic() < end, f"waited {DEADLINE_S:g} s for {what}"
            time.sleep(POLL_S)
        return found

    # --- effects

    def held(self, saga_id: str) -> dict[str, int]:
        """What the services' own tables hold for a saga."""
        return self.held_by_all([saga_id])[saga_id]

    def held_by_all(self, saga_ids: Sequence[str]) -> dict[str, dict[str, int]]:
        """The same for many."""
        return asyncio.run(ledger.held_by(saga_ids, self.machine.database_of))

    def broken(self) -> list[str]:
        """Promises that the services' own tables say are broken."""
        return asyncio.run(ledger.broken(examples_folder(), self.machine.database_of))

    # --- processes

    def kill(self, name: str) -> None:
        """SIGKILL; it is started again by itself."""
        with self.lock:
            self.machine.supervisor.kill(name)

    def crash(self, server: Server) -> None:
        """SIGKILL to a server; when this returns the machine has started it again."""
        with self.lock:
            server.kill()
            self.machine.poll()

    def stop(self, name: str) -> None:
        """End in order, and leave ended."""
        with self.lock:
            self.machine.supervisor.stop(name)

    def run(self, name: str) -> None:
        """Start what was stopped."""
        with self.lock:
            self.machine.supervisor.start(name)

    def _ended(self, saga_id: str) -> dict[str, Any] | None:
        view = self.show(saga_id)
        return view if view["status"] in ENDED else None


@contextmanager
def running_world(folder: Path, *, orchestrators: int = 1, work_s: float = 0.0) -> Generator[World]:
    """Bring everything up on servers of its own, and look after it until the end."""
    machine = Machine(
        folder=folder,
        example=TRIP,
        orchestrators=orchestrators,
        with_key=True,
        extra_env={"AMENDS_TRIP_WORK_S": str(work_s)},
        environ={},
    )
    world = World(machine)
    over = threading.Event()

    def watch() -> None:
        while not over.wait(POLL_S):
            with world.lock:
                machine.poll()

    watcher = threading.Thread(target=watch, name="watch")
    try:
        machine.start()
        watcher.start()
        yield world
    finally:
        over.set()
        if watcher.is_alive():
            watcher.join()
        machine.end()
