"""docs/cli.md, made from the commands themselves: `python -m amends_orchestrator.cli.reference`.

A test keeps the file and this in step, so that the documented exit codes and options are true.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import typer

from amends_orchestrator.cli.exits import MEANING, Exit
from amends_orchestrator.cli.main import app

INTRODUCTION = """\
# The command line

`amends` finds the service by `--url`, else `AMENDS_API_URL`, else `.amends/up.json` in this folder
or one above (`amends up` writes it), and its key by `AMENDS_API_KEY`, else `up.json`. Every command
takes `--json`: then its result is JSON on standard output, and an error is one JSON object
`{"error", "do"?, "exit", "problem"?}` on standard error. Without it, errors say on standard error
what is wrong and what to do.

A saga's id can be written `last` for the newest saga.
"""


def reference() -> str:
    """The whole page."""
    return "\n".join([INTRODUCTION, *_exit_codes(), *_commands()]).rstrip() + "\n"


def _exit_codes() -> Iterator[str]:
    yield from ("## Exit codes", "", "| code | meaning |", "|---|---|")
    for code in Exit:
        yield f"| {int(code)} | {MEANING[code]} |"
    yield ""


def _commands() -> Iterator[str]:
    panel = None
    for path, command in walk():
        if command.rich_help_panel != panel:
            panel = command.rich_help_panel
            yield f"## {panel}\n"
        yield from _command(path, command)


def walk() -> Iterator[tuple[str, Any]]:
    """Every command with the words that call it, in the order of the help."""
    group: Any = typer.main.get_command(app)
    commands: Mapping[str, Any] = group.commands
    for name, command in commands.items():
        below: Mapping[str, Any] = getattr(command, "commands", {})
        if not below:
            yield name, command
        for inner, leaf in below.items():
            leaf.rich_help_panel = command.rich_help_panel
            yield f"{name} {inner}", leaf


def _command(path: str, command: Any) -> Iterator[str]:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    shown = " ".join(_argument(p) for p in arguments)
    yield f"### amends {path}{' ' + shown if shown else ''}\n"
    yield _one_line(command.help) + "\n"
    rows = [_row(p) for p in command.params if p.param_type_name == "option" and not p.hidden]
    rows = [row for row in rows if row]
    if rows:
        yield from ("| option | |", "|---|---|", *rows, "")


def _argument(parameter: Any) -> str:
    name = parameter.metavar or parameter.name.upper()
    return name if parameter.required else f"[{name}]"


def _row(option: Any) -> str:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    if "--json" in option.opts or "--url" in option.opts:
        return ""
    said = option.help or ""
    default = option.default
    if option.required:
        said += " Required."
    elif default not in (None, False, True, [], ()) and not callable(default):
        said += f" Default: {default}."
    return f"| {names} | {said} |"


def _one_line(text: str | None) -> str:
    paragraphs = re.split(r"\n\s*\n", (text or "").strip())
    return "\n\n".join(" ".join(p.split()) for p in paragraphs)


if __name__ == "__main__":
    sys.stdout.write(reference())
