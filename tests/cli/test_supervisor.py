"""Children are kept running, and none outlives its supervisor."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from amends_orchestrator.cli.supervisor import Supervisor
from amends_orchestrator.local.processes import Program

SLEEPER = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"]
DEADLINE_S = 30.0


@pytest.fixture
def supervisor() -> Generator[Supervisor]:
    """One that is ended after the test."""
    made = Supervisor()
    yield made
    made.end()


def program(name: str, folder: Path, command: list[str] = SLEEPER) -> Program:
    """Something that runs until it is told to end."""
    return Program(
        name=name, command=command, env=dict(os.environ), folder=folder, log=folder / f"{name}.log"
    )


def until(true: Callable[[], bool]) -> None:
    """Wait for a condition; fails at a generous deadline."""
    end = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < end, "did not come true"
        time.sleep(0.02)


def runs(pid: int) -> bool:
    """Whether there is such a process (a zombie is none)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_a_killed_child_is_started_again(supervisor: Supervisor, tmp_path: Path) -> None:
    """Both the death and the new start are told, with a short pause between."""
    supervisor.add(program("a", tmp_path))
    first = supervisor.pids()["a"]
    supervisor.kill("a")
    events = supervisor.poll()

    until(lambda: bool(events.extend(supervisor.poll())) or "a" in supervisor.pids())

    assert [(event.name, event.died) for event in events] == [("a", True), ("a", False)]
    assert supervisor.pids()["a"] != first


def test_a_child_that_keeps_dying_waits_longer_each_time(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    """A program with a fault does not spin."""
    supervisor.add(program("a", tmp_path, [sys.executable, "-I", "-S", "-c", ""]))
    pauses: list[float] = []

    def died_three_times() -> bool:
        pauses.extend(event.pause_s for event in supervisor.poll() if event.died)
        return len(pauses) == 3

    until(died_three_times)

    assert pauses == [0.4, 0.8, 1.6]


def test_a_stopped_child_stays_stopped_until_it_is_started(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    """Stopping on purpose is no death."""
    supervisor.add(program("a", tmp_path))
    supervisor.stop("a")
    assert (supervisor.poll(), supervisor.pids()) == ([], {})

    supervisor.start("a")

    assert list(supervisor.pids()) == ["a"]


def test_end_ends_all(supervisor: Supervisor, tmp_path: Path) -> None:
    """Nothing runs afterwards, and a second end is no error."""
    for name in ("a", "b", "c"):
        supervisor.add(program(name, tmp_path))
    pids = supervisor.pids()

    supervisor.end()
    supervisor.end()

    assert not any(runs(pid) for pid in pids.values())


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_children_go_down_with_a_killed_supervisor(tmp_path: Path) -> None:
    """Not even SIGKILL leaves a child behind."""
    script = tmp_path / "owner.py"
    script.write_text(
        "import os, sys, time, pathlib\n"
        "from amends_orchestrator.cli.supervisor import Supervisor\n"
        "from amends_orchestrator.local.processes import Program\n"
        "here = pathlib.Path(sys.argv[1])\n"
        "s = Supervisor()\n"
        "sleeper = [sys.executable, '-c', 'import time; time.sleep(600)']\n"
        "for name in ('a', 'b'):\n"
        "    s.add(Program(name=name, command=sleeper, folder=here,\n"
        "                  env=dict(os.environ), log=here / 'log'))\n"
        "print(*s.pids().values(), flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        pids = [int(pid) for pid in owner.stdout.readline().split()]
        assert len(pids) == 2
        assert all(runs(pid) for pid in pids)
        owner.send_signal(signal.SIGKILL)

    until(lambda: not any(runs(pid) for pid in pids))
