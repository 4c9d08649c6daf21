"""Places that sagas share: no more at work than the limits say, after any commit."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from amends_contracts.names import StepPath
from amends_orchestrator.core.checker.evidence import Broken, Evidence
from amends_orchestrator.core.checker.history import Commit, SagaPast
from amends_orchestrator.core.state_json import state_from_json


@dataclass(frozen=True, slots=True)
class _Place:
    """One step at work with a permit, and what its request said."""

    pool: str
    lane: tuple[str, str, str]
    concurrency: int | None
    total: int | None


def limits_hold(evidence: Evidence) -> Iterator[Broken]:
    """Of one key and of one pool; where requests say different numbers, the largest counts."""
    pasts = {past.identity.saga_id: past for past in evidence.history.sagas}
    held: dict[str, dict[StepPath, _Place]] = {}
    for commit in sorted(evidence.history.commits or (), key=lambda commit: commit.order):
        before = held.get(commit.saga_id, {})
        now = dict(_places(pasts[commit.saga_id], commit))
        held[commit.saga_id] = now
        for path in now.keys() - before.keys():
            everybody = [place for places in held.values() for place in places.values()]
            yield from _beyond(commit, path, now[path], everybody)


def _places(past: SagaPast, commit: Commit) -> Iterator[tuple[StepPath, _Place]]:
    if not past.plan.limited or commit.state is None:
        return
    for path, step in state_from_json(commit.state).steps.items():
        if step.permitted:
            said: dict[str, Any] = past.rows[step.permit - 1].data
            pool = str(said["pool"])
            lane = (pool, past.identity.tenant, str(said.get("key", "")))
            yield path, _Place(pool, lane, said.get("concurrency"), said.get("total"))


def _beyond(
    commit: Commit, path: StepPath, new: _Place, everybody: list[_Place]
) -> Iterator[Broken]:
    of_key = [place for place in everybody if place.lane == new.lane]
    of_pool = [place for place in everybody if place.pool == new.pool]
    for what, places, most in (
        ("key", of_key, [place.concurrency for place in of_key]),
        ("pool", of_pool, [place.total for place in of_pool]),
    ):
        limits = [limit for limit in most if limit is not None]
        if len(limits) == len(most) and len(places) > max(limits):
            text = f"{len(places)} at work of a {what} of {new.lane} that allows {max(limits)}"
            yield Broken(text, commit.saga_id, path)
