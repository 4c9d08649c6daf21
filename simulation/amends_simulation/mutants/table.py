"""What a deliberate bug is: patches of the real code at run time, and the table of them all."""

import importlib
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final
from unittest.mock import patch

Patch = tuple[str, str, Any]
"""Where it is (`module` or `module:class`), its name, and what it is instead."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One bug."""

    name: str
    says: str
    """What is wrong with it, in a sentence."""
    patches: Callable[[], Sequence[Patch]]

    @contextmanager
    def applied(self) -> Generator[None]:
        """The code with this bug."""
        with ExitStack() as stack:
            for owner, name, value in self.patches():
                stack.enter_context(patch.object(_owner(owner), name, value))
            yield


def _owner(where: str) -> Any:
    module, _, name = where.partition(":")
    owner = importlib.import_module(module)
    return getattr(owner, name) if name else owner


def real(where: str, name: str) -> Any:
    """The real thing, to be called by what replaces it."""
    return getattr(_owner(where), name)


MUTANTS: Final[dict[str, Mutant]] = {}


def mutant(make: Callable[[], Sequence[Patch]]) -> Callable[[], Sequence[Patch]]:
    """Add a bug to the table, by the name of its function and what it says."""
    name = make.__name__.replace("_", "-")
    MUTANTS[name] = Mutant(name, (make.__doc__ or "").strip(), make)
    return make


def answers(value: Any) -> Callable[..., Any]:
    return lambda *_, **__: value


def answers_later(value: Any) -> Callable[..., Any]:
    async def answer(*_: Any, **__: Any) -> Any:
        return value

    return answer


def found(bug: Mutant, seeds: Sequence[int], run: Callable[[int], Any]) -> int | None:
    """The first of these seeds at which the bug breaks a promise."""
    with bug.applied():
        return next((seed for seed in seeds if run(seed).violations), None)
