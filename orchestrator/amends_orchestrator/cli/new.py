"""`amends new`: a folder with a saga or a participant that runs, and a test of it that passes.

The files lie in `templates/<kind>/`; `@name@` and its variants are replaced, in names too.
"""

import keyword
import re
import sys
from collections.abc import Iterator, Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group
from rich.text import Text

from amends_orchestrator.cli import options, output
from amends_orchestrator.cli.exits import CliError, Exit

KINDS = ("saga", "participant")
SUFFIX = ".tmpl"
NAME = re.compile(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*")

NEXT: Mapping[str, tuple[str, ...]] = {
    "saga": (
        "cd {name}",
        "amends dev          # runs it, on its own, and opens the page",
        "pytest",
    ),
    "participant": ("cd {name}", "pytest", "amends-participant {module}:app"),
}


def new(
    kind_or_name: Annotated[
        str, typer.Argument(help="`saga` (the default) or `participant`.", metavar="[KIND]")
    ],
    name: Annotated[
        str | None, typer.Argument(help="Its name, such as trip or flights.", metavar="NAME")
    ] = None,
    *,
    as_json: options.Json = False,
) -> None:
    """Write a new saga or participant, with a Dockerfile and a test, into a folder of its name."""
    kind, wanted = ("saga", kind_or_name) if name is None else (kind_or_name, name)
    if kind not in KINDS:
        raise CliError(
            f"There is no {kind!r} to make.",
            "amends new saga NAME, or amends new participant NAME",
            exit_code=Exit.USAGE,
        )
    files = write(kind, wanted, Path.cwd())
    result = {"kind": kind, "name": wanted, "files": [str(f) for f in files]}
    output.show(result, as_json, lambda: _written(kind, wanted, files))


def write(kind: str, name: str, where: Path) -> list[Path]:
    """Write the files; nothing is ever overwritten."""
    if not NAME.fullmatch(name):
        raise CliError(
            f"{name!r} cannot be a name: lower case letters, digits, - and _, a letter first.",
            f"For example: amends new {kind} {_suggestion(name)}",
            exit_code=Exit.USAGE,
        )
    if _words(name)["@module@"] in {
        *keyword.kwlist,
        *sys.stdlib_module_names,
        "services",
        "conftest",
    }:
        raise CliError(
            f"{name!r} is a name that Python needs.",
            f"For example: amends new {kind} {name}-trip",
            exit_code=Exit.USAGE,
        )
    folder = where / name
    if folder.exists() and any(folder.iterdir()):
        raise CliError(
            f"{folder.name}/ is there already and not empty.",
            "Choose another name, or move it away.",
            exit_code=Exit.USAGE,
        )
    words = _words(name)
    root = resources.files("amends_orchestrator.cli") / "templates" / kind
    written: list[Path] = []
    for inner, template in _templates(root):
        target = folder / _filled(inner.removesuffix(SUFFIX), words)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(_filled(template.read_text(encoding="utf-8"), words))
        written.append(target.relative_to(where))
    return sorted(written)


def _templates(root: Traversable, above: str = "") -> Iterator[tuple[str, Traversable]]:
    for entry in root.iterdir():
        if entry.is_dir():
            yield from _templates(entry, f"{above}{entry.name}/")
        elif entry.name.endswith(SUFFIX):
            yield above + entry.name, entry


def _words(name: str) -> dict[str, str]:
    parts = re.split(r"[-_]", name)
    module = "_".join(parts)
    singular = parts[-1].removesuffix("s") or parts[-1]
    return {
        "@name@": name,
        "@module@": module,
        "@Class@": "".join(p.capitalize() for p in parts),
        "@Thing@": singular.capitalize(),
        "@thing@": singular,
    }


def _filled(text: str, words: Mapping[str, str]) -> str:
    for placeholder, word in words.items():
        text = text.replace(placeholder, word)
    return text


def _suggestion(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-0123456789") or "trip"


def _written(kind: str, name: str, files: list[Path]) -> Group:
    steps = [step.format(name=name, module=_words(name)["@module@"]) for step in NEXT[kind]]
    return Group(
        *(Text.assemble(("wrote ", "ok"), str(file)) for file in files),
        Text("next:", "quiet"),
        *(Text(f"  {step}") for step in steps),
    )
