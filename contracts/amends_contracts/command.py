"""Commands as users write them: a typed input, a typed output, and what is known of the effect.

    class ReserveFlight(Command[Seat], name="flights.reserve", effect="transactional"):
        traveller: str
        to: str

The class is the body of the command that travels (`messages.Command` is the message around it).
Nothing is registered anywhere: a participant names the classes it handles, a plan those it sends.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar, cast

from pydantic import BaseModel, TypeAdapter

from amends_contracts.messages import CommandInfo, Effect, Json, Reversal
from amends_contracts.names import is_command_name

Out = TypeVar("Out")
EffectName = Literal["transactional", "keyed", "queryable", "none"]
ReversalName = Literal["read_only", "compensatable", "irreversible"]


class CommandError(TypeError):
    """A command class that cannot be what it says; the text names the class and the remedy."""


@dataclass(frozen=True, slots=True)
class CommandSpec(Generic[Out]):
    """What a command class declares, in one place; taken from the class by `spec_of`."""

    model: "type[Command[Out]]"
    name: str
    effect: Effect
    reversal: Reversal
    compensation: str | None
    """The compensating command; None if it goes by this command's own name, or there is none."""
    probe: bool
    output: TypeAdapter[Out]

    def info(self) -> CommandInfo:
        """What `hello` says of this command."""
        return CommandInfo(
            effect=self.effect,
            reversal=self.reversal,
            input=self.input_schema(),
            output=self.output_schema(),
            compensation=self.compensation,
            probe=self.probe,
        )

    def input_schema(self) -> dict[str, Any]:
        """JSON Schema of the body, as a sender must write it."""
        return self.model.model_json_schema(by_alias=True, mode="validation")

    def output_schema(self) -> dict[str, Any]:
        """JSON Schema of the output, as a participant writes it; outputs are always objects."""
        schema = self.output.json_schema(by_alias=True, mode="serialization")
        return {"type": "object"} if schema.get("type") == "null" else schema

    def write_output(self, value: Out) -> dict[str, Json]:
        """The output as it travels: `{}` for None. Raises if the value is not of its type."""
        written = self.output.dump_python(value, mode="json", by_alias=True, warnings="error")
        return {} if written is None else written

    def read_output(self, output: Json) -> Out:
        """The inverse of `write_output`; pydantic's ValidationError if it does not fit."""
        if output == {} and is_none(output_type(self.model)):
            return self.output.validate_python(None)
        return self.output.validate_python(output)


class Command(BaseModel, Generic[Out]):
    """Base of command classes; `Out` is the output: a model, a dict, or None for no output.

    Class keywords: `name` (`<service>.<verb>`), `effect` (how a doubt is settled, default
    `keyed`), `reversal` (default `compensatable`), `compensation` (the class or name of the
    command that undoes it, default: this command itself in the undo lane), `probe` (whether its
    participant can tell what became of it).
    """

    __command__: ClassVar[CommandSpec[Any] | None] = None

    if not TYPE_CHECKING:

        def __new__(cls, *_: Any, **values: Any) -> Any:
            """Values that a plan will know only when it runs give a recording, not an instance."""
            if values:
                from amends_contracts.plan.recorded import record

                recorded = record(cls, values)
                if recorded is not None:
                    return recorded
            return super().__new__(cls)

    def __init_subclass__(
        cls,
        *,
        name: str | None = None,
        effect: EffectName | Effect = "keyed",
        reversal: ReversalName | Reversal | None = None,
        compensation: "type[Command[Any]] | str | None" = None,
        probe: bool = False,
        **config: Any,
    ) -> None:
        super().__init_subclass__(**config)

    @classmethod
    def __pydantic_init_subclass__(
        cls,
        *,
        name: str | None = None,
        effect: EffectName | Effect = "keyed",
        reversal: ReversalName | Reversal | None = None,
        compensation: "type[Command[Any]] | str | None" = None,
        probe: bool = False,
        **config: Any,
    ) -> None:
        """Called by pydantic once the model is complete."""
        cls.__command__ = None
        if name is None:
            return
        if not is_command_name(name):
            raise CommandError(
                f"{cls.__name__}: name={name!r} is not <service>.<verb> in lower case,"
                " such as 'flights.reserve'"
            )
        reversal = _member(cls, "reversal", Reversal, reversal or Reversal.COMPENSATABLE)
        if compensation is not None and reversal is not Reversal.COMPENSATABLE:
            raise CommandError(
                f"{cls.__name__}: a command that is {reversal} has no compensation;"
                " leave one of the two out"
            )
        cls.__command__ = CommandSpec(
            model=cls,
            name=name,
            effect=_member(cls, "effect", Effect, effect),
            reversal=reversal,
            compensation=_compensation_name(cls, name, compensation),
            probe=probe,
            output=TypeAdapter(output_type(cls)),
        )


E = TypeVar("E", Effect, Reversal)


def spec_of(command: "type[Command[Out]] | Command[Out]") -> CommandSpec[Out]:
    """What the class declares; CommandError for one without a `name`."""
    cls = command if isinstance(command, type) else type(command)
    if cls.__command__ is None:
        raise CommandError(
            f"{cls.__name__} has no name: write class {cls.__name__}(Command[…],"
            ' name="<service>.<verb>")'
        )
    return cls.__command__


def infos(*commands: type[Command[Any]]) -> Mapping[str, CommandInfo]:
    """The commands' names and what `hello` says of each."""
    return {spec.name: spec.info() for spec in map(spec_of, commands)}


def output_type(cls: type[Command[Any]]) -> Any:
    """`Seat` of `class ReserveFlight(Command[Seat], …)`, through any number of bases."""
    for base in cls.__mro__:
        generic: Mapping[str, Any] = getattr(base, "__pydantic_generic_metadata__", {})
        if generic.get("origin") is Command:
            out = cast(tuple[Any, ...], generic["args"])[0]
            if not isinstance(out, TypeVar):
                return out
    raise CommandError(
        f"{cls.__name__}: say what it answers, Command[Seat], or Command[None] for nothing"
    )


def is_none(annotation: object) -> bool:
    """Whether an output type means: no output."""
    return annotation is None or annotation is type(None)


def _member(cls: type, keyword: str, among: type[E], value: str) -> E:
    try:
        return among(value)
    except ValueError:
        allowed = ", ".join(map(repr, map(str, among)))
        raise CommandError(f"{cls.__name__}: {keyword}={value!r} is none of {allowed}") from None


def _compensation_name(
    cls: type, name: str, compensation: type[Command[Any]] | str | None
) -> str | None:
    if compensation is None or isinstance(compensation, str):
        other = compensation
    else:
        other = spec_of(compensation).name
    if other is not None and other.partition(".")[0] != name.partition(".")[0]:
        raise CommandError(
            f"{cls.__name__}: {other!r} belongs to another service; a compensation belongs to"
            f" the service of its action, {name.partition('.')[0]!r}"
        )
    return other
