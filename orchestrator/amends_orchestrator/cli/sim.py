"""`amends sim`: whole lives of sagas, simulated by seeds. The simulation itself is in `amends`."""

import importlib
import time
from typing import Annotated, Any

import typer

from amends_orchestrator.cli import options, output
from amends_orchestrator.cli.exits import CliError, Exit

PACKAGE = "amends_simulation"
"""It knows orchestrator and participants, so neither may know it: found by its name."""
SHOWN_MAX = 10


def sim(
    *,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Run one schedule and tell its story.")
    ] = None,
    count: Annotated[
        int, typer.Option("--count", "-n", min=1, help="How many schedules, if no seed is given.")
    ] = 1000,
    first: Annotated[int, typer.Option("--from", min=0, help="The first seed.")] = 0,
    as_json: options.Json = False,
) -> None:
    """Simulate sagas with faults, by seeds, and check every promise of the specification.

    A seed is run exactly as before; one that breaks a promise is made as short as possible. Exit
    code 1 if a promise is broken. Needs no server.
    """
    if seed is not None:
        _one(seed, as_json)
    else:
        _many(first, count, as_json)


def _load(name: str) -> Any:
    try:
        return importlib.import_module(f"{PACKAGE}.{name}")
    except ModuleNotFoundError as error:
        raise CliError(
            "The simulation is not installed.",
            "pip install amends (the whole of it, not amends-orchestrator alone).",
            exit_code=Exit.NOT_FOUND,
        ) from error


def _one(seed: int, as_json: bool) -> None:
    told = _load("story").tell(seed)
    output.show(told.to_json(), as_json, lambda: told.text)
    if told.violations:
        raise typer.Exit(Exit.REFUSED)


def _many(first: int, count: int, as_json: bool) -> None:
    began = time.monotonic()
    tally = _load("campaign").campaign(first, count)
    result = {
        "first": first,
        "schedules": tally.schedules,
        "sagas": tally.sagas,
        "faults": tally.faults,
        "seconds": round(time.monotonic() - began, 1),
        "schedules_per_s_and_core": round(tally.schedules / max(tally.cpu_s, 1e-9)),
        "failures": [{"seed": f.seed, "violations": list(f.violations)} for f in tally.failures],
    }
    output.show(result, as_json, lambda: _shown(result))
    if tally.failures:
        raise typer.Exit(Exit.REFUSED)


def _shown(result: dict[str, Any]) -> str:
    said = f"{result['schedules']} schedules from seed {result['first']}: {result['sagas']} sagas"
    lines = [
        f"{said}, {result['faults']} faults, {len(result['failures'])} violations",
        f"{result['schedules_per_s_and_core']} schedules/s per core, {result['seconds']} s in all",
    ]
    for failure in result["failures"][:SHOWN_MAX]:
        lines += [f"  amends sim --seed {failure['seed']}", f"    {failure['violations'][0]}"]
    return "\n".join(lines)
