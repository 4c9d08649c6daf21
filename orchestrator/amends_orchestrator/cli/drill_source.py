"""From the words of `amends drill` to a drill: its plan, input, invariants and participants."""

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from amends_contracts.definition import Definition
from amends_contracts.texts import TextError, read_yaml
from amends_orchestrator.cli import drill_run, options, plan_source, schema
from amends_orchestrator.cli.drill_run import Asked
from amends_orchestrator.cli.drill_screen import Screen
from amends_orchestrator.cli.embedded import Code, find_code
from amends_orchestrator.cli.example import EXAMPLES, Example, examples_folder
from amends_orchestrator.cli.exits import CliError, Exit
from amends_orchestrator.drills import reports
from amends_orchestrator.drills.invariants import BadInvariant, Invariant, load, of_probe
from amends_orchestrator.drills.matrix import Fault
from amends_orchestrator.drills.results import Verdict
from amends_orchestrator.local import servers
from amends_orchestrator.local.processes import ServerFailed
from amends_orchestrator.store.definitions import Definitions
from amends_orchestrator.store.drills import DrillRecord

INPUT_FILE: Final = "drill-input.yaml"
INVARIANTS_FILE: Final = "drill-invariants.yaml"
TIMEOUT_HERE_S: Final = 0.5
TIMEOUT_AGAINST_S: Final = 2.0
YAML: Final = frozenset({".yaml", ".yml"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """The command line."""

    target: str
    input: tuple[str, ...] = ()
    invariants: tuple[str, ...] = ()
    sandbox: Mapping[str, str]
    steps: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    timeout_s: float | None = None
    fresh: bool = False
    prefix: str = "amends"


def run_embedded(given: Given, screen: Screen) -> Any:
    """Drill a folder's plan with its participants, all in this process."""
    example = _example(given.target)
    folder = examples_folder() / example.name if example else _existing(given.target)
    screen.say("starting Postgres")
    try:
        with drill_run.home_server(screen.say) as url:
            os.environ["AMENDS_DATABASE_URL"] = url
            os.environ["AMENDS_BROKER_URL"] = "memory://"
            code = find_code([str(folder)])
            if not code.participants:
                raise CliError(
                    f"No participant in {folder}.",
                    "Name the folder they are in, or drill those that run with --against.",
                    exit_code=Exit.USAGE,
                )
            asked = _asked(given, _only_plan(code, folder), folder, url, TIMEOUT_HERE_S)
            run = drill_run.participants_of(code.participants)
            return asyncio.run(drill_run.embedded(asked, url, run, screen))
    except servers.NoServer as error:
        raise CliError(
            f"No {error.what} here.", error.remedy, exit_code=Exit.UNREACHABLE
        ) from error
    except ServerFailed as error:
        raise CliError(str(error), exit_code=Exit.UNREACHABLE) from error


def run_against(given: Given, broker_url: str, database_url: str, screen: Screen) -> Any:
    """Drill the participants behind a broker."""
    is_file = Path(given.target).suffix in {*plan_source.DOCUMENTS, ".py"} or ":" in given.target
    if is_file:
        definition = plan_source.load(given.target).definition
    else:
        definition = asyncio.run(_registered(given.target, database_url))
    folder = Path(given.target).parent if is_file else Path()
    asked = _asked(given, definition, folder, database_url, TIMEOUT_AGAINST_S)
    return asyncio.run(drill_run.against(asked, broker_url, database_url, screen))


def _asked(
    given: Given, definition: Definition, folder: Path, database: str, timeout_s: float
) -> Asked:
    return Asked(
        definition=definition,
        input=_input(given, folder),
        invariants=_invariants(given, folder, database),
        sandbox=given.sandbox,
        timeout_s=given.timeout_s or timeout_s,
        steps=frozenset(given.steps),
        faults=frozenset(map(Fault, given.faults)),
        fresh=given.fresh,
        prefix=given.prefix,
    )


def _input(given: Given, folder: Path) -> dict[str, Any]:
    """What --input says, else the folder's own file."""
    beside = folder / INPUT_FILE
    texts = given.input or ((str(beside),) if beside.is_file() else ())
    joined: dict[str, Any] = {}
    for text in texts:
        file = Path(text)
        if file.suffix in YAML and file.is_file():
            joined |= _yaml(file)
        else:
            joined |= options.read_object([text], "--input")
    return joined


def _yaml(file: Path) -> dict[str, Any]:
    try:
        read: Any = read_yaml(file.read_text(encoding="utf-8"), {})
    except TextError as error:
        raise CliError(f"{file}: {error}", exit_code=Exit.USAGE) from error
    if not isinstance(read, dict):
        raise CliError(f"{file} is no object.", exit_code=Exit.USAGE)
    return cast(dict[str, Any], read)


def _invariants(given: Given, folder: Path, database: str) -> tuple[Invariant, ...]:
    beside = folder / INVARIANTS_FILE
    texts = given.invariants or ((str(beside),) if beside.is_file() else ())
    found: list[Invariant] = []
    try:
        with plan_source.on_path(Path.cwd(), folder):
            for text in texts:
                file = Path(text)
                is_file = file.suffix in plan_source.DOCUMENTS
                found += load(file, database) if is_file else [of_probe(text)]
    except BadInvariant as error:
        raise CliError(str(error), exit_code=Exit.USAGE) from error
    return tuple(found)


def _example(name: str) -> Example | None:
    return next((e for e in EXAMPLES.values() if e.definition == name), None)


def _existing(target: str) -> Path:
    path = Path(target)
    if not path.exists():
        known = ", ".join(e.definition for e in EXAMPLES.values())
        raise CliError(
            f"There is no {target} here.",
            f"Name a folder or a .py file, an example ({known}), or a registered definition with"
            " --against amqp://…",
            exit_code=Exit.USAGE,
        )
    return path


def _only_plan(code: Code, folder: Path) -> Definition:
    if len(code.plans) != 1:
        raise CliError(
            f"{folder} holds {len(code.plans) or 'no'} plans.",
            "Name a file with one; its participants may be imported there.",
            exit_code=Exit.USAGE,
        )
    source = plan_source.from_plan(code.plans[0])
    if findings := source.verify():
        raise CliError("\n".join(f"{f.file}:{f.line}: {f.reason}" for f in findings))
    return source.definition


async def _registered(name: str, database_url: str) -> Definition:
    async with schema.opened(database_url) as engine:
        row = await Definitions(engine).get(name)
    if row is None:
        raise CliError(
            f"No definition {name!r} is registered.",
            "amends register FILE, or name the file itself.",
            exit_code=Exit.NOT_FOUND,
        )
    return Definition.model_validate(row.document)


# --- the record ----------------------------------------------------------------------------------


async def history(url: str, definition: str | None) -> dict[str, Any]:
    """Runs and proofs."""
    async with schema.opened(url) as engine:
        record = DrillRecord(engine)
        runs, proofs = await record.runs(definition), await record.proofs(definition)
    return {
        "runs": [
            {
                "run_id": str(row.id),
                "definition": row.definition,
                "version": row.version,
                "against": row.against,
                "status": row.status,
                "began_at": row.began_at.isoformat(timespec="seconds"),
                "ended_at": row.ended_at and row.ended_at.isoformat(timespec="seconds"),
                "cells": row.cells,
                "pass": row.passed,
                "fail": row.failed,
                "inconclusive": row.inconclusive,
                "held": list(row.held),
            }
            for row in runs
        ],
        "proofs": [drill_run.said(proof) for proof in proofs],
    }


async def gate(url: str, definition: str, age_s: float) -> dict[str, Any]:
    """How many cells of the newest matrix passed when they were last tried, and lately enough."""
    async with schema.opened(url) as engine:
        cells = await DrillRecord(engine).newest_cells(definition)
    if not cells:
        raise CliError(
            f"{definition} was never drilled.",
            f"amends drill {definition} --input …",
            exit_code=Exit.NOT_FOUND,
        )
    lacking: list[dict[str, str]] = []
    for cell in cells:
        why = cell.verdict if cell.verdict != Verdict.PASS else ""
        why = why or ("too old" if cell.age_s > age_s else "")
        if why:
            lacking.append({"step": cell.step, "fault": cell.fault, "why": why})
    good = len(cells) - len(lacking)
    return {
        "definition": definition,
        "cells": len(cells),
        "coverage": reports.share(good, len(cells)),
        "lacking": lacking,
    }
