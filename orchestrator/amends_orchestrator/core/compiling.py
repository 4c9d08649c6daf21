"""Definitions compiled to plans: templates and conditions once, and what documents leave out.

A kind that this version cannot run has no node: `UnsupportedKind` (the verifier says it with a
remedy).
"""

from dataclasses import replace
from datetime import timedelta
from typing import Final

from amends_contracts import definition as document
from amends_contracts.definition import Definition, Retry
from amends_contracts.expressions import parse_expression, parse_template
from amends_contracts.messages import Effect, Json, Reversal
from amends_contracts.names import GENERATE, START_SAGA, UNDO_SAGA, service_of
from amends_orchestrator.core.asking import as_action, deadline_of, most_used, question
from amends_orchestrator.core.expressions import (
    CompiledTemplate,
    Expressions,
    compile_template,
)
from amends_orchestrator.core.plan import (
    STEP_NAMES,
    ActionNode,
    AlternativesNode,
    AwaitNode,
    ChoiceNode,
    EachNode,
    LimitNode,
    Node,
    ParallelNode,
    Place,
    Plan,
    RepeatNode,
    Sequence,
    Undo,
    WaitNode,
    walk,
)
from amends_orchestrator.core.plan_reviews import (
    ReviewNode,
    compile_guard,
    compile_review,
)

UNDO_NAMES: Final = STEP_NAMES | {"action"}
EACH_NAMES: Final = frozenset({"item", "index"})
REPEAT_NAMES: Final = frozenset({"turn"})
NEXT_PLAN_NAMES: Final = frozenset({"failure"})
"""What the plans of alternatives after the first know besides."""
CHILD_ASKED_AGAIN: Final = timedelta(hours=6)
"""How often a parent asks for a child that has not ended: its reply comes by itself."""


class UnsupportedKind(ValueError):
    """This version cannot run a step of this kind."""

    def __init__(self, step: str, kind: str) -> None:
        self.step = step
        self.kind = kind
        super().__init__(f"step {step!r}: kind {kind!r} cannot be run by this version")


def compile_plan(definition: Definition, expressions: Expressions) -> Plan:
    """The plan of a verified and resolved definition; UnsupportedKind, ExpressionSyntaxError."""
    compiler = _Compiler(expressions)
    root = compiler.sequence(definition.steps, Place())
    output = None
    if definition.output is not None:
        output = compiler.template(definition.output, STEP_NAMES)
    pivots = [n.id for n in walk(root) if isinstance(n, ActionNode) and n.pivot]
    return Plan(
        name=definition.name,
        version=definition.version,
        root=root,
        nodes={node.id: node for node in walk(root)},
        parents={name: place.parent for name, place in compiler.places.items()},
        places=compiler.places,
        input_schema=definition.input,
        output=output,
        deadline=deadline_of(definition),
        budget=definition.budget,
        interrupt_after=definition.interrupt_after,
        events=definition.events,
        savepoints=any(place.plans for place in compiler.places.values()),
        pivots=tuple(pivots),
        awaited=frozenset(n.event for n in walk(root) if isinstance(n, AwaitNode)),
        reviews=any(getattr(n, "guard", None) or isinstance(n, ReviewNode) for n in walk(root)),
        limited=any(isinstance(n, ActionNode) and n.limit for n in walk(root)),
    )


