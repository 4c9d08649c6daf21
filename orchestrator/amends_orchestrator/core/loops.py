"""`each` and `repeat`: the body once per item, or until a condition holds; and both undone.

Which steps are next is asked of the body by the walk that is handed in (`walk`): forward it says
whether a sequence is done, back whether nothing of it is left to undo.
"""

from typing import Final, cast

from amends_contracts.messages import Json, to_body
from amends_contracts.names import BODY_BYTES_MAX, StepPath
from amends_contracts.problems import Problem, ProblemType
from amends_orchestrator.core import journal as j
from amends_orchestrator.core.conditions import condition
from amends_orchestrator.core.expressions import ExpressionError
from amends_orchestrator.core.frames import item_prefix, turn_prefix
from amends_orchestrator.core.outcomes import fail
from amends_orchestrator.core.plan import EachNode, RepeatNode, Sequence
from amends_orchestrator.core.work import Need, Walk, Work

ITEMS_MAX: Final = 1_000
ITEMS_BYTES_MAX: Final = BODY_BYTES_MAX
"""All items together: they are read anew for every step that names one."""

ADVANCE: Final = 25
"""After so many more frames a fact says that they need not be looked into again."""


# --- each ----------------------------------------------------------------------------------------


def enter_each(work: Work, node: EachNode, path: StepPath) -> bool:
    """Settle the items once: from now on they are facts."""
    items = work.evaluate(node.items, path)
    problem = _wrong(items)
    if problem is not None:
        fail(work, node, path, problem, via="engine")
        return False
    work.emit(j.StepEntered(path=path, items=items))
    return True


def _wrong(items: Json | ExpressionError) -> Problem | None:
    if isinstance(items, ExpressionError):
        title = "the items could not be evaluated"
        return Problem(type=ProblemType.BAD_EXPRESSION, title=title, detail=items.text)
    if not isinstance(items, list):
        title = f"the items must be a list, not {type(items).__name__}"
        return Problem(type=ProblemType.BAD_EXPRESSION, title=title)
    count = len(cast("list[Json]", items))
    if count > ITEMS_MAX:
        title = f"{count} items; an `each` takes at most {ITEMS_MAX}"
        return Problem(type=ProblemType.TOO_LARGE, title=title)
    try:
        size = len(to_body({"items": items}))
    except ValueError as error:  # not finite, or a lone surrogate
        title = "the items are no JSON text"
        return Problem(type=ProblemType.BAD_EXPRESSION, title=title, detail=str(error)[:200])
    if size > ITEMS_BYTES_MAX:
        title = f"the items have {size} bytes; an `each` takes at most {ITEMS_BYTES_MAX}"
        return Problem(type=ProblemType.TOO_LARGE, title=title)
    return None


def go_each(work: Work, node: EachNode, path: StepPath, walk: Walk) -> bool:
    """Begin items in their order while fewer than `concurrency` are under way."""
    step = work.draft.steps[path]
    assert step.loop.count is not None, f"{path} was entered without items"
    running = 0
    lead = step.loop.done
    needed: set[int] = set()
    for n in range(step.loop.done, step.loop.count):
        if running >= node.concurrency or work.full or not work.onward(path):
            break
        try:
            done = _is_done(work, node, item_prefix(path, n), walk)
        except Need as need:
            needed |= need.seqs
            done = False
        running += not done
        lead += done and n == lead
    else:
        if not running:
            work.emit(j.StepLeft(path=path))
            return True
    if needed:
        raise Need(needed)
    if lead - step.loop.done >= ADVANCE:
        work.emit(j.StepAdvanced(path=path, done=lead))
    return False


def _is_done(work: Work, node: EachNode, prefix: str, walk: Walk) -> bool:
    if prefix not in work.done:
        if not walk(work, node.body, prefix):
            return False
        work.done.add(prefix)
    return True


def undo_each(work: Work, node: EachNode, path: StepPath, walk: Walk) -> bool:
    """One after the other from the last, if they ran one after the other; else freely."""
    step = work.draft.steps.get(path)
    if step is None or step.loop.count is None:
        return True
    prefixes = [item_prefix(path, n) for n in reversed(range(step.loop.count))]
    return _undo_frames(work, node.body, path, prefixes, walk, freely=not node.sequential)


def _undo_frames(
    work: Work, body: Sequence, path: StepPath, prefixes: list[str], walk: Walk, *, freely: bool
) -> bool:
    """Whether nothing is left to undo of the frames, which are given latest first."""
    undone = lead = work.draft.steps[path].loop.undone
    needed: set[int] = set()
    for n, prefix in enumerate(prefixes[undone:], start=undone):
        try:
            clean = walk(work, body, prefix)
        except Need as need:
            needed |= need.seqs
            clean = False
        lead += clean and n == lead
        if not clean and not freely:
            break
    if needed:
        raise Need(needed)
    if lead - undone >= ADVANCE:
        work.emit(j.StepAdvanced(path=path, undone=lead))
    return lead == len(prefixes)


# --- repeat --------------------------------------------------------------------------------------


def go_repeat(work: Work, node: RepeatNode, path: StepPath, walk: Walk) -> bool:
    """One iteration at most: another look at the plan begins the next."""
    turn = work.draft.steps[path].loop.turn
    prefix = turn_prefix(path, turn)
    if work.full or not walk(work, node.body, prefix):
        return False
    holds = condition(work, node.until, "`until`", path, prefix=prefix)
    if isinstance(holds, Problem):
        fail(work, node, path, holds, via="engine")
    elif holds:
        work.emit(j.StepLeft(path=path))
        return True
    elif turn >= node.max:
        title = f"`until` did not hold after {turn} iterations"
        fail(work, node, path, Problem(type=ProblemType.EXHAUSTED, title=title), via="engine")
    else:
        work.emit(j.StepTurned(path=path, turn=turn + 1))
    return False


def undo_repeat(work: Work, node: RepeatNode, path: StepPath, walk: Walk) -> bool:
    """The latest iteration first."""
    step = work.draft.steps.get(path)
    turns = range(step.loop.turn if step is not None else 0, 0, -1)
    prefixes = [turn_prefix(path, turn) for turn in turns]
    return not prefixes or _undo_frames(work, node.body, path, prefixes, walk, freely=False)
