"""A private RabbitMQ node: own name, ports, cookie, data and epmd; no plugins.

It calls the scripts of the Debian package beneath /usr/lib (those in /usr/sbin change the user),
of Homebrew, or the copy that `debian` unpacked for whoever may not install packages. A node that
runs already on this machine is neither used nor seen: everything it goes by is our own.
"""

import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from amends_orchestrator.local import debian, folders
from amends_orchestrator.local.ports import free_port, listens, speaks_amqp
from amends_orchestrator.local.processes import (
    Guarded,
    Program,
    ServerFailed,
    launch,
    wait_until,
)

USER = "amends"
START_S = 90.0
START_TRIES = 3

# A private node serves one machine's try-outs: it must not refuse work on a nearly full disk, nor
# fill the log with every connection.
CONFIGURATION = """\
default_user = {user}
default_pass = {password}
disk_free_limit.absolute = 50MB
log.file.level = warning
log.console = false
"""


INSTALL = (
    "Run as root: apt-get install --no-install-recommends rabbitmq-server (macOS: brew install "
    "rabbitmq); without root, on Debian: python -m amends_orchestrator.local.debian"
)


class RabbitmqMissing(Exception):
    """No RabbitMQ on this machine; the text says how to come by one."""

    def __init__(self) -> None:
        super().__init__(f"No RabbitMQ on this machine. {INSTALL}")


@dataclass(frozen=True)
class Ports:
    """The ports of one node, all on the loopback."""

    amqp: int
    distribution: int
    epmd: int
    control: int  # of the command line tools while they run


@dataclass
class PrivateRabbitmq:
    """A running node. `stop` removes its files unless a folder was given for them."""

    url: str
    ports: Ports
    _home: Path
    _scripts: Path
    _throwaway: bool
    _processes: dict[str, Guarded] = field(repr=False)

    @property
    def pids(self) -> dict[str, int]:
        """Of the node (`rabbitmq`) and of its name service (`epmd`)."""
        return {name: process.pid for name, process in self._processes.items()}

    @property
    def running(self) -> bool:
        """False once the node ended, whoever ended it."""
        return self._processes["rabbitmq"].running

    @property
    def log(self) -> Path:
        """What the node wrote to its console; its log files are beside it."""
        return self._home / "rabbitmq.out"

    def stop(self) -> None:
        """End the node in order, then its epmd. A second call does nothing."""
        _stop(self._processes)
        if self._throwaway:
            folders.remove(self._home)

    def kill(self) -> None:
        """SIGKILL to the node; `restart` takes up what its queues had on disk."""
        self._processes["rabbitmq"].kill()

    def restart(self) -> None:
        """Stop the node where it still runs and start it on the same data and ports."""
        _stop(self._processes)
        self._processes = _run(self._home, self._scripts, self.ports, self._throwaway)

    def ctl(self, *arguments: str) -> str:
        """`rabbitmqctl` on this node: its output. ServerFailed with what it said. Takes seconds."""
        done = subprocess.run(
            [str(self._scripts / "rabbitmqctl"), "--quiet", *arguments],
            env=_environment(self._home, self._scripts, self.ports),
            cwd=self._home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60.0,
            check=False,
        )
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip()
            raise ServerFailed("rabbitmqctl", f"{' '.join(arguments[:1])}: {said}")
        return done.stdout

    def import_definitions(self, file: Path) -> None:
        """Users, permissions, topic permissions, exchanges and queues from a definitions file."""
        self.ctl("import_definitions", str(file.resolve()))


def start(folder: Path | None = None, *, port: int | None = None) -> PrivateRabbitmq:
    """Start a node and return when it speaks AMQP.

    Without `folder` its data lives in a temporary one and goes with the node; with it, the data
    stays and is taken up again. RabbitmqMissing without programs.
    """
    scripts = programs()
    home = folder or folders.temporary("rabbitmq")
    try:
        _configured(home)
        ports, processes = _run_on_some_ports(home, scripts, port, folder is None)
    except BaseException:
        if folder is None:
            folders.remove(home)
        raise
    url = f"amqp://{USER}:{folders.secret(home)}@127.0.0.1:{ports.amqp}/"
    return PrivateRabbitmq(url, ports, home, scripts, folder is None, processes)


def programs() -> Path:
    """The folder with `rabbitmq-server` and `rabbitmqctl`; RabbitmqMissing when there is none."""
    for folder in (
        Path("/usr/lib/rabbitmq/bin"),
        Path("/opt/homebrew/opt/rabbitmq/sbin"),
        Path("/usr/local/opt/rabbitmq/sbin"),
        debian.scripts(),
    ):
        if (folder / "rabbitmq-server").exists() and _erlang(folder):
            return folder
    raise RabbitmqMissing


