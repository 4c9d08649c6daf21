"""A guarded program never outlives its owner, however that one ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from amends_orchestrator.local.processes import Program, ServerFailed, launch

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="death signals are Linux's")

# An owner in a process of its own: starts a sleeper under a guard, says both pids, waits.
OWNER = """
import os, sys, time
from pathlib import Path
from amends_orchestrator.local.processes import Program, launch
folder = Path(sys.argv[1])
started = launch(
    Program("sleep", ["sleep", "600"], dict(os.environ), folder, folder / "log", remove=folder)
)
print(started.pid, started._guard.pid, flush=True)
time.sleep(600)
"""


def alive(pid: int) -> bool:
    """Whether a process is there and not a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def within(seconds: float, holds: Callable[[], bool]) -> bool:
    """Whether `holds` becomes true in time."""
    until = time.monotonic() + seconds
    while not holds() and time.monotonic() < until:
        time.sleep(0.01)
    return holds()


def program(folder: Path, *command: str, grace_s: float = 5.0) -> Program:
    """`command`, with its log in `folder`."""
    return Program("test", command, dict(os.environ), folder, folder / "log", grace_s=grace_s)


def owner_of(folder: Path) -> tuple[subprocess.Popen[str], int, int]:
    """An owner, its program's pid and its guard's."""
    folder.mkdir()
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    with owner.stdout as said:
        pid, guard = (int(word) for word in said.readline().split())
    assert alive(pid)
    return owner, pid, guard


def test_stop_ends_the_program(tmp_path: Path) -> None:
    """Stopping signals the program and returns when it is gone."""
    sleeper = launch(program(tmp_path, "sleep", "600"))
    assert sleeper.running
    sleeper.stop()
    assert (sleeper.running, alive(sleeper.pid)) == (False, False)


def test_stop_is_forced_after_its_grace(tmp_path: Path) -> None:
    """A program that ignores its signal is killed when the grace is over."""
    deaf = launch(program(tmp_path, "sh", "-c", "trap '' TERM; sleep 600 & wait", grace_s=0.2))
    time.sleep(0.1)
    deaf.stop()
    assert not alive(deaf.pid)


def test_stopping_twice_is_nothing(tmp_path: Path) -> None:
    """A second stop, also after a kill, returns at once."""
    sleeper = launch(program(tmp_path, "sleep", "600"))
    sleeper.kill()
    sleeper.stop()
    sleeper.stop()
    assert not sleeper.running


def test_a_program_that_ends_is_noticed(tmp_path: Path) -> None:
    """A program that ends by itself is not running, and its output is in the log."""
    short = launch(program(tmp_path, "sh", "-c", "echo so it was"))
    assert within(5.0, lambda: not short.running)
    short.stop()
    assert (tmp_path / "log").read_text() == "so it was\n"


def test_a_missing_program_is_refused(tmp_path: Path) -> None:
    """A command that cannot be run fails at the launch, with what the system said."""
    with pytest.raises(ServerFailed, match="cannot run /nowhere/at-all") as refused:
        launch(program(tmp_path, "/nowhere/at-all"))
    assert "No such file or directory" in refused.value.log_tail


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_program_goes_with_its_owner(tmp_path: Path, number: signal.Signals) -> None:
    """Whatever ends the owner, its program and its folder are gone soon after."""
    folder = tmp_path / "owned"
    owner, pid, guard = owner_of(folder)
    owner.send_signal(number)
    owner.wait()
    assert within(5.0, lambda: not (alive(pid) or alive(guard) or folder.exists()))


@linux_only
def test_the_program_goes_with_its_guard(tmp_path: Path) -> None:
    """When the guard itself is killed, the kernel ends the program."""
    owner, pid, guard = owner_of(tmp_path / "owned")
    os.kill(guard, signal.SIGKILL)
    gone = within(5.0, lambda: not alive(pid))
    owner.kill()
    owner.wait()
    assert gone
