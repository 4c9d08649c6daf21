"""Which step instances stand, kept up to date fact by fact, and whether one of them comes after
another in the plan: what the rules of order ask once for each undo, of a saga with thousands.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from amends_contracts.names import StepPath
from amends_orchestrator.core.checker.order import followers, is_ordered
from amends_orchestrator.core.frames import frames_of
from amends_orchestrator.core.plan import Plan


@dataclass(slots=True)
class _Numbers:
    """How many stand by number: of iterations, of items; number 0 for what does not repeat."""

    counts: dict[int, int] = field(default_factory=dict[int, int])
    highest: int = -1
    """At least as high as any number of which one stands."""

    def change(self, number: int, by: int) -> None:
        self.counts[number] = self.counts.get(number, 0) + by
        if not self.counts[number]:
            del self.counts[number]
        self.highest = max(self.highest, number)

    def beyond(self, number: int) -> bool:
        """Whether one with a higher number stands. Amortised: numbers come and go in order."""
        while self.highest > number and self.highest not in self.counts:
            self.highest -= 1
        return self.highest > number


class Standing:
    """A set of step instances of one plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.steps: set[StepPath] = set()
        self._places: dict[str, dict[str, _Numbers]] = {}
        """By the prefix of a frame: what stands in it, by the id of a step or of a loop."""

    def set(self, path: StepPath, stands: bool) -> None:
        """It stands, or does so no more."""
        if stands == (path in self.steps):
            return
        (self.steps.add if stands else self.steps.discard)(path)
        for prefix, name, number in self._where(path):
            numbers = self._places.setdefault(prefix, {}).setdefault(name, _Numbers())
            numbers.change(number, 1 if stands else -1)

    def has_after(self, path: StepPath) -> bool:
        """Whether one stands that the plan sequences after this one."""
        after = followers(self._plan)
        for prefix, name, number in self._where(path):
            there = self._places.get(prefix)
            if there is None:
                return False
            mine = there.get(name)
            if mine is not None and mine.beyond(number) and is_ordered(self._plan, name):
                return True
            later = after[name]
            if any(numbers.counts and other in later for other, numbers in there.items()):
                return True
        return False

    def _where(self, path: StepPath) -> Iterator[tuple[str, str, int]]:
        """In each frame around it, outermost first: the loop that it is in there, or itself."""
        node = self._plan.node_of(path)
        assert node is not None, f"{path} is of no step of the plan"
        prefix = ""
        for frame in frames_of(path):
            yield prefix, frame.id, frame.number
            prefix = frame.prefix
        yield prefix, node.id, 0
