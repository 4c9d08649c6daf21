"""The AsyncAPI document of docs/participants.md is what its commands make of its Python."""

import os
import subprocess
import sys
from pathlib import Path

import yaml

from docs.blocks import blocks

PAGE = "docs/participants.md"


def test_the_page_s_service_is_exported(tmp_path: Path) -> None:
    """The page's command writes AsyncAPI 3 with the page's channel and the command's input."""
    code = "\n".join(block.code for block in blocks(PAGE, "python"))
    (tmp_path / "payments.py").write_text(code)
    (export,) = [b.code for b in blocks(PAGE, "sh") if "faststream docs" in b.code]
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", export], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr

    made = yaml.safe_load((tmp_path / "asyncapi.yaml").read_text())
    (shown,) = [yaml.safe_load(block.code) for block in blocks(PAGE, "yaml")]
    assert made["asyncapi"].startswith("3.")
    for name, channel in shown["channels"].items():
        assert channel.items() <= made["channels"][name].items()
    assert list(made["components"]["schemas"]["ChargeCard"]["properties"]) == ["usd"]
