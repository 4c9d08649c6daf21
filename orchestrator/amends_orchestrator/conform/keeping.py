"""The service's process: killed with SIGKILL, and started again by the command a person gave."""

import asyncio
import os
import signal
from asyncio.subprocess import DEVNULL, Process
from dataclasses import dataclass
from pathlib import Path
from typing import Final

GONE_WITHIN_S: Final = 10.0
LEAVE_S: Final = 10.0
TICK_S: Final = 0.05


class BadRestart(Exception):
    """The service could not be killed or started; the text says what to do."""


@dataclass(slots=True)
class Keeper:
    """Kills and starts one service. What it started it ends, unless the service ran before."""

    command: str
    pid: str | None
    """A process id, or a file that holds one; None: it is started here from the beginning."""
    child: Process | None = None

    async def start(self) -> None:
        """Start it."""
        self.child = await asyncio.create_subprocess_shell(
            self.command, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL, start_new_session=True
        )

    def ended(self) -> int | None:
        """The exit code of what was started, if that is over and was no success."""
        return None if self.child is None else self.child.returncode or None

    async def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self.child is not None and self.child.returncode is None:
            os.killpg(self.child.pid, signal.SIGKILL)
            await self.child.wait()
            return
        pid = self._pid()
        try:
            os.kill(pid, signal.SIGKILL)
            async with asyncio.timeout(GONE_WITHIN_S):
                while _is_there(pid):  # noqa: ASYNC110 - a process that is not ours tells nobody
                    await asyncio.sleep(TICK_S)
        except ProcessLookupError:
            raise BadRestart(f"--pid: there is no process {pid}") from None
        except PermissionError:
            raise BadRestart(f"--pid: process {pid} is somebody else's") from None
        except TimeoutError:
            raise BadRestart(f"--pid: process {pid} does not go") from None

    @property
    def ends(self) -> bool:
        """Whether what was started here is to be ended: nobody had started it before."""
        child = self.child
        return child is not None and child.returncode is None and self.pid is None

    async def close(self) -> None:
        """End what is to be ended."""
        child = self.child
        if child is None or not self.ends:
            return
        os.killpg(child.pid, signal.SIGTERM)
        try:
            async with asyncio.timeout(LEAVE_S):
                await child.wait()
        except TimeoutError:
            os.killpg(child.pid, signal.SIGKILL)
            await child.wait()

    def _pid(self) -> int:
        if self.pid is None:
            how = "was running already" if self.child is None else "is not what --restart runs"
            raise BadRestart(
                f"the service {how}, so its process is not known: give --pid, a number or a file"
                " that holds it"
            )
        text = self.pid
        if not text.isdigit():
            try:
                text = Path(text).read_text().strip()
            except OSError as error:
                raise BadRestart(f"--pid: {self.pid}: {error.strerror}") from error
        if not text.isdigit():
            raise BadRestart(f"--pid: {self.pid} holds {text[:40]!r}, not a process id")
        return int(text)


def _is_there(pid: int) -> bool:
    """Whether a process is alive; one that only waits to be buried is not."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat")
        return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