class _Compiler:
    def __init__(self, expressions: Expressions) -> None:
        self.engine = expressions
        self.places: dict[str, Place] = {}

    def template(self, value: Json, names: frozenset[str]) -> CompiledTemplate:
        return compile_template(parse_template(value), names, self.engine)

    def condition(self, text: str, names: frozenset[str]) -> CompiledTemplate:
        return compile_template(parse_expression(text), names, self.engine)

    def when(self, text: str | None, names: frozenset[str]) -> CompiledTemplate | None:
        return None if text is None else self.condition(text, names)

    def sequence(self, steps: document.Steps, place: Place) -> Sequence:
        return tuple(self.node(step, place) for step in steps)

    def node(self, step: document.Step, place: Place) -> Node:
        self.places[step.id] = place
        inside = replace(place, parent=step.id)
        match step:
            case document.Action():
                return self.action(step, place.names)
            case document.Parallel():
                branches = tuple(
                    (name, self.sequence(body, inside)) for name, body in step.branches.items()
                )
                return ParallelNode(step.id, self.when(step.when, place.names), branches)
            case document.Choice():
                cases = tuple(
                    (self.condition(case.when, place.names), self.sequence(case.steps, inside))
                    for case in step.cases
                )
                otherwise = self.sequence(step.otherwise, inside)
                return ChoiceNode(step.id, self.when(step.when, place.names), cases, otherwise)
            case document.Each():
                return self.each(step, place)
            case document.Repeat():
                return self.repeat(step, place)
            case document.Alternatives():
                return self.alternatives(step, place)
            case document.Wait():
                return self.wait(step, place.names)
            case document.ChildSaga():
                return self.child(step, place.names)
            case document.Tool():
                return replace(self.action(as_action(step), place.names), kind="tool")
            case document.Llm():
                return self.llm(step, place.names)
            case document.Await():
                when = self.when(step.when, place.names)
                ignore = step.on_timeout == "ignore"
                return AwaitNode(step.id, when, step.event, step.timeout, ignore)
            case document.Review():
                return compile_review(step, self, place.names)
            case _:
                raise UnsupportedKind(step.id, step.kind)

    def each(self, step: document.Each, place: Place) -> EachNode:
        inside = place.in_loop(step.id, EACH_NAMES)
        return EachNode(
            id=step.id,
            when=self.when(step.when, place.names),
            items=self.template(step.items, place.names),
            concurrency=step.concurrency,
            body=self.sequence(step.steps, inside),
        )

    def repeat(self, step: document.Repeat, place: Place) -> RepeatNode:
        inside = place.in_loop(step.id, REPEAT_NAMES)
        return RepeatNode(
            id=step.id,
            when=self.when(step.when, place.names),
            until=self.condition(step.until, inside.names),
            max=step.max,
            body=self.sequence(step.steps, inside),
        )

    def alternatives(self, step: document.Alternatives, place: Place) -> AlternativesNode:
        plans: list[tuple[str, Sequence]] = []
        for number, plan in enumerate(step.plans):
            inside = replace(
                place,
                parent=step.id,
                plans=(*place.plans, (step.id, number)),
                names=place.names | NEXT_PLAN_NAMES if number else place.names,
            )
            plans.append((plan.name, self.sequence(plan.steps, inside)))
        return AlternativesNode(step.id, self.when(step.when, place.names), tuple(plans))

    def wait(self, step: document.Wait, names: frozenset[str]) -> WaitNode:
        until = None if step.until is None else self.template(step.until, names)
        return WaitNode(step.id, self.when(step.when, names), step.for_, until)

    def action(self, step: document.Action, names: frozenset[str]) -> ActionNode:
        reversal = reversal_of(step)
        return ActionNode(
            id=step.id,
            when=self.when(step.when, names),
            command=step.command,
            service=service_of(step.command),
            input=self.template(step.input, names),
            effect=step.effect or Effect.KEYED,
            reversal=reversal,
            probe=bool(step.probe),
            timeout=step.timeout,
            retry=step.retry,
            ignore=step.on_failure == "ignore",
            pivot=step.pivot,
            undo=self.undo(step, names) if reversal is Reversal.COMPENSATABLE else None,
            compensable_for=step.compensable_for,
            guard=None
            if step.review is None
            else compile_guard(step.review, step.command, self, names),
            limit=self.limit(step, names),
        )

    def limit(self, step: document.Action, names: frozenset[str]) -> LimitNode | None:
        limit = step.limit
        if limit is None:
            return None
        return LimitNode(
            pool=limit.name or service_of(step.command),
            key=None if limit.key is None else self.template(limit.key, names),
            concurrency=limit.concurrency,
            rate=limit.rate,
            total=limit.total,
        )

    def child(self, step: document.ChildSaga, names: frozenset[str]) -> ActionNode:
        """An action of the engine itself, asked for again and again until it ends."""
        asked = {"definition": step.definition, "version": step.version, "input": step.input}
        given = {name: value for name, value in asked.items() if value is not None}
        return ActionNode(
            id=step.id,
            when=self.when(step.when, names),
            command=START_SAGA,
            service=service_of(START_SAGA),
            input=self.template(given | ({"key": step.key} if step.key else {}), names),
            effect=Effect.KEYED,
            reversal=Reversal.COMPENSATABLE,
            timeout=CHILD_ASKED_AGAIN,
            retry=Retry(max_attempts=None),
            undo=Undo(
                UNDO_SAGA, None, document.UNDO_RETRY_DEFAULT, CHILD_ASKED_AGAIN, verify=False
            ),
            kind="saga",
        )

    def llm(self, step: document.Llm, names: frozenset[str]) -> ActionNode:
        """A command that changes nothing in the world but what is spent."""
        return ActionNode(
            id=step.id,
            when=self.when(step.when, names),
            command=GENERATE,
            service=service_of(GENERATE),
            input=compile_template(question(step), names, self.engine),
            effect=Effect.KEYED,
            reversal=Reversal.READ_ONLY,
            timeout=step.timeout,
            retry=step.retry,
            kind="llm",
            reserve=most_used(step),
        )

    def undo(self, step: document.Action, names: frozenset[str]) -> Undo:
        compensation = step.compensation or document.Compensation()
        mapping = compensation.input
        undo_names = names | UNDO_NAMES
        return Undo(
            command=compensation.command or step.command,
            input=None if mapping is None else self.template(mapping, undo_names),
            retry=compensation.retry,
            timeout=compensation.timeout,
            verify=compensation.verify,
        )


def reversal_of(step: document.Action) -> Reversal:
    """Said, or by its compensation; without either nothing is known to take it back."""
    if step.reversal is not None:
        return step.reversal
    return Reversal.IRREVERSIBLE if step.compensation is None else Reversal.COMPENSATABLE
