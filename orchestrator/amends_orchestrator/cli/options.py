"""Options and arguments that several commands share, and how their texts are read."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from amends_orchestrator.cli.exits import CliError, Exit

Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
Url = Annotated[
    str | None,
    typer.Option(
        "--url", help="The service (else AMENDS_API_URL, else .amends/up.json).", show_default=False
    ),
]
DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        "--database-url",
        help="The orchestrator's database (else AMENDS_DATABASE_URL, else up.json).",
        show_default=False,
    ),
]
SagaId = Annotated[str, typer.Argument(help="A saga's id, or `last` for the newest.")]
StepPath = Annotated[str, typer.Argument(help="A step's path, as `amends show` prints it.")]
Reason = Annotated[str, typer.Option("--reason", "-r", help="Why; kept in the audit.")]


def read_object(texts: Sequence[str], option: str) -> dict[str, Any]:
    """Join what `--input` was given: files, `-` for stdin, JSON objects and `name=value`.

    A value is JSON where it reads as such (`nights=2`), else a string; `nights='"2"'` forces one.
    """
    joined: dict[str, Any] = {}
    for text in texts:
        joined.update(_read_one(text, option))
    return joined


def read_pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    """`name=value` options whose values stay strings, such as labels."""
    pairs: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise CliError(
                f"{option}: {text!r} is not name=value.",
                f"For example: {option} channel=web",
                exit_code=Exit.USAGE,
            )
        pairs[name] = value
    return pairs


def read_value(text: str) -> Any:
    """JSON where it reads as such, else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _read_one(text: str, option: str) -> dict[str, Any]:
    if text.lstrip().startswith("{"):
        return _object(text, option, "this text")
    if text == "-":
        return _object(typer.get_text_stream("stdin").read(), option, "standard input")
    name, equals, value = text.partition("=")
    if equals and name.isidentifier():
        return {name: read_value(value)}
    file = Path(text)
    if not file.is_file():
        raise _bad(option, f"{text!r} is neither a file, nor a JSON object, nor name=value")
    return _object(file.read_text(), option, text)


def _object(text: str, option: str, what: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise _bad(option, f"{what} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise _bad(option, f"{what} is JSON, but not an object")
    return cast(dict[str, Any], value)


def _bad(option: str, why: str) -> CliError:
    return CliError(
        f"{option}: {why}.",
        f'Examples: {option} trip.json   {option} to=Lisbon   {option} \'{{"to": "Lisbon"}}\'',
        exit_code=Exit.USAGE,
    )
