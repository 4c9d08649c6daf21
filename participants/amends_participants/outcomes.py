"""What a handler raises to say how its command ended, when it did not succeed."""

from dataclasses import replace
from math import isnan
from typing import Final

from amends_contracts.messages import JSON_TYPE, Outcome, to_body
from amends_contracts.problems import PROBLEM_CONTENT_TYPE, FieldError, Problem, ProblemType
from amends_participants.barrier.rules import Answer

DETAIL_CHARS_MAX: Final = 4000
"""Of a problem's detail: a page for a person, in a journal that keeps one of every attempt."""
TYPE_CHARS_MAX: Final = 200
TITLE_CHARS_MAX: Final = 300
RETRY_AFTER_S_MAX: Final = 2**31 - 1
"""What the header `amends-retry-after` can say."""


class Failed(Exception):  # a word of the contract, raised like a return value
    """The handler knows that nothing changed: `raise Failed("sold-out", "no seat to Lisbon")`.

    `type` is what plans and people recognise it by; `retryable` lets the orchestrator try again,
    after `retry_after` seconds at the earliest. In a `transactional` handler everything written
    through `tx` is rolled back; outside the database, raise it only where that is certain.
    """

    def __init__(
        self,
        type: str,  # noqa: A002 - the member's name in RFC 9457
        detail: str | None = None,
        *,
        title: str = "",
        retryable: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"{type}: {detail}" if detail else type)
        self.problem = Problem(type=type, title=title, detail=detail)
        self.retryable = retryable or retry_after is not None
        self.retry_after = retry_after


class Unknown(Exception):
    """The handler cannot tell whether anything changed: a time-out, a 5xx, a lost answer.

    In a `transactional` handler there is no such doubt: all is rolled back, and it is tried again.
    """

    def __init__(self, type: str, detail: str | None = None, *, title: str = "") -> None:  # noqa: A002 - as above
        super().__init__(f"{type}: {detail}" if detail else type)
        self.problem = Problem(type=type, title=title, detail=detail)


def failed(
    problem: Problem, *, retryable: bool = False, retry_after_s: float | None = None
) -> Answer:
    """The answer `failed`."""
    return Answer(
        outcome=Outcome.FAILED,
        body=_body(problem),
        retryable=retryable,
        retry_after_s=_seconds(retry_after_s),
    )


def unknown(problem: Problem) -> Answer:
    """The answer `unknown`."""
    return Answer(outcome=Outcome.UNKNOWN, body=_body(problem))


def _body(problem: Problem) -> bytes:
    """A problem as it can travel, whatever a handler has put into it: short, and text."""
    detail = problem.detail
    said = {
        "type": _text(problem.type, TYPE_CHARS_MAX),
        "title": _text(problem.title, TITLE_CHARS_MAX),
        "detail": None if detail is None else _text(detail, DETAIL_CHARS_MAX),
    }
    return to_body(problem.model_copy(update=said).to_json())


def _text(text: str, limit: int) -> str:
    """At most so many characters; what is none (half of a pair, of a file's name) is replaced."""
    return text[:limit].encode(errors="replace").decode()


def _seconds(retry_after_s: float | None) -> float | None:
    """What can be said of a time that is over already, or never comes."""
    if retry_after_s is None or isnan(retry_after_s):
        return None
    return min(max(retry_after_s, 0.0), float(RETRY_AFTER_S_MAX))


def crashed(error: BaseException, *, rolled_back: bool) -> Answer:
    """What an exception that is neither Failed nor Unknown amounts to.

    Rolled back: nothing changed, and another attempt may do better. Otherwise: in doubt. Only the
    first line of its text travels; drivers put parameters on the others.
    """
    first = str(error).strip().partition("\n")[0][:300]
    title = "the handler raised; rolled back" if rolled_back else "the handler raised midway"
    detail = f"{type(error).__name__}: {first}" if first else type(error).__name__
    problem = Problem(type=ProblemType.CRASHED, title=title, detail=detail)
    return failed(problem, retryable=True) if rolled_back else unknown(problem)


def refusal(
    kind: ProblemType, detail: str, errors: tuple[FieldError, ...] = (), *, retryable: bool = False
) -> Answer:
    """A `failed` of the SDK itself."""
    return failed(Problem(type=kind, detail=detail, errors=errors), retryable=retryable)


FENCED = Answer(
    outcome=Outcome.FENCED,
    body=to_body({"type": ProblemType.FENCED, "title": "the compensation was here first"}),
)
SUCCEEDED = Answer(outcome=Outcome.SUCCEEDED)


def content_type_of(answer: Answer) -> str:
    """Outputs are JSON, everything else is a problem."""
    settled = answer.outcome in {Outcome.SUCCEEDED, Outcome.PROGRESS}
    return JSON_TYPE if settled else PROBLEM_CONTENT_TYPE


def with_retry_after(answer: Answer, seconds: float) -> Answer:
    """The same answer, asking for some patience."""
    return replace(answer, retry_after_s=seconds)
