"""Reading a definition from where its author keeps it: a document, or a Plan in Python code.

A fault in the author's code is said with the author's own file and line, not ours.
"""

import importlib
import sys
import traceback
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from pydantic import ValidationError

from amends_contracts.definition import Definition
from amends_contracts.documents import (
    BadDocument,
    Document,
    describe,
    dump_definition,
    load_document,
)
from amends_contracts.messages import CommandInfo
from amends_contracts.plan import Plan, PlanError
from amends_contracts.problems import FieldError
from amends_orchestrator.cli.exits import CliError, Exit

DOCUMENTS = frozenset({".json", ".yaml", ".yml"})


@dataclass(frozen=True, slots=True)
class Source:
    """A definition, and the Plan or text it came from, which knows the author's lines."""

    definition: Definition
    origin: Plan[Any] | Document

    @property
    def title(self) -> str:
        """`book-trip@1`."""
        return f"{self.definition.name}@{self.definition.version}"

    @property
    def document(self) -> Any:
        """What is registered."""
        return dump_definition(self.definition)

    @property
    def commands(self) -> Mapping[str, CommandInfo]:
        """What is known of its commands without a service: a Plan's classes say it."""
        return {} if isinstance(self.origin, Document) else self.origin.commands

    @property
    def resolved(self) -> Definition:
        """The definition with what its commands say made explicit."""
        from amends_orchestrator.core.resolve import resolve

        return resolve(self.definition, self.commands)

    def verify(self) -> tuple[FieldError, ...]:
        """What the verifier finds, without a service."""
        from amends_orchestrator.cel import CelExpressions
        from amends_orchestrator.core.verify import verify

        return self.origin.located(verify(self.definition, self.commands, CelExpressions()))


def load(reference: str) -> Source:
    """A .json, .yaml or .py file (`file.py:plan` where it holds several), or `module:plan`."""
    file, colon, attribute = reference.rpartition(":")
    if not colon or len(file) == 1:  # `C:\…` on Windows
        file, attribute = reference, ""
    path = Path(file)
    if path.suffix in DOCUMENTS:
        return _from_document(path)
    if path.suffix == ".py":
        _must_be_file(path)
        return _from_module(import_file(path), attribute, reference)
    if attribute:
        return _from_module(import_module(file), attribute, reference)
    raise CliError(
        f"{reference!r} names no definition.",
        "Give a .json, .yaml or .py file, or `module:plan`.",
        exit_code=Exit.USAGE,
    )


@contextmanager
def on_path(*folders: Path) -> Generator[None]:
    """Import from these folders first."""
    added = [str(folder) for folder in folders]
    sys.path[:0] = added
    try:
        yield
    finally:
        for folder in added:
            sys.path.remove(folder)


def _from_document(path: Path) -> Source:
    _must_be_file(path)
    try:
        document = load_document(path)
    except BadDocument as error:
        said = "\n".join(describe(e) for e in error.errors)
        raise CliError(said, exit_code=Exit.USAGE) from error
    return Source(document.definition, document)


def _from_module(module: ModuleType, attribute: str, reference: str) -> Source:
    if attribute:
        plan = getattr(module, attribute, None)
        if not isinstance(plan, Plan):
            raise _no_plan(f"{reference}: {attribute!r} is not a Plan")
        return from_plan(cast(Plan[Any], plan))
    plans = plans_in(module)
    if len(plans) != 1:
        raise _no_plan(f"{reference} holds {len(plans) or 'no'} plans")
    return from_plan(plans[0])


def plans_in(module: ModuleType) -> list[Plan[Any]]:
    """The plans that a module holds, each once."""
    found: dict[int, Plan[Any]] = {}
    for value in vars(module).values():
        if isinstance(value, Plan):
            plan = cast(Plan[Any], value)
            found[id(plan)] = plan
    return list(found.values())


def from_plan(plan: Plan[Any]) -> Source:
    """The plan's definition; CliError with the author's line where it cannot be one."""
    try:
        return Source(plan.document(), plan)
    except PlanError as error:
        raise CliError(str(error), exit_code=Exit.USAGE) from error


def import_file(path: Path) -> ModuleType:
    """Import a file under the name it has in its package, so that its own imports work."""
    resolved = path.resolve()
    names = [resolved.stem]
    folder = resolved.parent
    while (folder / "__init__.py").exists():
        names.insert(0, folder.name)
        folder = folder.parent
    if names[-1] == "__init__":
        names.pop()
    with on_path(folder):
        return import_module(".".join(names))


def import_module(name: str) -> ModuleType:
    """Import by name, also from the working folder; the author's errors as CliError."""
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise _their_fault(error, name) from error


def _their_fault(error: Exception, name: str) -> CliError:
    """The last line of the author's own code that led to the error."""
    if isinstance(error, PlanError):
        return CliError(str(error), exit_code=Exit.USAGE)
    if isinstance(error, ModuleNotFoundError) and error.name and name.startswith(error.name):
        return CliError(
            f"There is no module {error.name!r} here.",
            "Run it from the folder the module lies in, or name the .py file.",
            exit_code=Exit.USAGE,
        )
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [f for f in frames if not _ours(f.filename)]
    place = f"{_short(theirs[-1].filename)}:{theirs[-1].lineno}: " if theirs else f"{name}: "
    if isinstance(error, SyntaxError) and error.filename:
        place = f"{_short(error.filename)}:{error.lineno}: "
    code = f"\n    {theirs[-1].line}" if theirs and theirs[-1].line else ""
    return CliError(f"{place}{_said(error)}{code}", exit_code=Exit.USAGE)


def _said(error: Exception) -> str:
    """One line of it; a model that refuses its fields says which, without pydantic's prose."""
    if isinstance(error, ValidationError):
        wrong = (f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        return f"{error.title}: {'; '.join(wrong)}"
    return f"{type(error).__name__}: {error}"


def _ours(filename: str) -> bool:
    return filename.startswith("<frozen") or any(
        part in filename for part in ("importlib", "amends_", "site-packages")
    )


def _short(filename: str) -> str:
    path = Path(filename)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else filename


def _must_be_file(path: Path) -> None:
    if not path.is_file():
        raise CliError(f"There is no file {path}.", exit_code=Exit.USAGE)


def _no_plan(what: str) -> CliError:
    return CliError(
        f"{what}.", "Name it: file.py:plan, where `plan = Plan(…)`.", exit_code=Exit.USAGE
    )
