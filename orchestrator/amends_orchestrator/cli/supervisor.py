"""Child processes by name: started under a guard, restarted when they die, ended together.

The guard (local.processes) sees to it that no child outlives this process, however it ends.
"""

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from amends_orchestrator.local.processes import Guarded, Program, launch

RESTART_S_FIRST = 0.2
RESTART_S_MAX = 10.0
STEADY_S = 20.0
"""A child that ran this long starts anew with the shortest pause."""


@dataclass
class Child:
    """One program, its process, and when it may be started again."""

    program: Program
    process: Guarded
    started_at: float
    pause_s: float = RESTART_S_FIRST
    due_at: float | None = None
    """Monotonic time of the next start; None while it runs."""
    held: bool = False
    """Stopped on purpose: not restarted until `start` is asked for."""


@dataclass(frozen=True, slots=True)
class Event:
    """What `poll` saw: a child that died, or one that runs again."""

    name: str
    died: bool
    pause_s: float = 0.0


@dataclass
class Supervisor:
    """The children in their order of start."""

    children: dict[str, Child] = field(default_factory=dict[str, Child])

    def add(self, program: Program) -> None:
        """Start a program and keep it running."""
        assert program.name not in self.children, program.name
        self.children[program.name] = Child(program, launch(program), time.monotonic())

    def poll(self) -> list[Event]:
        """Notice the dead and start those that are due."""
        events: list[Event] = []
        now = time.monotonic()
        for name, child in self.children.items():
            if child.held:
                continue
            if child.due_at is None and not child.process.running:
                self._bury(child, now)
                events.append(Event(name, died=True, pause_s=child.pause_s))
            elif child.due_at is not None and now >= child.due_at:
                self._start(child, now)
                events.append(Event(name, died=False))
        return events

    def pids(self) -> dict[str, int]:
        """The children that run, by name."""
        return {n: c.process.pid for n, c in self.children.items() if c.process.running}

    def kill(self, name: str) -> None:
        """SIGKILL, as a crash; `poll` starts it again."""
        self.children[name].process.kill()

    def stop(self, name: str) -> None:
        """End one child in order and leave it ended."""
        child = self.children[name]
        child.held = True
        child.process.stop()

    def start(self, name: str) -> None:
        """Start a child that was stopped; a no-op where it runs."""
        child = self.children[name]
        child.held = False
        if not child.process.running:
            self._start(child, time.monotonic())

    def end(self) -> None:
        """End all in order, side by side. A second call does nothing."""
        if not self.children:
            return
        children = list(self.children.values())
        self.children = {}
        with ThreadPoolExecutor(max_workers=len(children)) as pool:
            for done in [pool.submit(child.process.stop) for child in children]:
                done.result()

    @staticmethod
    def _bury(child: Child, now: float) -> None:
        steady = now - child.started_at >= STEADY_S
        child.pause_s = RESTART_S_FIRST if steady else min(child.pause_s * 2, RESTART_S_MAX)
        child.due_at = now + child.pause_s

    @staticmethod
    def _start(child: Child, now: float) -> None:
        child.process.stop()  # closes the pipes of the last run
        child.process = launch(child.program)
        child.started_at = now
        child.due_at = None


def environment(base: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """A child's environment: ours without AMENDS_* but AMENDS_DEBUG, then its own."""
    kept = {k: v for k, v in base.items() if not k.startswith("AMENDS_") or k == "AMENDS_DEBUG"}
    return kept | dict(own)
