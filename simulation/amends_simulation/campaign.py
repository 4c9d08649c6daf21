"""Many seeds: how fast, and which break a promise. One process for each core."""

import gc
import logging
import os
import time
from collections.abc import Generator, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from amends_simulation.run import Outcome, run
from amends_simulation.schedule import Schedule

CHUNK: Final = 200
SWEPT_EVERY: Final = 100
"""Seeds after which the garbage of their runs is collected."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A seed that broke promises."""

    seed: int
    violations: tuple[str, ...]


@dataclass(slots=True)
class Tally:
    """What a campaign has come to so far."""

    schedules: int = 0
    sagas: int = 0
    faults: int = 0
    """That happened."""
    cpu_s: float = 0.0
    failures: list[Failure] = field(default_factory=list[Failure])

    def add(self, other: "Tally") -> None:
        """Put two together."""
        self.schedules += other.schedules
        self.sagas += other.sagas
        self.faults += other.faults
        self.cpu_s += other.cpu_s
        self.failures += other.failures


def run_seeds(first: int, count: int) -> Tally:
    """Run seeds here."""
    tally, began = Tally(), time.process_time()
    with undisturbed():
        for seed in range(first, first + count):
            _add(tally, run(Schedule.of(seed)))
            if seed % SWEPT_EVERY == 0:
                gc.collect()
    tally.cpu_s = time.process_time() - began
    return tally


@contextmanager
def undisturbed() -> Generator[None]:
    """Without log lines, for what goes wrong is meant to, and without the garbage collector, which
    would look at everything again and again for the sake of short lives.
    """
    before, collects = logging.root.manager.disable, gc.isenabled()
    logging.disable(logging.CRITICAL)
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        logging.disable(before)
        gc.unfreeze()
        if collects:
            gc.enable()


def _add(tally: Tally, outcome: Outcome) -> None:
    tally.schedules += 1
    tally.sagas += len(outcome.history.sagas)
    tally.faults += len(outcome.happened)
    if outcome.violations:
        said = tuple(str(violation) for violation in outcome.violations)
        tally.failures.append(Failure(outcome.schedule.seed, said))


def campaign(first: int, count: int) -> Tally:
    """Run seeds on all cores."""
    whole = Tally()
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for tally in pool.map(_chunk, _chunks(first, count)):
            whole.add(tally)
    return whole


def _chunk(chunk: tuple[int, int]) -> Tally:
    return run_seeds(*chunk)


def _chunks(first: int, count: int) -> Iterator[tuple[int, int]]:
    for start in range(first, first + count, CHUNK):
        yield start, min(CHUNK, first + count - start)
