"""`amends dev`: one process, reloaded on save; a fault in the code is said and waited for."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from amends_orchestrator.cli.dev import snapshot
from cli.running import Amends

DEADLINE_S = 120.0
ORDER = ("-i", "customer=ada", "-i", "item=teapot", "-i", "pieces=1")


class Dev:
    """A running `amends dev` and what it has said."""

    def __init__(self, folder: Path) -> None:
        self.log = folder.parent / "dev.log"
        env = {k: v for k, v in os.environ.items() if not k.startswith("AMENDS_")}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "amends_orchestrator.cli.main", "dev", "--no-open"],
                cwd=folder,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def says(self, text: str, times: int = 1) -> None:
        """Wait until it has said this so often."""
        until = time.monotonic() + DEADLINE_S
        while self.log.read_text().count(text) < times:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < until, self.log.read_text()
            time.sleep(0.05)


@pytest.fixture
def shop(amends: Amends, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new saga's folder, where we are."""
    amends("new", "shop")
    monkeypatch.chdir(tmp_path / "shop")
    return tmp_path / "shop"


@pytest.fixture
def dev(shop: Path) -> Generator[Dev]:
    """Ended after the test by Ctrl-C."""
    made = Dev(shop)
    yield made
    made.process.send_signal(signal.SIGINT)
    assert made.process.wait(DEADLINE_S) == 0
    assert not (shop / ".amends" / "up.json").exists()


@pytest.mark.slow
@pytest.mark.servers
def test_it_reloads_on_save_and_survives_a_fault(dev: Dev, shop: Path, amends: Amends) -> None:
    """An edited plan runs as the next version; a typo is said with its line until it is mended."""
    plan = shop / "shop.py"
    dev.says("ready")
    first = amends("start", "shop", *ORDER, "--wait", "--json").json

    plan.write_text(plan.read_text().replace("retry=3", "retry=4"))
    dev.says("shop.py changed")
    dev.says("ready", 2)
    second = amends("start", "shop", *ORDER, "--wait", "--json").json

    plan.write_text(plan.read_text().replace("order.item,", "order.itm,"))
    dev.says("Shop has no field 'itm'; did you mean 'item'?")
    dev.says("waiting for a change")
    plan.write_text(plan.read_text().replace("order.itm,", "order.item,"))
    dev.says("ready", 3)

    assert [(v["version"], v["status"]) for v in (first, second)] == [
        (1, "completed"),
        (2, "completed"),
    ]


def test_a_snapshot_sees_what_counts(tmp_path: Path) -> None:
    """Sources and SQL, below too; not caches, environments and hidden folders."""
    for name in ("a.py", "sub/b.sql", ".venv/c.py", "__pycache__/d.py", ".git/e.py", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()

    seen = snapshot(tmp_path)

    assert sorted(str(f.relative_to(tmp_path)) for f in seen) == ["a.py", "sub/b.sql"]


def test_a_folder_that_is_not_there_is_a_usage_error(amends: Amends) -> None:
    """Before a database is started for nothing."""
    assert amends("dev", "nowhere").code == 2
