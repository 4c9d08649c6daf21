"""`Plan`: a saga definition written in Python; the same document as the JSON."""

# ruff: noqa: A002  # keywords of the public API are named for what they are

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar, cast, overload

from pydantic import ValidationError

from amends_contracts.definition import Budget, Definition, Value
from amends_contracts.messages import Json
from amends_contracts.names import is_name
from amends_contracts.plan import types
from amends_contracts.plan.blocks import Blocks
from amends_contracts.plan.origins import Origin, PlanError, did_you_mean, here
from amends_contracts.plan.proxies import Expr, Proxy, call, contains, logic, negated
from amends_contracts.plan.steps import Steps, schema_of
from amends_contracts.plan.values import Span, given, span
from amends_contracts.problems import FieldError

In = TypeVar("In")
T = TypeVar("T")


class Plan(Steps, Blocks, Generic[In]):
    """A definition, recorded by running the code that writes it.

        plan = Plan("book-trip", version=1, input=Trip, deadline="2h")
        trip = plan.input
        with plan.parallel():
            flight = plan.do(ReserveFlight(traveller=trip.traveller, to=trip.to), retry=3)
            hotel = plan.do(BookHotel(city=trip.to, nights=trip.nights))
        plan.do(ChargeCard(usd=flight.usd + hotel.usd), pivot=True)
        plan.returns(seat=flight.code)

    What has no value before the saga runs is a recording proxy, typed as the value. Python's own
    `if`, `for` and `len` cannot see such values and raise a PlanError with advice; only `is` and
    `isinstance` cannot be caught, and must not be asked of them.
    """

    @overload
    def __init__(
        self,
        name: str,
        *,
        version: int = ...,
        input: type[In],
        description: str | None = ...,
        deadline: Span | None = ...,
        interrupt_after: Span | None = ...,
        labels: Sequence[str] = ...,
        events: bool = ...,
        budget: Budget | None = ...,
    ) -> None: ...
    @overload
    def __init__(
        self: "Plan[Any]",
        name: str,
        *,
        version: int = ...,
        description: str | None = ...,
        deadline: Span | None = ...,
        interrupt_after: Span | None = ...,
        labels: Sequence[str] = ...,
        events: bool = ...,
        budget: Budget | None = ...,
    ) -> None: ...
    def __init__(
        self,
        name: str,
        *,
        version: int = 1,
        input: Any = None,
        description: str | None = None,
        deadline: Span | None = None,
        interrupt_after: Span | None = None,
        labels: Sequence[str] = (),
        events: bool = False,
        budget: Budget | None = None,
    ) -> None:
        super().__init__()
        if not is_name(name):
            raise PlanError(f"{name!r} is no name", "lower case letters, digits, _ and -")
        self.name = name
        self.version = version
        self.input_type = input
        self._origin = here()
        self._output_value: Value = None
        self._head = given(
            description=description,
            deadline=deadline and span(deadline),
            interrupt_after=interrupt_after and span(interrupt_after),
            labels=self._labels(labels),
            events=events or None,
            budget=budget and budget.model_dump(mode="json", exclude_defaults=True),
        )

    @property
    def input(self) -> In:
        """What the saga will be started with."""
        return cast(In, Proxy(Expr("input", self.input_type, plan=self)))

    @property
    def saga_id(self) -> str:
        """The saga's id."""
        return cast(str, Proxy(Expr("saga.id", str, plan=self)))

    @property
    def saga_key(self) -> str:
        """The key that the saga was started with."""
        return cast(str, Proxy(Expr("saga.key", str, plan=self)))

    def returns(self, value: object = None, /, **members: object) -> None:
        """What the saga gives when it completed: named values, or one value."""
        if (value is None) == (not members):
            raise PlanError("returns takes one value, or named values")
        if self._output_value is not None:
            raise PlanError("the plan says already what it returns")
        self._output_value = self._rendered(members if value is None else value)

    # --- conditions and expressions

    def all(self, *conditions: bool) -> bool:
        """All conditions hold: what `and` cannot say in a plan."""
        return cast(bool, logic("&&", *conditions))

    def any(self, *conditions: bool) -> bool:
        """At least one condition holds: what `or` cannot say in a plan."""
        return cast(bool, logic("||", *conditions))

    def negated(self, condition: bool) -> bool:
        """The condition does not hold: what `not` cannot say in a plan."""
        return cast(bool, negated(condition))

    def size(self, value: Sequence[Any] | Mapping[str, Any]) -> int:
        """The number of items, members or characters: what `len` cannot say in a plan."""
        return cast(int, call("size", value, int))

    def contains(self, values: Sequence[T], item: T) -> bool:
        """Whether a list holds the item, or a text another: what `in` cannot say in a plan."""
        return cast(bool, contains(values, item))

    def cel(self, expression: str, type: type[T]) -> T:
        """An expression in CEL, where Python's operators are not enough; it is taken as `type`."""
        text = expression.strip()
        if not text or text.startswith("${"):
            raise PlanError(f"{expression!r} is no expression", "write it without ${ }")
        return cast(T, Proxy(Expr(text, type, level=0, plan=self)))

    def written(self, value: object) -> Json:
        """How a value is written in the document, `${ … }` included: to see what one records."""
        return self._rendered(value)

    # --- the document

    def to_json(self) -> dict[str, Json]:
        """The document, as it was written."""
        return self._written()[0]

    @property
    def origins(self) -> Mapping[str, Origin]:
        """The user's line of each step, by JSON pointer (`/steps/0/branches/flight/0`)."""
        return self._written()[1]

    def document(self) -> Definition:
        """The definition; PlanError, with the user's line, for one that cannot be."""
        written, origins = self._written()
        if len(self._stack) > 1:
            raise PlanError("the plan is still being written", "call document() outside its blocks")
        if not written["steps"]:
            raise PlanError("the plan has no steps", at=self._origin)
        try:
            return Definition.model_validate(written)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = [str(part) for part in first["loc"]]
            at = _nearest("/" + "/".join(where), origins) or self._origin
            raise PlanError(f"{'.'.join(where)}: {first['msg']}", at=at) from None

    def located(self, errors: Iterable[FieldError]) -> tuple[FieldError, ...]:
        """The verifier's errors with the user's file and line."""
        origins = self.origins
        found: list[FieldError] = []
        for error in errors:
            at = _nearest(error.path, origins) or self._origin
            found.append(error.model_copy(update={"line": at.line, "file": at.file}))
        return tuple(found)

    def _written(self) -> tuple[dict[str, Json], dict[str, Origin]]:
        origins: dict[str, Origin] = {}
        steps = self._stack[0].steps
        written: dict[str, Json] = {"name": self.name, "version": self.version, **self._head}
        if self.input_type is not None:
            written["input"] = schema_of(self.input_type)
        written["steps"] = [
            node.to_json(f"/steps/{index}", origins) for index, node in enumerate(steps)
        ]
        if self._output_value is not None:
            written["output"] = self._output_value
        return written, origins

    def _labels(self, labels: Sequence[str]) -> list[str] | None:
        known = types.members_of(self.input_type)
        for label in labels:
            if known is not None and label not in known:
                owner = types.shown(self.input_type)
                raise PlanError(f"{owner} has no field {label!r}", did_you_mean(label, known))
        return list(labels) or None


def _nearest(pointer: str, origins: Mapping[str, Origin]) -> Origin | None:
    """The place of the innermost step that the pointer leads into."""
    while pointer:
        if pointer in origins:
            return origins[pointer]
        pointer = pointer.rpartition("/")[0]
    return None
