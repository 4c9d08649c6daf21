"""`amends up`: everything runs, up.json says where, and nothing is left behind however it ends."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from cli.running import Amends

pytestmark = [pytest.mark.servers, pytest.mark.slow]

DEADLINE_S = 120.0
QUEUES_SAFE_S = 8.0
SERVICES = ("flights", "hotels", "payments", "mail")


def until(true: Callable[[], Any], what: str) -> Any:
    """The first answer that is true; fails at a generous deadline."""
    end = time.monotonic() + DEADLINE_S
    while not (found := true()):
        assert time.monotonic() < end, f"waited {DEADLINE_S:g} s for {what}"
        time.sleep(0.05)
    return found


def runs(pid: int) -> bool:
    """Whether there is such a process; one that is only not yet buried does not count."""
    done = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return bool(done.stdout.strip()) and not done.stdout.strip().startswith("Z")


class Up:
    """A running `amends up`."""

    def __init__(self, folder: Path, *options: str) -> None:
        env = {k: v for k, v in os.environ.items() if not k.startswith("AMENDS_")}
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-m", "amends_orchestrator.cli.main", "up", "--json", *options],
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait(self) -> dict[str, Any]:
        """up.json, when everything is ready."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.communicate()[1]
        return self.content()

    def content(self) -> dict[str, Any]:
        """up.json as it is now."""
        return json.loads((self.folder / ".amends" / "up.json").read_text())

    def end(self, number: int) -> int:
        """Send a signal and wait; the exit code."""
        self.process.send_signal(number)
        self.process.communicate(timeout=DEADLINE_S)
        return self.process.returncode


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    """Where `up` runs. Servers that root starts run as somebody else, who must get through."""
    with tempfile.TemporaryDirectory(prefix="amends-up-") as made:
        Path(made).chmod(0o711)
        monkeypatch.chdir(made)
        yield Path(made)


@pytest.fixture
def start_up(folder: Path) -> Generator[Callable[..., Up]]:
    """Starts `amends up` in the test's folder; killed after the test if it still runs."""
    started: list[Up] = []

    def start(*options: str) -> Up:
        started.append(Up(folder, *options))
        return started[-1]

    yield start
    for up in started:
        if up.process.poll() is None:
            up.end(signal.SIGKILL)


def test_killed_servers_run_again_on_their_data(
    start_up: Callable[..., Up], amends: Amends, folder: Path
) -> None:
    """Postgres and RabbitMQ, killed, come back at the same addresses with what they held."""
    up = start_up("--example", "none")
    before = up.wait()
    assert amends("keys", "create", "kept").code == 0

    # RabbitMQ 3.10 loses quorum queues declared within seconds before it is killed.
    time.sleep(QUEUES_SAFE_S)
    for name in ("postgres", "rabbitmq"):
        os.kill(before["pids"][name], signal.SIGKILL)
        until(lambda name=name: up.content()["pids"][name] != before["pids"][name], name)

    until(lambda: amends("doctor", "--json").code == 0, "a healthy service")
    assert "kept" in amends("keys", "list").out
    after = up.content()
    assert (after["database_url"], after["broker_url"]) == (
        before["database_url"],
        before["broker_url"],
    )


def test_one_folder_has_one_up_from_its_first_moment(
    start_up: Callable[..., Up], amends: Amends, folder: Path
) -> None:
    """A second `up` is refused while the first starts, and up.json is there when it is ready."""
    first = start_up("--example", "none")
    until((folder / ".amends" / "lock").exists, "the lock")
    second = amends("up", "--example", "none")

    assert (second.code, f"process {first.process.pid}" in second.err) == (1, True)
    assert not (folder / ".amends" / "up.json").exists()


def test_up_tells_scripts_where_everything_is(
    start_up: Callable[..., Up], amends: Amends, folder: Path
) -> None:
    """From its folder the other commands find it; a dead child runs again under a new pid."""
    up = start_up()
    content = up.wait()

    assert set(content) == {"api_url", "api_key", "broker_url", "database_url", "pids"}
    assert set(content["pids"]) == {
        *("up", "postgres", "rabbitmq", "epmd", "orchestrator"),
        *SERVICES,
    }
    assert content["pids"]["up"] == up.process.pid
    assert (folder / ".amends" / "up.json").stat().st_mode & 0o077 == 0
    assert all(runs(pid) for pid in content["pids"].values())

    trip = ("-i", "traveller=ada", "-i", "to=Lisbon", "-i", "nights=2", "-i", "email=a@b.c")
    ran = amends("start", "book-trip", *trip, "--wait", "--json")
    assert (ran.code, ran.json["status"]) == (0, "completed")
    assert amends("doctor", "--json").json["ok"] is True
    second = amends("up")
    assert (second.code, "It is up already" in second.err) == (1, True)

    os.kill(content["pids"]["mail"], signal.SIGKILL)
    until(lambda: up.content()["pids"].get("mail", 0) not in {0, content["pids"]["mail"]}, "mail")
    assert amends("start", "book-trip", *trip, "--wait", "--json").code == 0
    content = up.content()

    assert up.end(signal.SIGINT) == 0
    assert not (folder / ".amends" / "up.json").exists()
    assert [name for name, pid in content["pids"].items() if runs(pid)] == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_behind(start_up: Callable[..., Up], number: int) -> None:
    """SIGTERM is a good end; SIGKILL leaves an up.json that a next `up` replaces, no process."""
    up = start_up("--example", "none")
    pids = up.wait()["pids"]

    code = up.end(number)

    assert code == (0 if number == signal.SIGTERM else -signal.SIGKILL)
    until(lambda: not any(runs(pid) for pid in pids.values()), "all processes to end")


def test_a_signal_while_it_starts_ends_it(start_up: Callable[..., Up], folder: Path) -> None:
    """Ctrl-C in the first second is no accident either."""
    up = start_up("--example", "none")
    until((folder / ".amends").exists, "it to begin")

    assert up.end(signal.SIGTERM) == 0
    assert not (folder / ".amends" / "up.json").exists()


def test_kept_data_is_there_the_next_time(start_up: Callable[..., Up], amends: Amends) -> None:
    """With --keep sagas outlive `up`."""
    trip = ("-i", "traveller=ada", "-i", "to=Lisbon", "-i", "nights=2", "-i", "email=a@b.c")
    up = start_up("--keep")
    up.wait()
    assert amends("start", "book-trip", "-k", "kept", *trip, "--wait").code == 0
    up.end(signal.SIGTERM)

    start_up("--keep").wait()

    assert amends("show", "last", "--json").json["key"] == "kept"


def test_an_unknown_example_is_a_usage_error(amends: Amends) -> None:
    """Before anything is started."""
    ran = amends("up", "--example", "cruise")

    assert (ran.code, ran.err) == (
        2,
        "error: There is no example 'cruise'.\n  There are: trip, none.\n",
    )
