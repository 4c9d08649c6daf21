"""A run told in words: the schedule, what happened when, and which promise was broken."""

import json
from dataclasses import dataclass

from amends_contracts.messages import Json
from amends_simulation.campaign import undisturbed
from amends_simulation.run import Outcome, run
from amends_simulation.schedule import Schedule
from amends_simulation.shrink import shrink


@dataclass(frozen=True, slots=True)
class Told:
    """One seed, told."""

    seed: int
    violations: tuple[str, ...]
    text: str
    shortest: Outcome

    def to_json(self) -> Json:
        """For machines."""
        return {
            "seed": self.seed,
            "violations": list(self.violations),
            "faults": [str(fault) for fault in self.shortest.schedule.faults],
            "definitions": list(self.shortest.schedule.documents),
            "story": list(self.shortest.story),
        }


def tell(seed: int) -> Told:
    """Run a seed; if it breaks a promise, make it as short as possible first."""
    with undisturbed():
        outcome = run(Schedule.of(seed), tell=True)
        violations = tuple(str(violation) for violation in outcome.violations)
        if violations:
            outcome = run(shrink(outcome).schedule, tell=True)
    return Told(seed, violations, "\n".join(_lines(outcome)), outcome)


def _lines(outcome: Outcome) -> list[str]:
    schedule = outcome.schedule
    lines = [f"seed {schedule.seed}: {_people(schedule)}"]
    for document in schedule.documents:
        rest = {name: value for name, value in document.items() if name not in ("name", "steps")}
        lines.append(f"  {document['name']} {json.dumps(rest)}")
        lines += [f"    {json.dumps(step)}" for step in document["steps"]]
    lines += [f"  fault: {fault}" for fault in schedule.faults] or ["  no fault"]
    lines += outcome.story
    said = [str(violation) for violation in outcome.violations]
    lines += [f"BROKEN {text}" for text in said] or ["every promise was kept"]
    return lines


def _people(schedule: Schedule) -> str:
    return (
        f"{len(schedule.sagas)} sagas, {schedule.orchestrators} orchestrators,"
        f" {schedule.instances} processes of each service"
    )
