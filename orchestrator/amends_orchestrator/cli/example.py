"""The examples that come with Amends: where their code is and which programs make them up."""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from amends_orchestrator.cli.exits import CliError, Exit

PACKAGED = "amends_examples"
"""Import name of the examples in an installed `amends`."""


@dataclass(frozen=True, slots=True)
class Example:
    """A saga with its participants."""

    name: str
    services: Mapping[str, str]
    """Service to its program, as `amends-participant` takes it."""
    plan: str
    """`module:attribute`."""
    definition: str


TRIP = Example(
    name="trip",
    services={
        "flights": "trip.flights:app",
        "hotels": "trip.hotels:app",
        "payments": "trip.payments:app",
        "mail": "trip.mail:app",
    },
    plan="trip.book_trip:plan",
    definition="book-trip",
)
EXAMPLES: Mapping[str, Example] = {TRIP.name: TRIP}


def find_example(name: str) -> Example | None:
    """The example of this name; None for `none`."""
    if name == "none":
        return None
    if name not in EXAMPLES:
        known = ", ".join([*EXAMPLES, "none"])
        raise CliError(
            f"There is no example {name!r}.", f"There are: {known}.", exit_code=Exit.USAGE
        )
    return EXAMPLES[name]


def examples_folder() -> Path:
    """The folder to put on the path: in a checkout `examples/`, else the installed package."""
    checkout = Path(__file__).resolve().parents[3] / "examples"
    if checkout.is_dir():
        return checkout
    spec = importlib.util.find_spec(PACKAGED)
    if spec is None or not spec.submodule_search_locations:
        raise CliError(
            "The examples are not installed.",
            "pip install amends (the whole of it, not amends-orchestrator alone).",
            exit_code=Exit.NOT_FOUND,
        )
    return Path(next(iter(spec.submodule_search_locations)))
