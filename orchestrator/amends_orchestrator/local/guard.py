"""The process between an owner and one server: when the owner is gone, the server goes too.

Run by `processes` as a script of its own (`python -I -S guard.py`), so it imports the standard
library alone. Its standard input is a pipe that only the owner holds: one line of JSON says what
to run, a second line `stop` asks for an orderly end, and the end of the input means that the owner
ended, however that happened. It answers one line, the server's pid, and leaves with the server.

A death signal set in the server alone would not do: the kernel sends it when the *thread* that
started the server ends, which in an owner with worker threads comes early. This process has one
thread, so here it is right, and covers the case that the guard itself is killed (Linux only).
"""

import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from typing import TypedDict

PR_SET_PDEATHSIG = 1


class Order(TypedDict):
    """What the owner asks for. Signals are numbers."""

    command: list[str]
    env: dict[str, str]
    cwd: str
    log: str  # output of the server is appended here
    uid: int | None  # run as this user, with `gid` and no further groups
    gid: int | None
    stop_signal: int  # orderly
    orphan_signal: int  # when the owner is gone
    grace_s: float  # from either signal to SIGKILL
    remove: str | None  # this folder goes when the owner is gone


def main() -> int:
    """Run the order that stands in standard input; the exit code tells nothing."""
    wake = wake_on_child_end()
    order: Order = json.loads(read_line())
    child = spawn(order)
    sys.stdout.write(f"{child.pid}\n")
    sys.stdout.flush()
    wanted = watch(child, wake)
    if wanted is not None:
        end(child, order["stop_signal"] if wanted == "stop" else order["orphan_signal"], order)
    if order["remove"] and (wanted == "orphan" or owner_is_gone()):
        shutil.rmtree(order["remove"], ignore_errors=True)
    return 0


def wake_on_child_end() -> int:
    """A descriptor that becomes readable when a child ends, so that waiting needs no polling."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.signal(signal.SIGCHLD, _noted)
    signal.set_wakeup_fd(writer)
    return reader


def _noted(_number: int, _frame: object) -> None:
    """Nothing to do: a handler must be there for the wake-up descriptor to be written."""


def read_line() -> bytes:
    """One line of standard input, byte by byte: nothing may be left in a buffer unseen."""
    line = bytearray()
    while (byte := os.read(0, 1)) not in (b"", b"\n"):
        line += byte
    return bytes(line)


def spawn(order: Order) -> subprocess.Popen[bytes]:
    """Start the server. It ignores the terminal's signals: the owner decides when it ends."""

    def die_with_guard() -> None:
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, order["orphan_signal"])

    with open(order["log"], "ab") as log:  # noqa: PTH123 - pathlib costs 10 ms at start
        return subprocess.Popen(
            order["command"],
            env=order["env"],
            cwd=order["cwd"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            user=order["uid"],
            group=order["gid"],
            extra_groups=None if order["uid"] is None else [],
            preexec_fn=die_with_guard,  # noqa: PLW1509 - this process has one thread
        )


def watch(child: subprocess.Popen[bytes], wake: int) -> str | None:
    """Wait for a word of the owner (`stop`), its end (`orphan`) or the server's own (None)."""
    while child.poll() is None:
        ready, _, _ = select.select([0, wake], [], [])
        if wake in ready:
            os.read(wake, 512)
        if 0 in ready:
            return "stop" if read_line() == b"stop" else "orphan"
    return None


def end(child: subprocess.Popen[bytes], number: int, order: Order) -> None:
    """Signal the server and wait for its end, by force when `grace_s` is over."""
    child.send_signal(number)
    until = time.monotonic() + order["grace_s"]
    while child.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    child.kill()
    child.wait()


def owner_is_gone() -> bool:
    """True when the other end of the pipe is closed."""
    ready, _, _ = select.select([0], [], [], 0)
    return bool(ready) and read_line() == b""


if __name__ == "__main__":
    # Ctrl-C at the terminal reaches the owner, which then decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    sys.exit(main())