def available() -> bool:
    """Whether `start` would find its programs."""
    try:
        programs()
    except RabbitmqMissing:
        return False
    return True


def _erlang(scripts: Path) -> str | None:
    return shutil.which("erl", path=_path(scripts))


def _path(scripts: Path) -> str:
    """Where the scripts look for `erl`: beside an unpacked copy first."""
    inherited = os.environ.get("PATH", os.defpath)
    own = [str(debian.erlang_bin())] if scripts == debian.scripts() else []
    return os.pathsep.join([*own, inherited, "/opt/homebrew/bin", "/usr/local/bin"])


def _configured(home: Path) -> None:
    """The files a node needs, made once per folder."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Erlang refuses a cookie that others can read.
    folders.secret(home, ".erlang.cookie")
    (home / ".erlang.cookie").chmod(0o400)
    folders.secret(home)
    if not (home / "node").exists():
        (home / "node").write_text(f"amends-{secrets.token_hex(4)}@localhost")
    (home / "enabled_plugins").write_text("[].\n")
    settings = home / "rabbitmq.conf"
    settings.touch(mode=0o600)
    settings.write_text(CONFIGURATION.format(user=USER, password=folders.secret(home)))


def _run_on_some_ports(
    home: Path, scripts: Path, port: int | None, throwaway: bool
) -> tuple[Ports, dict[str, Guarded]]:
    for tries_left in reversed(range(START_TRIES)):
        ports = Ports(port or free_port(), free_port(), free_port(), free_port())
        try:
            return ports, _run(home, scripts, ports, throwaway)
        except ServerFailed:
            if not tries_left:
                raise
    raise AssertionError("unreachable")


def _run(home: Path, scripts: Path, ports: Ports, throwaway: bool) -> dict[str, Guarded]:
    """Start epmd and the node. Our own epmd first: one that the node starts would outlive it."""
    env = _environment(home, scripts, ports)
    epmd = launch(
        Program(
            name="epmd",
            command=[_epmd(scripts), "-port", str(ports.epmd), "-address", "127.0.0.1"],
            env=env,
            folder=home,
            log=home / "epmd.out",
            remove=home if throwaway else None,  # the node may have died before its owner
        )
    )
    processes = {"epmd": epmd}
    try:
        wait_until(lambda: listens(ports.epmd), epmd, START_S)
        processes["rabbitmq"] = launch(
            Program(
                name="rabbitmq",
                command=[str(scripts / "rabbitmq-server")],
                env=env,
                folder=home,
                log=home / "rabbitmq.out",
                stop_signal=signal.SIGTERM,
                remove=home if throwaway else None,
            )
        )
        wait_until(lambda: speaks_amqp(ports.amqp), processes["rabbitmq"], START_S)
    except BaseException:
        _stop(processes)
        raise
    return processes


def _stop(processes: Mapping[str, Guarded]) -> None:
    for name in ("rabbitmq", "epmd"):
        if name in processes:
            processes[name].stop()


def _epmd(scripts: Path) -> str:
    found = shutil.which("epmd", path=_path(scripts))
    if found is None:
        raise RabbitmqMissing
    return found


def _environment(home: Path, scripts: Path, ports: Ports) -> dict[str, str]:
    """All that a node goes by. Nothing of ours called RABBITMQ_* or ERL_* is passed on."""
    foreign = ("RABBITMQ_", "ERL_", "ELIXIR_", "AMENDS_")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
    loopback = "-kernel inet_dist_use_interface {127,0,0,1}"
    own = {
        "HOME": str(home),
        "PATH": _path(scripts),
        "LC_ALL": "C.UTF-8",
        "ERL_EPMD_PORT": str(ports.epmd),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_CRASH_DUMP_SECONDS": "0",
        "RABBITMQ_CONF_ENV_FILE": str(home / "none"),
        "RABBITMQ_NODENAME": (home / "node").read_text(),
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(ports.amqp),
        "RABBITMQ_DIST_PORT": str(ports.distribution),
        "RABBITMQ_MNESIA_BASE": str(home / "data"),
        "RABBITMQ_LOG_BASE": str(home / "log"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "enabled_plugins"),
        "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq.conf"),
        "RABBITMQ_PID_FILE": str(home / "rabbitmq.pid"),
        "RABBITMQ_CTL_DIST_PORT_MIN": str(ports.control),
        "RABBITMQ_CTL_DIST_PORT_MAX": str(ports.control),
        # With input allowed the script becomes the node instead of staying its parent: one pid.
        "RABBITMQ_ALLOW_INPUT": "1",
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"-noinput {loopback}",
    }
    return {**kept, **own}
