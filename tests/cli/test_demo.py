"""`amends demo`: three acts, proved by the services' own tables, on RabbitMQ and without."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli.running import Amends

pytestmark = [pytest.mark.servers, pytest.mark.slow]

TIMEOUT_S = 300.0
HELD = {"seat": 1, "room": 1, "charge": 1, "mail": 1}


@pytest.mark.parametrize("options", [(), ("--embedded",)], ids=["rabbitmq", "embedded"])
def test_three_acts(tmp_path: Path, options: tuple[str, ...]) -> None:
    """Success, undone, killed and resumed; without a terminal it ends by itself with 0."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("AMENDS_")}
    command = [sys.executable, "-m", "amends_orchestrator.cli.main", "demo", "--json", *options]

    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["ok"] is True
    assert [(s["key"], s["status"], s["in_the_tables"]) for s in result["sagas"]] == [
        ("order-1", "completed", HELD),
        ("order-2", "compensated", dict.fromkeys(HELD, 0)),
        ("order-3", "completed", HELD),
    ]
    assert "killed process" in done.stderr
    assert ("in-process transport" in done.stderr) == bool(options)


def test_an_unknown_demo_is_a_usage_error(amends: Amends) -> None:
    """There is one."""
    ran = amends("demo", "book-cruise")

    assert (ran.code, ran.err) == (
        2,
        "error: There is no demo 'book-cruise'.\n  There is: book-trip.\n",
    )
