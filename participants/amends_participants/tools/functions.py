"""Python functions as tools: their inputs and output by annotation, their undo beside them."""

import inspect
import typing
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Generic, ParamSpec, TypeVar, cast

from pydantic import ConfigDict, create_model

from amends_contracts.command import Command, EffectName
from amends_contracts.messages import Reversal
from amends_contracts.names import is_command_name, tool_command
from amends_contracts.problems import ProblemType
from amends_participants.app import Participant
from amends_participants.effects import Effect, Undo
from amends_participants.outcomes import Failed
from amends_participants.tools.caps import Cap

P = ParamSpec("P")
Out = TypeVar("Out")
DONE: Final = "done"
"""The parameter of an undo that takes the output, or None if it is unknown."""


class BadTool(TypeError):
    """A function that cannot be a tool as it is written; the text begins with its file and line."""


@dataclass(slots=True, eq=False)
class Tool(Generic[P, Out]):
    """A function that plans and agents may call by its name."""

    function: Callable[P, Awaitable[Out]]
    name: str
    effect: EffectName
    reversal: Reversal | None
    """None: compensatable, by the undo that must be there."""
    inputs: Mapping[str, Any]
    """Annotation and default of each parameter, as pydantic takes them."""
    effect_at: str | None
    """The parameter that takes the effect."""
    output: Any
    cap: Cap | None = None
    undoing: Callable[..., Awaitable[None]] | None = None
    undo_takes: tuple[str, ...] = ()
    undo_effect_at: str | None = None

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Awaitable[Out]:
        """The function itself."""
        return self.function(*args, **kwargs)

    def undo(self, function: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        """The function that takes the effect back: `@refund.undo`.

        It may take the effect (of the action: find it by its key), `done` (the output, None if
        the outcome is unknown), and any input by its name.
        """
        if self.reversal is not None:
            raise BadTool(f"{_where(function)}: {self.name} is {self.reversal}: it has no undo")
        takes, effect_at = _parameters(function)
        known = {DONE, *self.inputs}
        for name in takes:
            if name not in known:
                names = ", ".join(sorted(known))
                raise BadTool(f"{_where(function)}: there is no {name!r}; it may take: {names}")
        self.undoing, self.undo_takes, self.undo_effect_at = function, tuple(takes), effect_at
        return function

    def register(self, app: Participant) -> None:
        """Serve it."""
        if self.reversal is None and self.undoing is None:
            raise BadTool(
                f"{_where(self.function)}: nothing takes {self.name} back: add @{self.name}.undo,"
                " or say read_only=True or irreversible=True"
            )
        model = self._command(app.service)
        app.action(model)(_annotated(self._act, cmd=model, effect=Effect))
        if self.undoing is not None:
            app.compensation(model)(_annotated(self._undo, undo=Undo[model, self.output]))

    def _command(self, service: str) -> type[Command[Any]]:
        """The command that the function's signature describes."""
        name = f"{service}.{self.name}"
        fields = {given: (hint, default) for given, (hint, default) in self.inputs.items()}
        return create_model(  # type: ignore[call-overload, no-any-return]  # fields are known at run time
            self.name,
            __base__=_closed(self.output),
            __doc__=self.function.__doc__,
            __cls_kwargs__={
                "name": name,
                "effect": self.effect,
                "reversal": self.reversal or Reversal.COMPENSATABLE,
            },
            **cast(Any, fields),
        )

    async def _act(self, cmd: Command[Any], effect: Effect) -> Out:
        given = {name: getattr(cmd, name) for name in self.inputs}
        if self.cap is not None and not self.cap.holds(given):
            raise Failed(ProblemType.NOT_ALLOWED, f"{self.name}: beyond its cap {self.cap.text}")
        if self.effect_at is not None:
            given[self.effect_at] = effect
        return await cast(Callable[..., Awaitable[Out]], self.function)(**given)

    async def _undo(self, undo: Undo[Any, Any]) -> None:
        assert self.undoing is not None, "registered only then"
        known = {DONE: undo.output, **{name: getattr(undo.input, name) for name in self.inputs}}
        given = {name: known[name] for name in self.undo_takes}
        if self.undo_effect_at is not None:
            given[self.undo_effect_at] = replace(undo.effect, key=undo.key)
        await self.undoing(**given)


def tool(
    *,
    name: str | None = None,
    effect: EffectName = "keyed",
    read_only: bool = False,
    irreversible: bool = False,
    cap: str | None = None,
) -> Callable[[Callable[P, Awaitable[Out]]], Tool[P, Out]]:
    """Make an async function a tool: `@tool(effect="keyed", cap="usd <= 2000")`.

    Its parameters are the input; one annotated `Effect` gets the effect, whose `key` is the same
    for every attempt. It takes its effect back by `@<tool>.undo`, unless it is `read_only` or
    `irreversible`. `cap` is a condition in CEL on the input.
    """

    def made(function: Callable[P, Awaitable[Out]]) -> Tool[P, Out]:
        where = _where(function)
        called = name or function.__name__
        if not is_command_name(tool_command(called)) or "." in called:
            raise BadTool(
                f"{where}: {called!r} is no name of a tool: lower case letters, digits, _"
            )
        if read_only and irreversible:
            raise BadTool(f"{where}: what only reads has nothing irreversible")
        reversal = Reversal.IRREVERSIBLE if irreversible else None
        reversal = Reversal.READ_ONLY if read_only else reversal
        inputs, effect_at = _parameters(function)
        hints = typing.get_type_hints(function, include_extras=True)
        if "return" not in hints:
            raise BadTool(f"{where}: say what it returns, -> Refund, or -> None for nothing")
        limit = None if cap is None else Cap(cap, frozenset(inputs))
        return Tool(function, called, effect, reversal, inputs, effect_at, hints["return"], limit)

    return made


def _parameters(function: Callable[..., Any]) -> tuple[dict[str, Any], str | None]:
    """The parameters but the effect, each with annotation and default; and the effect's name."""
    where = _where(function)
    if not inspect.iscoroutinefunction(function):
        raise BadTool(f"{where} must be `async def`")
    hints = typing.get_type_hints(function, include_extras=True)
    found: dict[str, Any] = {}
    effect_at: str | None = None
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind not in {parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY}:
            raise BadTool(f"{where} has {parameter}: name every parameter")
        if name not in hints:
            raise BadTool(f"{where}: parameter {name!r} is not annotated")
        if hints[name] is Effect:
            effect_at = name
        else:
            default = ... if parameter.default is parameter.empty else parameter.default
            found[name] = (hints[name], default)
    return found, effect_at


def _closed(output: Any) -> Any:
    """The base of a tool's command: what is not a parameter is refused."""

    class Closed(Command[output]):
        model_config = ConfigDict(extra="forbid")

    return Closed


def _annotated(function: Callable[..., Any], **hints: Any) -> Callable[..., Any]:
    """A function of its own with these annotations: handlers are called by them."""
    if "cmd" in hints:

        async def act(cmd: Any, effect: Any) -> Any:
            return await function(cmd, effect)

        handler: Callable[..., Any] = act
    else:

        async def take_back(undo: Any) -> None:
            await function(undo)

        handler = take_back
    handler.__annotations__ = hints
    return handler


def _where(function: Callable[..., Any]) -> str:
    code = getattr(function, "__code__", None)
    name = getattr(function, "__qualname__", repr(function))
    return f"{code.co_filename}:{code.co_firstlineno}: {name}()" if code else f"{name}()"
