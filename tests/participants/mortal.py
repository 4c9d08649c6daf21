"""The bank as a program that can be killed: `python -m participants.mortal`.

With BANK_DIES=replying it kills itself, once, between a commit and the publication of its reply.
"""

import asyncio
import logging
import os
from contextlib import nullcontext

from sqlalchemy.ext.asyncio import AsyncEngine

from amends_contracts.messages import Command, Outcome, Trace
from amends_participants.run import serve
from amends_participants.runtime import ParticipantSettings
from participants.bank import bank, die_once
from participants.world import World


class _LastWord:
    trace: Trace | None = None

    def ended(self, outcome: Outcome, problem_type: str | None) -> None:
        """The answer is stored, and not yet published."""
        die_once()


class LastWords:
    """A `Tracing` that kills."""

    def start(self, command: Command) -> nullcontext[_LastWord]:
        """Around every command."""
        return nullcontext(_LastWord())

    def watch(self, engine: AsyncEngine) -> None:
        """Nothing is looked at."""


async def main() -> None:
    """Serve until SIGTERM, or worse."""
    logging.basicConfig(level="INFO")
    settings = ParticipantSettings()
    assert settings.database_url is not None
    world = World(settings.database_url.get_secret_value())
    tracing = LastWords() if os.environ.get("BANK_DIES") == "replying" else None
    await serve([bank(world)], settings, tracing=tracing)


if __name__ == "__main__":
    asyncio.run(main())
