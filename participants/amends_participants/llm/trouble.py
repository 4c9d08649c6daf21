"""What went wrong between us and a provider, in the three words of the contract.

`busy`, `refused` and `unpriced` are known to have used nothing; `unknown` may have been paid for.
Texts name model, status and code, never what was asked or answered.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from pydantic_ai import exceptions as said


class Kind(StrEnum):
    """What it means for the call."""

    BUSY = "busy"
    """Nothing was used: later it may be answered."""
    REFUSED = "refused"
    """Nothing was used, and asking again will not help."""
    UNPRICED = "unpriced"
    """Money is limited, and nobody knows what it costs: it was not asked."""
    FILTERED = "filtered"
    """The model, or a filter before it, does not answer this."""
    UNKNOWN = "unknown"
    """It may have been answered, and paid for."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a model gave no answer."""

    kind: Kind
    text: str
    retry_after_s: float | None = None


_BUSY: Final = (said.ModelRateLimitError, said.ModelUnavailableError)
_REFUSED: Final = (said.ModelQuotaExceededError, said.ModelRequestRejectedError, said.UserError)
_NOT_SENT: Final = frozenset({"pool", "connect"})


def trouble(model: str, error: Exception) -> Trouble:
    """What an exception of a model's call says; a stranger's is `unknown`."""
    text = f"{model}: {_named(error)}"
    match error:
        case said.ContentFilterError():
            return Trouble(Kind.FILTERED, text)
        case said.ModelAPIError() if isinstance(error, _BUSY):
            return Trouble(Kind.BUSY, text, error.retry_after)
        case said.ModelConnectionError(phase=phase) if phase in _NOT_SENT:
            return Trouble(Kind.BUSY, text)
        case said.ModelHTTPError(status_code=status) if 400 <= status < 500 and status != 408:
            return Trouble(Kind.REFUSED, text)
        case _ if isinstance(error, _REFUSED):
            return Trouble(Kind.REFUSED, text)
        case _:
            return Trouble(Kind.UNKNOWN, text)


def _named(error: Exception) -> str:
    name = type(error).__name__
    if not isinstance(error, said.ModelAPIError):
        return name
    status = f" {error.status_code}" if isinstance(error, said.ModelHTTPError) else ""
    code = f" ({error.provider_error_code})" if error.provider_error_code else ""
    return f"{name}{status}{code}"
