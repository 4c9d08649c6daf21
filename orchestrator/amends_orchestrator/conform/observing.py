"""What a person gave to see effects with: SQL or a shell command that prints one number."""

import asyncio
import os
import signal
from typing import Final

import asyncpg

from amends_contracts.names import Key

OBSERVE_TIMEOUT_S: Final = 30.0
KEY_VARIABLE: Final = "AMENDS_KEY"
_SQL: Final = ("select ", "with ", "select\n", "with\n")


class BadObservation(Exception):
    """An observation that gave no number; the text says which, what it gave, and what to do."""


def is_sql(text: str) -> bool:
    """Whether it is for the database rather than for the shell."""
    return text.lstrip().lower().startswith(_SQL)


def is_by_key(text: str) -> bool:
    """Whether it looks at one action's effects alone."""
    return ("$1" if is_sql(text) else KEY_VARIABLE) in text


class Observer:
    """Runs observations; the database is connected to at the first that is SQL."""

    def __init__(self, database_url: str | None) -> None:
        self._url = database_url
        self._connection: asyncpg.Connection | None = None

    async def close(self) -> None:
        """Disconnect."""
        if self._connection is not None:
            await self._connection.close()

    async def look(self, text: str, key: Key) -> float:
        """The number."""
        try:
            async with asyncio.timeout(OBSERVE_TIMEOUT_S):
                found = await (self._query(text, key) if is_sql(text) else self._run(text, key))
        except TimeoutError:
            raise BadObservation(
                f"--observe took more than {OBSERVE_TIMEOUT_S:.0f} s: {text}"
            ) from None
        try:
            return float(str(found).strip())
        except ValueError:
            raise BadObservation(
                f"--observe is to give one number and gave {str(found)[:200]!r}: {text}"
            ) from None

    async def _query(self, text: str, key: Key) -> object:
        if self._url is None:
            raise BadObservation(f"--observe is SQL: say where, with --observe-database: {text}")
        try:
            if self._connection is None or self._connection.is_closed():
                self._connection = await asyncpg.connect(self._url)
            return await self._connection.fetchval(text, *([key] if is_by_key(text) else []))
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
            raise BadObservation(f"--observe failed: {error}: {text}") from error

    async def _run(self, text: str, key: Key) -> str:
        process = await asyncio.create_subprocess_shell(
            text,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, KEY_VARIABLE: key},
            start_new_session=True,
        )
        try:
            out, err = await process.communicate()
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        if process.returncode:
            said = err.decode(errors="replace").strip()[-300:]
            raise BadObservation(f"--observe ended with {process.returncode}: {said}: {text}")
        return out.decode(errors="replace")
