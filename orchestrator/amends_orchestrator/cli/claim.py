"""One owner per `.amends` folder: a lock that the kernel lifts with its process."""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from amends_orchestrator.cli.exits import CliError

LOCK_FILE = "lock"


@dataclass(frozen=True)
class Claim:
    """The lock on a folder, held until `release`."""

    _file: TextIO
    _path: Path

    @classmethod
    def of(cls, home: Path) -> "Claim":
        """Claim `home` for this process; CliError with the owner's pid where it is taken."""
        path = home / LOCK_FILE
        file = path.open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            owner = file.read().strip()
            file.close()
            raise CliError(
                f"It is up already, or just starting (process {owner}): see {home}.",
                f"End it with `kill {owner}`, or work in another folder.",
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        return cls(file, path)

    def release(self) -> None:
        """Remove the lock; the next one may claim the folder."""
        self._path.unlink(missing_ok=True)
        self._file.close()


def is_claimed(home: Path) -> bool:
    """Whether a process that runs has claimed `home`."""
    try:
        with (home / LOCK_FILE).open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
