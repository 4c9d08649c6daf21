"""Playing `amends conform` against a service that runs in the test or as a process of its own."""

import asyncio
import os
import shlex
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amends_orchestrator.conform.examples import Examples, read_examples
from amends_orchestrator.conform.report import Report, Verdict
from amends_orchestrator.conform.run import Options, conform
from amends_orchestrator.conform.stage import Waits
from conform.plain import OBSERVE, Plain

TILL = """
commands:
  till.charge:
    input: {account: full}
    failing: {account: empty}
    effect: transactional
"""
TESTS = Path(__file__).parents[1]


@dataclass(frozen=True)
class Place:
    """Where a test's service and its checks meet."""

    broker_url: str
    database_url: str
    prefix: str

    async def play(self, *only: str, reply_s: float = 20.0, **more: Any) -> Report:
        """Play against the till, by default with all that can be seen of it."""
        asked: dict[str, Any] = {
            "service": "till",
            "examples": till_examples(),
            "observe": OBSERVE,
            "observe_database": self.database_url,
            "waits": Waits(reply_s=reply_s, recovery_s=reply_s),
            **more,
        }
        options = Options(url=self.broker_url, prefix=self.prefix, only=frozenset(only), **asked)
        return await conform(options, lambda _: None)

    def restart(self, flaw: str = "") -> str:
        """A shell command that runs the till as a process."""
        env = {
            "AMENDS_BROKER_URL": self.broker_url,
            "AMENDS_DATABASE_URL": self.database_url,
            "AMENDS_PREFIX": self.prefix,
            "TILL_FLAW": flaw,
            "PYTHONPATH": f"{TESTS}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
        }
        assigned = " ".join(f"{name}={shlex.quote(value)}" for name, value in env.items())
        return f"{assigned} exec {shlex.quote(sys.executable)} -m conform.plain"

    @asynccontextmanager
    async def till(self, flaw: str = "", *, envelopes: bool = False) -> AsyncGenerator[None]:
        """The till, serving as soon as there are exchanges."""
        urls = self.broker_url, self.database_url
        plain = Plain(*urls, self.prefix, flaw, envelopes=envelopes)
        starting = asyncio.create_task(plain.start())
        try:
            yield
        finally:
            await starting
            await plain.stop()


def till_examples(more: str = "") -> Examples:
    """What is told of the till."""
    return read_examples(TILL + more, "till")


def skipped(report: Report) -> dict[str, str]:
    """What could not be told, and why."""
    return {r.check: r.why for r in report.results if r.verdict is Verdict.SKIPPED}


def failures(report: Report) -> dict[str, str]:
    """What failed, and why."""
    return {r.check: r.why for r in report.results if r.verdict is Verdict.FAIL}


def passed(report: Report) -> set[str]:
    """What passed."""
    return {r.check for r in report.results if r.verdict is Verdict.PASS}
