"""What a client's call can end with instead of its answer. The docstring is the message."""

import inspect
from typing import Any

from amends_contracts.problems import Problem


class AmendsError(Exception):
    """A call of the Amends client did not give what was asked for."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(inspect.cleandoc(type(self).__doc__ or "").format(**fields))


class Refused(AmendsError):
    """Amends refused: {text}"""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        """What was wrong; recognised by its `type`, such as `amends:key-conflict`."""
        super().__init__(text=_text(problem))


class Unavailable(AmendsError):
    """No answer from Amends at {where}: {reason}. Whether it was done is not known; the same call
    again, with the same key, is safe.
    """

    def __init__(self, where: str, reason: str) -> None:
        self.where = where
        self.reason = reason
        super().__init__(where=where, reason=reason)


class Compensated(AmendsError):
    """Saga {saga_id} failed, and what it had done was taken back: {text}"""

    def __init__(self, saga_id: str, failure: Problem, view: dict[str, Any]) -> None:
        self.saga_id = saga_id
        self.failure = failure
        """The first failure."""
        self.view = view
        """The saga as REST shows it; `residue` lists effects that stay in the world."""
        super().__init__(saga_id=saga_id, text=_text(failure))


class Stuck(AmendsError):
    """Saga {saga_id} is stuck and waits for an operator (amends show {saga_id}): {text}"""

    def __init__(self, saga_id: str, failure: Problem, view: dict[str, Any]) -> None:
        self.saga_id = saga_id
        self.failure = failure
        self.view = view
        super().__init__(saga_id=saga_id, text=_text(failure))


class NotEnded(AmendsError, TimeoutError):
    """Saga {saga_id} is still {status} after {timeout_s:g} s; it goes on, ask again later."""

    def __init__(self, saga_id: str, status: str, timeout_s: float) -> None:
        self.saga_id = saga_id
        self.status = status
        self.timeout_s = timeout_s
        super().__init__(saga_id=saga_id, status=status, timeout_s=timeout_s)


class NoAddress(AmendsError):
    """No address of {what} is known. Give Amends({argument}=…), set {variable}, or run `amends up`
    in this folder or one above.
    """

    def __init__(self, what: str, argument: str, variable: str) -> None:
        super().__init__(what=what, argument=argument, variable=variable)


class BadAddress(AmendsError):
    """{url} is no address of Amends: give http:// or https:// (REST), or amqp:// or amqps://."""

    def __init__(self, url: str) -> None:
        super().__init__(url=url)


class WrongVerb(AmendsError):
    """{verb} is not served over REST; give Amends the address of the broker."""

    def __init__(self, verb: str) -> None:
        super().__init__(verb=verb)


def _text(problem: Problem) -> str:
    """Type, what happened, and the offending fields, on one line."""
    said = problem.detail or problem.title
    fields = "; ".join(f"{error.path}: {error.reason}" for error in problem.errors)
    parts = [problem.type, said, fields if fields not in said else ""]
    return " – ".join(part for part in parts if part)
