"""The user's own invariants: a query with the value it must give, or a Python function.

Each has a time limit. One that raises, or does not end, is said by name; it never ends a drill.
"""

import asyncio
import contextlib
import importlib
import inspect
import os
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, cast

import asyncpg

from amends_contracts.texts import TextError, read_yaml
from amends_migrations.urls import plain_url
from amends_orchestrator.drills.verdict import Checked

TIMEOUT_S: Final = 10.0
UNCHANGED: Final = "unchanged"
_VARIABLE: Final = re.compile(r"\$\{(\w+)\}")
_MEMBERS: Final = frozenset({"name", "sql", "probe", "database", "expect", "timeout_s"})


class BadInvariant(ValueError):
    """An invariant that cannot be asked; the text says which and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Invariant:
    """One of the two: `sql` with `expect`, or `probe`."""

    name: str
    sql: str = ""
    database: str = ""
    expect: Any = UNCHANGED
    """The value that the query must give; `unchanged`: the one it gave before the cell."""
    probe: Callable[..., Any] | None = None
    """`() -> None` or `(saga_id) -> None`, async or not: False or a text says it is broken."""
    timeout_s: float = TIMEOUT_S


@dataclass(frozen=True, slots=True)
class _Asked:
    value: Any = None
    failed: str = ""


def load(file: Path, database: str) -> tuple[Invariant, ...]:
    """The invariants of a YAML or JSON file: a list of objects. BadInvariant."""
    try:
        read: Any = read_yaml(file.read_text(encoding="utf-8"), {})
    except (OSError, TextError) as error:
        raise BadInvariant(f"{file}: {error}") from error
    if not isinstance(read, list):
        raise BadInvariant(f"{file}: a list of invariants, each with `name` and `sql` or `probe`")
    return tuple(_one(file, entry, database) for entry in cast(list[Any], read))


def of_probe(reference: str) -> Invariant:
    """The invariant `module:function`."""
    return Invariant(name=reference, probe=_function(reference))


def _one(file: Path, entry: Any, database: str) -> Invariant:
    if not isinstance(entry, Mapping):
        raise BadInvariant(f"{file}: {entry!r} is no object with `name` and `sql` or `probe`")
    given = cast(Mapping[str, Any], entry)
    unknown = sorted(given.keys() - _MEMBERS)
    name = str(given.get("name") or given.get("probe") or given.get("sql") or "?")
    if unknown:
        raise BadInvariant(
            f"{file}: '{name}' has {', '.join(unknown)}; it may have {', '.join(sorted(_MEMBERS))}"
        )
    if ("sql" in given) == ("probe" in given):
        raise BadInvariant(f"{file}: '{name}' needs either `sql` or `probe`")
    return Invariant(
        name=name,
        sql=str(given.get("sql", "")),
        database=_filled(str(given.get("database") or database), name),
        expect=given.get("expect", UNCHANGED),
        probe=_function(str(given["probe"])) if "probe" in given else None,
        timeout_s=float(given.get("timeout_s", TIMEOUT_S)),
    )


def _filled(text: str, name: str) -> str:
    """With `${VARIABLES}` of the environment."""

    def value(found: re.Match[str]) -> str:
        if found[1] not in os.environ:
            raise BadInvariant(f"'{name}' asks for {found[1]}, which is not set")
        return os.environ[found[1]]

    return _VARIABLE.sub(value, text)


def _function(reference: str) -> Callable[..., Any]:
    module, _, name = reference.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise BadInvariant(f"no function {reference!r}: {error}") from error
    if not callable(function):
        raise BadInvariant(f"{reference!r} is no function")
    return cast(Callable[..., Any], function)


class Asking:
    """Asks a set of invariants before a cell, and after it."""

    def __init__(self, invariants: Sequence[Invariant]) -> None:
        self._invariants = invariants
        self._before: dict[str, _Asked] = {}

    async def before(self) -> None:
        """Remember how things are; a probe that takes a saga is not asked without one."""
        self._before = {}
        for one in self._invariants:
            if one.probe is None or not _takes_saga(one.probe):
                self._before[one.name] = await _ask(one, "")

    async def after(self, saga_id: str) -> tuple[Checked, ...]:
        """What each comes to now."""
        return tuple([self._checked(one, await _ask(one, saga_id)) for one in self._invariants])

    def _checked(self, one: Invariant, now: _Asked) -> Checked:
        before = self._before.get(one.name)
        if now.failed:
            return Checked(one.name, failed=now.failed)
        if one.sql and one.expect == UNCHANGED:
            if before is None or before.failed:
                return Checked(one.name, failed=before.failed if before else "it was not asked")
            same = _alike(now.value, before.value)
            said = "" if same else f"it was {before.value} before, and is {now.value} now"
            return Checked(one.name, broken=said)
        said = _broken(one, now)
        was = "" if before is None or before.failed else _broken(one, before)
        return Checked(one.name, broken=said, before=bool(was))


def _broken(one: Invariant, asked: _Asked) -> str:
    if one.sql:
        same = _alike(asked.value, one.expect)
        return "" if same else f"it must give {one.expect}, and gives {asked.value}"
    if asked.value is None or asked.value is True:
        return ""
    return asked.value if isinstance(asked.value, str) else f"it answered {asked.value!r}"


def _alike(value: Any, other: Any) -> bool:
    if isinstance(value, Decimal | int | float) and isinstance(other, Decimal | int | float):
        return Decimal(str(value)) == Decimal(str(other))
    return value == other or (value is not None and str(value) == str(other))


async def _ask(one: Invariant, saga_id: str) -> _Asked:
    try:
        async with asyncio.timeout(one.timeout_s):
            if one.probe is None:
                return _Asked(await _value(one, saga_id))
            return _Asked(await _called(one.probe, saga_id))
    except TimeoutError:
        return _Asked(failed=f"it did not end within {one.timeout_s:g} s")
    except Exception as error:  # noqa: BLE001 - the user's own code, and whatever it raises
        return _Asked(failed=f"{type(error).__name__}: {str(error).partition(chr(10))[0]}")


async def _value(one: Invariant, saga_id: str) -> Any:
    """The first column of the first row; `$1` in the query is the saga's id."""
    connection = await asyncpg.connect(plain_url(one.database))
    try:
        arguments = [saga_id] if "$1" in one.sql else []
        return await connection.fetchval(one.sql, *arguments)
    finally:
        connection.terminate()


def _takes_saga(probe: Callable[..., Any]) -> bool:
    return bool(inspect.signature(probe).parameters)


async def _called(probe: Callable[..., Any], saga_id: str) -> Any:
    arguments = (saga_id,) if _takes_saga(probe) else ()
    if inspect.iscoroutinefunction(probe):
        return await probe(*arguments)
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def settle(error: BaseException | None, value: Any) -> None:
        if not future.done():
            future.set_result(value) if error is None else future.set_exception(error)

    def call() -> None:
        try:
            value, failed = probe(*arguments), None
        except Exception as error:  # noqa: BLE001 - it is told where it is awaited
            value, failed = None, error
        with contextlib.suppress(RuntimeError):  # nobody waits any more: the loop is closed
            loop.call_soon_threadsafe(settle, failed, value)

    # A thread of its own that nobody waits for at the end: it may never end.
    threading.Thread(target=call, daemon=True, name="invariant").start()
    return await future
