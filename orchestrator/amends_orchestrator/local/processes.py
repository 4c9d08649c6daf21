"""Starting one server process so that it never outlives its owner, and ending it by its pid."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from amends_orchestrator.local import guard


class ServerFailed(Exception):
    """A local server did not start, or ended by itself; its log tells why."""

    def __init__(self, name: str, why: str, log: Path | None = None) -> None:
        self.name = name
        self.why = why
        self.log_tail = tail(log) if log else ""
        super().__init__(f"{name}: {why}" + (f"\n{self.log_tail}" if self.log_tail else ""))


@dataclass(frozen=True)
class Program:
    """What to run, and how it ends."""

    name: str
    command: Sequence[str]
    env: Mapping[str, str] = field(repr=False)
    folder: Path  # working directory
    log: Path
    user: tuple[int, int] | None = None  # uid and gid; None: as ourselves
    stop_signal: int = signal.SIGTERM
    orphan_signal: int = signal.SIGKILL
    grace_s: float = 15.0
    remove: Path | None = None  # removed by the guard when the owner is gone


@dataclass
class Guarded:
    """A running program and the guard that watches over it."""

    program: Program
    pid: int
    _guard: subprocess.Popen[bytes] = field(repr=False)

    @property
    def running(self) -> bool:
        """False as soon as the program ended, whoever ended it."""
        return self._guard.poll() is None

    def stop(self) -> None:
        """End it in order, by force after its grace. A second call does nothing."""
        self._say(b"stop\n")
        self._gone(self.program.grace_s + 5.0)

    def kill(self) -> None:
        """SIGKILL, as a crash would: nothing is flushed, nothing is said."""
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        self._gone(10.0)

    def _say(self, word: bytes) -> None:
        assert self._guard.stdin is not None
        with contextlib.suppress(BrokenPipeError, ValueError):
            self._guard.stdin.write(word)
            self._guard.stdin.flush()

    def _gone(self, within_s: float) -> None:
        self._guard.wait(timeout=within_s)
        for pipe in (self._guard.stdin, self._guard.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def launch(program: Program) -> Guarded:
    """Start `program` under a guard; it runs when this returns, which says nothing of ready."""
    order = guard.Order(
        command=list(program.command),
        env=dict(program.env),
        cwd=str(program.folder),
        log=str(program.log),
        uid=program.user[0] if program.user else None,
        gid=program.user[1] if program.user else None,
        stop_signal=int(program.stop_signal),
        orphan_signal=int(program.orphan_signal),
        grace_s=program.grace_s,
        remove=str(program.remove) if program.remove else None,
    )
    with program.log.open("ab") as log:
        watcher = subprocess.Popen(
            [sys.executable, "-I", "-S", guard.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            # Out of our terminal's group: Ctrl-C must not end a server before its owner.
            start_new_session=True,
        )
    assert watcher.stdin is not None
    assert watcher.stdout is not None
    watcher.stdin.write(json.dumps(order).encode() + b"\n")
    watcher.stdin.flush()
    answer = watcher.stdout.readline()
    if not answer:
        watcher.wait()
        watcher.stdin.close()
        watcher.stdout.close()
        raise ServerFailed(program.name, f"cannot run {program.command[0]}", program.log)
    return Guarded(program, int(answer), watcher)


def wait_until(ready: Callable[[], bool], process: Guarded, within_s: float) -> None:
    """Look every 20 ms until `ready`; ServerFailed when the process ends or the time is over."""
    name, log = process.program.name, process.program.log
    until = time.monotonic() + within_s
    while not ready():
        if not process.running:
            raise ServerFailed(name, "ended while starting", log)
        if time.monotonic() > until:
            process.kill()
            raise ServerFailed(name, f"was not ready within {within_s:g} s", log)
        time.sleep(0.02)


def tail(log: Path, lines: int = 15) -> str:
    """The end of a log, for an error's text."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""
