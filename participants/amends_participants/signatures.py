"""Handlers' signatures: which part of a command each parameter takes, found by its annotation.

Checked when a handler is registered, so that a wrong one is refused when its module is imported,
with the user's own file and line.
"""

import inspect
import typing
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, cast

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from amends_contracts.command import Command, spec_of
from amends_contracts.messages import Effect as EffectClass
from amends_participants.effects import Effect, Undo


class BadHandler(TypeError):
    """A handler that cannot be called as it is written; the text begins with its file and line."""


class Role(StrEnum):
    """What a handler is for."""

    ACTION = "action"
    COMPENSATION = "compensation"
    PROBE = "probe"


class Part(StrEnum):
    """What a parameter may take."""

    COMMAND = "cmd"
    UNDO = "undo"
    BODY = "body"
    """A compensation's own command class, where plans map its input."""
    TX = "tx"
    SESSION = "session"
    EFFECT = "effect"


Handler = Callable[..., Awaitable[Any]]

_PARTS: Final[Mapping[Role, frozenset[Part]]] = {
    Role.ACTION: frozenset({Part.COMMAND, Part.TX, Part.SESSION, Part.EFFECT}),
    Role.COMPENSATION: frozenset(
        {Part.UNDO, Part.COMMAND, Part.BODY, Part.TX, Part.SESSION, Part.EFFECT}
    ),
    Role.PROBE: frozenset({Part.COMMAND, Part.EFFECT}),
}
_IN_DATABASE: Final = frozenset({Part.TX, Part.SESSION})


@dataclass(frozen=True, slots=True)
class Bound:
    """A handler with what each of its parameters takes."""

    function: Handler
    parameters: Mapping[str, Part]
    body_model: type[Command[Any]] | None = None
    """Of a compensation that takes its own command's body."""
    takes: frozenset[Part] = field(init=False)
    """The parts it takes."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "takes", frozenset(self.parameters.values()))

    def call(self, parts: Mapping[Part, object]) -> Awaitable[Any]:
        """Call it with these parts; those it does not take are left out."""
        return self.function(**{name: parts[p] for name, p in self.parameters.items()})


def bind(
    function: Handler, role: Role, command: type[Command[Any]], *, foreign: bool = False
) -> Bound:
    """Inspect a handler; BadHandler says what is wrong and what it may take.

    `foreign`: somebody else gives the parameters that are not known here.
    """
    where = _where(function)
    if not inspect.iscoroutinefunction(inspect.unwrap(function)):
        raise BadHandler(f"{where} must be `async def`")
    hints = _hints(function, where)
    allowed = _allowed(role, command)
    parameters: dict[str, Part] = {}
    body_model: type[Command[Any]] | None = None
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind not in {parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY}:
            raise BadHandler(f"{where} has {parameter}; {allowed}")
        annotation = hints.get(name)
        if annotation is None and parameter.default is not parameter.empty:
            continue
        part = _part_of(annotation, role, command)
        if part is None and foreign:
            continue
        if part is None:
            raise BadHandler(f"{where}: parameter {name!r} is {_spelled(annotation)}; {allowed}")
        if part in parameters.values():
            raise BadHandler(f"{where}: parameter {name!r} is a second {part}; {allowed}")
        if part in _IN_DATABASE and spec_of(command).effect is not EffectClass.TRANSACTIONAL:
            raise BadHandler(
                f"{where}: parameter {name!r}: only a command with effect='transactional' has a"
                f" transaction, {command.__name__} is {spec_of(command).effect.value!r};"
                " declare it transactional, or open a connection of your own"
            )
        if part is Part.BODY:
            body_model = annotation
        parameters[name] = part
    return Bound(function, parameters, body_model)


def _part_of(annotation: Any, role: Role, command: type[Command[Any]]) -> Part | None:
    part: Part | None = None
    if annotation is Effect:
        part = Part.EFFECT
    elif annotation is AsyncConnection:
        part = Part.TX
    elif annotation is AsyncSession:
        part = Part.SESSION
    elif annotation is command:
        part = Part.COMMAND
    elif typing.get_origin(annotation) is Undo:
        part = Part.UNDO if typing.get_args(annotation)[0] is command else None
    elif annotation is Undo:
        part = Part.UNDO
    elif isinstance(annotation, type) and issubclass(annotation, Command):
        # a compensation that goes by a command of its own has that command's body
        given = cast(type[Command[Any]], annotation)
        own = spec_of(command).compensation
        part = Part.BODY if own is not None and spec_of(given).name == own else None
    return part if part in _PARTS[role] else None


def _hints(function: Handler, where: str) -> dict[str, Any]:
    try:
        return typing.get_type_hints(inspect.unwrap(function))
    except NameError as error:
        raise BadHandler(
            f"{where}: an annotation cannot be read: {error}; it must be a name of the module"
        ) from None


def _allowed(role: Role, command: type[Command[Any]]) -> str:
    name = command.__name__
    subject = f"undo: Undo[{name}, …]" if role is Role.COMPENSATION else f"cmd: {name}"
    article = "an" if role is Role.ACTION else "a"
    database = "" if role is Role.PROBE else ", tx: AsyncConnection, session: AsyncSession"
    return f"{article} {role} of {name} takes any of {subject}{database}, effect: Effect"


def _spelled(annotation: Any) -> str:
    if annotation is None:
        return "not annotated"
    return f"annotated {annotation.__name__ if isinstance(annotation, type) else annotation}"


def _where(function: Handler) -> str:
    inner = inspect.unwrap(function)
    code = getattr(inner, "__code__", None)
    name = getattr(inner, "__qualname__", repr(inner))
    return f"{code.co_filename}:{code.co_firstlineno}: {name}()" if code else f"{name}()"
