"""The file of examples (`--commands`), and what it and `hello` say together. Reads no file."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from amends_contracts.messages import CommandInfo, Effect, Hello, Reversal
from amends_contracts.names import COMMAND_PATTERN, is_command_name, service_of
from amends_contracts.texts import TextError, read_yaml
from amends_orchestrator.conform.inputs import make_input, make_refused
from amends_orchestrator.conform.subject import Subject

Name = Annotated[str, Field(pattern=COMMAND_PATTERN)]


class Example(BaseModel):
    """One command; what is left out is as `hello` says, else as the contract's default."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: dict[str, Any] | None = None
    """An input with which it succeeds."""
    failing: dict[str, Any] | None = None
    """An input with which it fails and changes nothing."""
    effect: Effect | None = None
    reversal: Reversal | None = None
    compensation: Name | None = None
    probe: bool | None = None
    observe: str | None = None
    """In place of `--observe`; an empty text observes nothing."""
    run: bool | None = None
    """True: also if its effect cannot be undone; False: not at all."""


class Examples(BaseModel):
    """The file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    commands: dict[Name, Example]


class BadExamples(ValueError):
    """The file cannot be used; the text says where and why."""


@dataclass(frozen=True, slots=True)
class Unplayed:
    """A command that is not played, and why."""

    name: str
    why: str


def read_examples(text: str, service: str) -> Examples:
    """The examples of a YAML or JSON text. BadExamples if it is not right."""
    lines: dict[str, int] = {}
    try:
        examples = Examples.model_validate(read_yaml(text, lines))
    except TextError as error:
        raise BadExamples(f"line {error.line or 1}: {error.reason}") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        pointer = "".join(f"/{part}" for part in first["loc"] if part != "[key]")
        line = f"line {lines[pointer]}: " if pointer in lines else ""
        raise BadExamples(f"{line}{pointer or 'the file'}: {first['msg']}") from None
    strangers = [name for name in examples.commands if service_of(name) != service]
    if strangers:
        raise BadExamples(f"{strangers[0]} is no command of {service}")
    return examples


def subjects(
    examples: Examples | None, hellos: Iterable[Hello]
) -> tuple[list[Subject], list[Unplayed]]:
    """The commands to be played, and those that cannot be."""
    announced: dict[str, CommandInfo] = {}
    for hello in hellos:
        announced |= hello.commands
    given = {} if examples is None else examples.commands
    undos = {info.compensation for name, info in announced.items() if info.compensation != name}
    played: list[Subject] = []
    left: list[Unplayed] = []
    for name in sorted({*announced, *given} - (undos - given.keys())):
        made = _subject(name, given.get(name), announced.get(name))
        if isinstance(made, Subject):
            played.append(made)
        else:
            left.append(made)
    return played, left


def _subject(name: str, example: Example | None, info: CommandInfo | None) -> Subject | Unplayed:
    said = example or Example()
    schema = None if info is None else info.input
    if said.run is False:
        return Unplayed(name, "the file says `run: false`")
    reversal = said.reversal or (info.reversal if info else Reversal.COMPENSATABLE)
    if reversal is Reversal.IRREVERSIBLE and not said.run:
        why = "its effect cannot be undone; where that does no harm, say `run: true` in --commands"
        return Unplayed(name, why)
    made = said.input if said.input is not None else make_input(schema)
    if made is None:
        why = "no input could be made from its schema" if schema else "no schema in hello"
        return Unplayed(name, f"{why}: give an `input` for {name} in --commands")
    undo = said.compensation or (info.compensation if info else None)
    probe = said.probe if said.probe is not None else info is not None and info.probe
    return Subject(
        name=name,
        input=made,
        given=said.input is not None,
        failing=said.failing if said.failing is not None else make_refused(schema, made),
        effect=said.effect or (info.effect if info else Effect.KEYED),
        reversal=reversal,
        undo=undo if undo and is_command_name(undo) else name,
        probe=probe,
        observe=said.observe,
    )
