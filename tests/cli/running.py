"""Running the command line in this process, as a person or script would see it."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from amends_orchestrator.cli.main import run


@dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.out)


Amends = Callable[..., Ran]


def in_process(capsys: pytest.CaptureFixture[str]) -> Amends:
    """`amends` with its output captured."""

    def call(*arguments: str) -> Ran:
        capsys.readouterr()
        code = run(arguments)
        said = capsys.readouterr()
        return Ran(int(code), said.out, said.err)

    return call
