"""Definitions and schemas, compiled once: what starts and outputs are checked against.

A version never changes, so it is kept for good; which version is the newest, and whether one takes
no starts any more, is asked again after a moment. Schemas of outputs come from what participants
say in `hello`.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import jsonschema_rs

from amends_contracts.definition import Definition
from amends_contracts.messages import CommandInfo, Json, digest_of, to_body
from amends_contracts.problems import FieldError, Problem, ProblemType
from amends_orchestrator.core.compiling import compile_plan
from amends_orchestrator.core.expressions import Expressions
from amends_orchestrator.core.plan import Plan
from amends_orchestrator.engine.ports import Clock, Store

log = logging.getLogger(__name__)

ERRORS_MAX: Final = 20
SHAPES_MAX: Final = 8
"""Schemas kept per command: instances of several releases may run side by side."""


class Schema:
    """A JSON Schema, compiled; None and what cannot be compiled accept everything."""

    def __init__(self, schema: Json) -> None:
        self._validator: Any = None
        if schema:
            try:
                self._validator = jsonschema_rs.validator_for(schema, retriever=_retrieve_nothing)
            except (jsonschema_rs.ValidationError, ValueError):
                self._validator = None

    def errors(self, value: Json) -> tuple[FieldError, ...]:
        """What is wrong with a value, at most 20 places; empty if nothing."""
        if self._validator is None or self._validator.is_valid(value):
            return ()
        found: list[FieldError] = []
        for error in self._validator.iter_errors(value):
            found.append(FieldError(path=_pointer(error.instance_path), reason=error.message))
            if len(found) == ERRORS_MAX:
                break
        return tuple(found)


def _retrieve_nothing(uri: str) -> Json:
    """A schema stands by itself: what strangers write is fetched from nowhere."""
    raise LookupError(f"schemas are not fetched: {uri}")


@dataclass(frozen=True, slots=True, eq=False)
class Registered:
    """One version of a definition, ready to be run."""

    name: str
    version: int
    definition: Definition
    plan: Plan
    input: Schema


@dataclass(slots=True)
class _Newest:
    version: int
    until: float


@dataclass(frozen=True, slots=True)
class _Retirement:
    retired: bool
    until: float


@dataclass(slots=True)
class _Shapes:
    """The output schemas seen for one command, oldest first, by digest."""

    schemas: dict[str, Schema] = field(default_factory=dict[str, Schema])


class Catalog:
    """Definitions by name and version; output schemas by command."""

    def __init__(
        self, store: Store, expressions: Expressions, clock: Clock, *, newest_for_s: float
    ) -> None:
        self._store = store
        self._expressions = expressions
        self._clock = clock
        self._newest_for_s = newest_for_s
        self._known: dict[tuple[str, int], Registered] = {}
        self._newest: dict[str, _Newest] = {}
        self._retirements: dict[tuple[str, int], _Retirement] = {}
        self._outputs: dict[str, _Shapes] = {}
        self.broken: dict[tuple[str, int], str] = {}
        """Versions that this release cannot run, and why."""

    def known(self, name: str, version: int) -> Registered | None:
        """A version that `get` has found before."""
        return self._known.get((name, version))

    async def get(self, name: str, version: int | None) -> Registered | None:
        """A version, or the newest; None if there is none that runs. Raises StoreUnavailable."""
        if version is None:
            newest = self._newest.get(name)
            if newest is not None and newest.until > self._clock.monotonic():
                version = newest.version
        if version is not None and (name, version) in self._known:
            return self._known[name, version]
        found = await self._store.definition(name, version)
        if found is None:
            return None
        number, document = found
        if version is None:
            self._newest[name] = _Newest(number, self._clock.monotonic() + self._newest_for_s)
        registered = self._known.get((name, number))
        if registered is None and (name, number) not in self.broken:
            registered = self._compile(name, number, document)
        return registered

    async def is_retired(self, name: str, version: int) -> bool:
        """Whether a version takes no new starts. Raises StoreUnavailable."""
        known = self._retirements.get((name, version))
        if known is None or known.until <= self._clock.monotonic():
            retired = await self._store.is_retired(name, version)
            known = _Retirement(retired, self._clock.monotonic() + self._newest_for_s)
            self._retirements[name, version] = known
        return known.retired

    def forget_newest(self, name: str) -> None:
        """A version was registered or retired in this process: the next start shall see it."""
        self._newest.pop(name, None)
        for known in [at for at in self._retirements if at[0] == name]:
            del self._retirements[known]

    def learn(self, commands: Mapping[str, CommandInfo]) -> None:
        """Keep the output schemas of a `hello`."""
        for name, info in commands.items():
            if info.output is None:
                continue
            shapes = self._outputs.setdefault(name, _Shapes()).schemas
            digest = digest_of(to_body(info.output))
            shapes[digest] = shapes.pop(digest, None) or Schema(info.output)
            while len(shapes) > SHAPES_MAX:
                shapes.pop(next(iter(shapes)))

    def output_problem(self, command: str, output: Json) -> Problem | None:
        """Why an output is none that its command promises; any release's promise will do."""
        shapes = self._outputs.get(command)
        if shapes is None:
            return None
        errors: tuple[FieldError, ...] = ()
        for schema in reversed(shapes.schemas.values()):
            wrong = schema.errors(output)
            if not wrong:
                return None
            errors = errors or wrong
        return bad_output(f"the output of {command} is not what it promises", errors)

    def _compile(self, name: str, version: int, document: Json) -> Registered | None:
        try:
            definition = Definition.model_validate(document)
            plan = compile_plan(definition, self._expressions)
        except Exception as error:
            # Registered by a later release, or damaged: its sagas wait, all others go on.
            log.exception("definition %s@%d cannot be run", name, version)
            self.broken[name, version] = f"{type(error).__name__}: {error}"
            return None
        registered = Registered(name, version, definition, plan, Schema(definition.input))
        self._known[name, version] = registered
        return registered


def bad_output(detail: str, errors: tuple[FieldError, ...] = ()) -> Problem:
    """The effect is there, its output cannot be used."""
    first = f": {errors[0].path or '/'} {errors[0].reason}" if errors else ""
    return Problem(
        type=ProblemType.BAD_OUTPUT,
        title="The output does not follow its schema",
        detail=(detail + first)[:1000],
        errors=errors,
    )


def _pointer(path: list[str | int]) -> str:
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in path)
