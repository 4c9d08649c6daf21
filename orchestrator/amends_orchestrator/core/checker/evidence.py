"""A history, indexed once for all rules; and what a rule says when it is broken."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from amends_contracts.messages import Reversal
from amends_contracts.names import ENGINE, SagaId, StepPath
from amends_orchestrator.core.checker.folding import Folded, fold
from amends_orchestrator.core.checker.history import Change, Commit, Effect, History, Made
from amends_orchestrator.core.plan import ActionNode


@dataclass(frozen=True, slots=True)
class Broken:
    """Where and how a rule is broken."""

    text: str
    saga_id: SagaId | None = None
    step: StepPath | None = None


@dataclass(frozen=True, slots=True)
class Ledger:
    """What happened to the world by one step, in its order."""

    taken: tuple[Effect, ...]
    undone: tuple[Effect, ...]
    buried: tuple[Effect, ...]

    @property
    def there(self) -> bool:
        """Whether an effect is in the world now."""
        return len(self.taken) > len(self.undone)


NOTHING = Ledger((), (), ())


class Evidence:
    """Reads a history; rules ask it."""

    def __init__(self, history: History) -> None:
        self.history = history
        commits: dict[SagaId, list[Commit]] = {}
        for commit in history.commits or ():
            commits.setdefault(commit.saga_id, []).append(commit)
        self.commits: Mapping[SagaId, Sequence[Commit]] = commits
        self.folded: tuple[Folded, ...] = tuple(
            fold(past, frozenset(c.seq for c in commits.get(past.identity.saga_id, ())))
            for past in history.sagas
            if past.rows
        )

    @cached_property
    def ledgers(self) -> Mapping[tuple[SagaId, StepPath], Ledger]:
        """What participants did, by step."""
        sorted_: dict[tuple[SagaId, StepPath], dict[Change, list[Effect]]] = {}
        for effect in sorted(self.history.effects or (), key=lambda e: e.order):
            by_change = sorted_.setdefault((effect.saga_id, effect.path), {})
            by_change.setdefault(effect.change, []).append(effect)
        return {
            key: Ledger(*(tuple(changes.get(change, ())) for change in Change))
            for key, changes in sorted_.items()
        }

    @cached_property
    def published(self) -> Mapping[str, Made]:
        """The first publication of each message."""
        first: dict[str, Made] = {}
        for made in self.history.published or ():
            first.setdefault(made.id, made)
        return first

    @cached_property
    def _reached(self) -> Mapping[SagaId, Sequence[tuple[int, int]]]:
        """By saga: the orders of its commits, and the highest seq that was reached then."""
        found: dict[SagaId, list[tuple[int, int]]] = {}
        for saga_id, commits in self.commits.items():
            ordered = sorted(commits, key=lambda c: c.order)
            seqs = accumulate((commit.seq for commit in ordered), max)
            found[saga_id] = list(zip((c.order for c in ordered), seqs, strict=True))
        return found

    def seq_at(self, saga_id: SagaId, order: int) -> int:
        """How far a saga's journal was committed before this; 0 for not at all."""
        reached = self._reached.get(saga_id, ())
        n = bisect_left(reached, order, key=lambda at: at[0])
        return reached[n - 1][1] if n else 0

    @cached_property
    def by_id(self) -> Mapping[SagaId, Folded]:
        """The sagas that are known."""
        return {folded.past.identity.saga_id: folded for folded in self.folded}

    @cached_property
    def undone_by(self) -> Mapping[SagaId, Sequence[Folded]]:
        """By saga, those that take it back: late undos."""
        found: dict[SagaId, list[Folded]] = {}
        for folded in self.folded:
            if folded.saga.state.undoes is not None:
                found.setdefault(folded.saga.state.undoes, []).append(folded)
        return found

    def touched(self, folded: Folded, path: StepPath) -> bool:
        """Whether a person said what became of a step; a late undo takes over what was said."""
        original = self.by_id.get(folded.saga.state.undoes) if folded.saga.state.undoes else None
        return path in folded.touched or (original is not None and path in original.touched)

    def ledger(self, folded: Folded, path: StepPath) -> Ledger:
        """What participants did for one step; a late undo is about its original's effects."""
        saga_id = folded.saga.state.undoes or folded.past.identity.saga_id
        return self.ledgers.get((saga_id, path), NOTHING)

    def actions(self, folded: Folded) -> Iterator[tuple[StepPath, ActionNode, Ledger]]:
        """The steps of a saga whose effects count: actions that change something, ours to judge."""
        for path in folded.saga.state.steps:
            node = folded.past.plan.action_of(path)
            if node is None or node.reversal is Reversal.READ_ONLY or node.service == ENGINE:
                continue
            if path not in self.history.others:
                yield path, node, self.ledger(folded, path)
