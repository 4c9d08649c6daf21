"""The table of promises and their rules, and `check`, which asks them all."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from amends_contracts.names import SagaId, StepPath
from amends_orchestrator.core.checker import (
    decisions,
    effects,
    family,
    inputs,
    messages,
    places,
    reviews,
    signals,
)
from amends_orchestrator.core.checker.evidence import Broken, Evidence
from amends_orchestrator.core.checker.history import History
from amends_orchestrator.core.plan import (
    ActionNode,
    AlternativesNode,
    AwaitNode,
    ChoiceNode,
    EachNode,
    ParallelNode,
    RepeatNode,
    WaitNode,
)
from amends_orchestrator.core.plan_reviews import ReviewNode

PROMISES: Final[Mapping[int, str]] = {
    1: "at most one effect per step; a recorded success is its receipt",
    2: "failed steps have no effect",
    3: "a compensated saga's effects are undone exactly once, nothing else is",
    4: "no effect after its compensation",
    5: "undone in the reverse of the plan's order, never after the pivot",
    6: "intent before dispatch",
    7: "terminal states absorb",
    8: "at most one decision per saga and sequence number",
    9: "the journal gives the state, and the same decisions",
    10: "the outbox is complete and sound",
    11: "duplicates, reordering and delay change nothing",
    12: "no saga is silent for ever",
    13: "starts, requests and decisions are applied exactly once, or refused",
    14: "timers are never early, attempts and model calls stay within their budgets",
    15: "nothing of one tenant shows or acts in another",
}
"""The words of docs/semantics.md, shortened."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One way in which a promise may be broken, and the facts it takes to see it."""

    promise: int
    needs: tuple[str, ...]
    """Members of `History` that must be known."""
    look: Callable[[Evidence], Iterator[Broken]]

    @property
    def name(self) -> str:
        """What it is called in reports."""
        return f"{self.promise} {self.look.__name__.replace('_', ' ')}"


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was not kept."""

    promise: int
    text: str
    saga_id: SagaId | None = None
    step: StepPath | None = None

    def __str__(self) -> str:
        where = " ".join(str(part) for part in (self.saga_id, self.step) if part)
        return f"promise {self.promise}: {where and where + ' '}{self.text}"


@dataclass(frozen=True, slots=True)
class Report:
    """What a check has found."""

    violations: tuple[Violation, ...]
    checked: tuple[str, ...]
    """Names of the rules that were asked."""
    not_checked: Mapping[str, tuple[str, ...]]
    """Names of those that were not, and the facts that are not known; kinds of steps that no rule
    knows."""


JUDGED: Final = (
    ActionNode,
    ParallelNode,
    ChoiceNode,
    EachNode,
    RepeatNode,
    AlternativesNode,
    WaitNode,
    AwaitNode,
    ReviewNode,
)
"""Kinds of steps whose effects and order the rules know."""

RULES: Final[tuple[Rule, ...]] = (
    Rule(1, ("effects",), effects.at_most_one_effect),
    Rule(1, ("effects",), effects.success_is_a_receipt),
    Rule(1, ("effects", "quiet_at"), effects.completed_with_effect),
    Rule(1, (), family.outputs_of_children),
    Rule(2, ("effects", "quiet_at"), effects.failed_without_effect),
    Rule(3, ("effects", "quiet_at"), effects.undone_exactly_once),
    Rule(3, ("effects",), effects.no_undo_without_effect),
    Rule(3, ("quiet_at",), family.children_share_their_parents_fate),
    Rule(4, ("effects",), effects.nothing_after_its_undo),
    Rule(5, (), decisions.compensated_in_order),
    Rule(5, (), decisions.plans_begin_clean),
    Rule(5, (), decisions.undone_where_turned_back),
    Rule(5, (), decisions.nothing_begins_there),
    Rule(5, ("effects",), effects.undone_in_order),
    Rule(6, ("committed",), messages.intent_before_dispatch),
    Rule(6, ("effects",), messages.no_effect_without_intent),
    Rule(6, (), family.children_were_asked_for),
    Rule(7, (), decisions.terminal_states_absorb),
    Rule(8, (), decisions.one_decision_per_seq),
    Rule(8, ("commits",), decisions.commits_do_not_overlap),
    Rule(9, (), decisions.journal_folds),
    Rule(9, (), decisions.fold_is_the_state),
    Rule(9, ("commits",), decisions.every_prefix_is_a_state),
    Rule(9, ("decided",), decisions.decisions_are_repeatable),
    Rule(9, (), inputs.inputs_are_what_was_recorded),
    Rule(10, ("committed", "published"), messages.published_after_commit),
    Rule(10, ("committed", "settled", "quiet_at"), messages.everything_is_published),
    Rule(10, ("heard", "commits"), messages.decided_before_acknowledged),
    Rule(11, ("commits", "effects", "quiet_at"), messages.repetitions_change_nothing),
    Rule(12, (), decisions.something_wakes_it),
    Rule(12, ("calm",), decisions.every_saga_ends),
    Rule(13, (), messages.starts_are_unique),
    Rule(13, ("asked",), messages.starts_are_answered_alike),
    Rule(13, ("asked",), messages.operators_leave_their_rows),
    Rule(13, (), signals.signals_are_taken_once),
    Rule(13, ("sent",), signals.signals_are_what_was_sent),
    Rule(13, ("sent", "dropped", "quiet_at"), signals.signals_are_not_lost),
    Rule(13, (), family.undone_by_one_saga),
    Rule(14, (), family.windows_are_kept),
    Rule(13, (), reviews.decisions_count_once),
    Rule(13, (), reviews.what_runs_was_approved),
    Rule(14, (), decisions.no_timer_is_early),
    Rule(14, (), decisions.attempts_within_budget),
    Rule(14, (), decisions.loops_within_limits),
    Rule(14, ("commits",), places.limits_hold),
    Rule(14, (), decisions.budgets_hold),
    Rule(15, ("committed",), messages.tenants_are_apart),
    Rule(15, (), family.children_are_their_parents),
)


def check(history: History, promises: Collection[int] = frozenset(PROMISES)) -> Report:
    """Ask every rule of these promises whose facts the history has."""
    evidence = Evidence(history)
    violations: list[Violation] = []
    checked: list[str] = []
    not_checked: dict[str, tuple[str, ...]] = {}
    for rule in RULES:
        if rule.promise not in promises:
            continue
        lacking = tuple(name for name in rule.needs if getattr(history, name) is None)
        if lacking:
            not_checked[rule.name] = lacking
            continue
        checked.append(rule.name)
        violations += [
            Violation(rule.promise, broken.text, broken.saga_id, broken.step)
            for broken in rule.look(evidence)
        ]
    strange = {
        type(node).__name__
        for past in history.sagas
        for node in past.plan.nodes.values()
        if type(node) not in JUDGED
    }
    if strange:
        not_checked["steps of other kinds"] = tuple(sorted(strange))
    return Report(tuple(violations), tuple(checked), not_checked)
