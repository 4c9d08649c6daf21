"""The documentation is true: its Python runs, its shell sessions run, its links lead somewhere."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Self

import pytest

from amends_orchestrator.cli.reference import reference
from docs.blocks import ROOT, Block, blocks

DEADLINE_S = 120.0
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)[^)]*\)")
PAGES = (
    "README.md",
    "ARCHITECTURE.md",
    "docs/getting-started.md",
    "docs/cli.md",
    "docs/reviews.md",
)


def test_the_readme_s_python_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block continues the one before it, as a reader types them."""
    module = ModuleType("readme")
    monkeypatch.setitem(sys.modules, "readme", module)
    for block in blocks("README.md", "python"):
        padded = "\n" * (block.line - 1) + block.code
        exec(compile(padded, "README.md", "exec"), vars(module))

    definition = module.plan.document()
    assert [step.id for step in definition.steps] == ["flight", "charge", "send"]


def test_the_command_line_s_page_is_what_the_commands_say() -> None:
    """Options and exit codes are never out of date: python -m amends_orchestrator.cli.reference."""
    assert (ROOT / "docs" / "cli.md").read_text() == reference()


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    """Every relative link names a file that is there."""
    folder = (ROOT / page).parent
    targets = LINK.findall((ROOT / page).read_text())

    assert [t for t in targets if not (folder / t).exists()] == []


@pytest.mark.slow
@pytest.mark.servers
def test_getting_started_word_for_word(tmp_path: Path) -> None:
    """A newcomer's session, every command of it."""
    tmp_path.chmod(0o711)
    env = {k: v for k, v in os.environ.items() if not k.startswith("AMENDS_")}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    env |= {"COLUMNS": "120", "PYTHONDONTWRITEBYTECODE": "1"}
    folder = tmp_path
    with Background(env) as background:
        for block in blocks("docs/getting-started.md", "sh"):
            if block.mode == "background":
                background.start(block, folder)
            elif block.mode == "run":
                folder = run(block, folder, env)


def run(block: Block, folder: Path, env: dict[str, str]) -> Path:
    """Run a block; the folder it leaves one in."""
    script = f"set -e\n{block.code}\npwd > {folder}/.where"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == block.exit_code, (
        f"{block.file}:{block.line}\n{done.stdout}{done.stderr}"
    )
    return folder if block.exit_code else Path((folder / ".where").read_text().strip())


class Background:
    """Commands that go on until the session is over."""

    def __init__(self, env: dict[str, str]) -> None:
        self._env = env
        self._running: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        return self

    def start(self, block: Block, folder: Path) -> None:
        """Start it and wait until it says that it is ready."""
        log = folder / "background.log"
        with log.open("wb") as output:
            started = subprocess.Popen(
                ["bash", "-c", f"exec {block.code}"],
                cwd=folder,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self._running.append(started)
        until = time.monotonic() + DEADLINE_S
        while "ready" not in log.read_text():
            assert started.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.1)

    def __exit__(self, *_: object) -> None:
        for running in self._running:
            running.send_signal(signal.SIGINT)
            running.wait(timeout=DEADLINE_S)
