"""Reading AMQP properties, headers and bodies: what each may look like, and how a refusal reads.

Writers use the types of the contract (integers, booleans, strings); readers also accept decimal
strings and `"true"` / `"false"`, because some clients cannot write anything else.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from math import isfinite
from typing import Any, Final, TypeVar, cast

from pydantic_core import from_json

from amends_contracts.amqp import AmqpMessage
from amends_contracts.messages import WIRE_VERSION, Json, Trace, holds_nul
from amends_contracts.names import BODY_BYTES_MAX, SagaId

WIRE: Final = "amends-wire"
KEY: Final = "amends-key"
ATTEMPT: Final = "amends-attempt"
TOKEN: Final = "amends-token"  # noqa: S105  # the header's name

PROPERTY_BYTES_MAX: Final = 255
"""AMQP's own limit of a short string (message_id, type, reply_to, …)."""
HEADER_CHARS_MAX: Final = 1024
"""Of a text header of ours; trace headers and usage have their own limits."""
TRACE_CHARS_MAX: Final = 8192
INTEGER_MAX: Final = 2**31 - 1
"""Of `amends-attempt` and `amends-retry-after`: what any participant's store can hold."""

_is_uuid = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}").fullmatch
_is_integer = re.compile(r"-?[0-9]{1,10}").fullmatch
_is_traceparent = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}.*").fullmatch

_maybe_infinite = re.compile(rb"[eE]\+?[0-9]{3}|[0-9]{309}").search
"""JSON such as 1e400 is read as an infinity, which no JSON can be written for."""

Headers = Mapping[str, object]
E = TypeVar("E", bound=StrEnum)


class WireError(ValueError):
    """The message does not follow the wire contract; `reason` says where and what was expected."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class BadBody(WireError):
    """Only the body is wrong; `message` is the rest, decoded, with `{}` for a body.

    So a step can be told of it although the message itself goes to the dead letters.
    """

    def __init__(self, reason: str, message: Any) -> None:
        super().__init__(reason)
        self.message = message


def refused(where: str, expected: str, got: object) -> WireError:
    """The one form of a refusal: place, what was expected, what was there."""
    shown = "nothing" if got is None else repr(got)
    return WireError(
        f"{where}: expected {expected}, got {shown if len(shown) <= 80 else shown[:77] + '...'}"
    )


def text_property(value: str | None, where: str, limit: int = PROPERTY_BYTES_MAX) -> str:
    """A property that must be there, of at most `limit` bytes."""
    if not value:
        raise refused(f"property {where}", "a text", value)
    if len(value) * 4 > limit and len(value.encode()) > limit:
        raise refused(f"property {where}", f"at most {limit} bytes", value)
    return _kept(value, f"property {where}")


def saga_property(value: str | None) -> SagaId:
    """The correlation id, which is the saga's."""
    if not value or not _is_uuid(value):
        raise refused("property correlation_id", "a saga id (UUID in lower case)", value)
    return SagaId(value)


def is_saga_id(text: str) -> bool:
    """Whether `text` is a UUID in canonical form."""
    return _is_uuid(text) is not None


def text(headers: Headers, name: str) -> str:
    """A text header that must be there."""
    value = headers.get(name)
    if not isinstance(value, str) or not value or len(value) > HEADER_CHARS_MAX:
        raise refused(f"header {name}", f"a text of at most {HEADER_CHARS_MAX} characters", value)
    return _kept(value, f"header {name}")


def optional_text(headers: Headers, name: str) -> str | None:
    """A text header, or None where it is not set."""
    value = headers.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= HEADER_CHARS_MAX:
        raise refused(f"header {name}", f"a text of at most {HEADER_CHARS_MAX} characters", value)
    return _kept(value, f"header {name}")


def _kept(value: str, where: str) -> str:
    if "\0" in value:
        raise refused(where, "a text without U+0000", value)
    return value


def integer(headers: Headers, name: str, least: int) -> int:
    """An integer header that must be there: any AMQP integer, or a decimal string."""
    value = headers.get(name)
    if value.__class__ is str and _is_integer(str(value)):
        value = int(str(value))
    if not isinstance(value, int) or value is True or value is False:
        raise refused(f"header {name}", "an integer", value)
    if not least <= value <= INTEGER_MAX:
        raise refused(f"header {name}", f"an integer from {least} to {INTEGER_MAX}", value)
    return value


def boolean(headers: Headers, name: str, default: bool) -> bool:
    """A boolean header, or its string form."""
    value = headers.get(name, default)
    if value is True or value is False:
        return value
    if value in ("true", "false"):
        return value == "true"
    raise refused(f"header {name}", "true or false", value)


def choice(value: object, where: str, among: type[E]) -> E:
    """A member of a closed vocabulary."""
    try:
        return among(value)
    except ValueError:
        expected = " | ".join(among)
        raise refused(where, expected, value) from None


def time(headers: Headers, name: str) -> datetime | None:
    """An RFC 3339 time with its offset, or None where it is not set."""
    value = optional_text(headers, name)
    return None if value is None else parse_time(value, f"header {name}")


def parse_time(value: str, where: str) -> datetime:
    """RFC 3339; the offset is required."""
    try:
        parsed = datetime.fromisoformat(value)
    except ValueError:
        parsed = None
    if parsed is None or parsed.tzinfo is None or len(value) < 20:
        raise refused(where, "an RFC 3339 time such as 2026-01-31T12:00:00Z", value)
    return parsed


def format_time(value: datetime) -> str:
    """RFC 3339 with the offset as it is; UTC is written `Z`."""
    assert value.tzinfo is not None, "times on the wire are timezone-aware"
    written = value.isoformat()
    return f"{written[:-6]}Z" if written.endswith("+00:00") else written


def check_wire(headers: Headers, *, required: bool) -> None:
    """Refuse another version of the contract."""
    value = headers.get(WIRE)
    if value == WIRE_VERSION and value is not True:
        return
    if value is None and not required:
        return
    if value != str(WIRE_VERSION):
        raise refused(f"header {WIRE}", f"version {WIRE_VERSION} of the contract", value)


def trace_of(message: AmqpMessage) -> Trace | None:
    """The trace context of a message; one that W3C does not allow is as good as none."""
    headers: Headers = message.headers
    parent = headers.get("traceparent")
    if not isinstance(parent, str) or "\0" in parent or not _is_traceparent(parent):
        return None
    return Trace(parent, _advice(headers, "tracestate"), _advice(headers, "baggage"))


def _advice(headers: Headers, name: str) -> str | None:
    value = headers.get(name)
    if not isinstance(value, str) or "\0" in value:
        return None
    return value if 0 < len(value) <= TRACE_CHARS_MAX else None


def write_trace(headers: dict[str, Any], trace: Trace) -> None:
    """Set the W3C headers."""
    headers["traceparent"] = trace.traceparent
    if trace.tracestate is not None:
        headers["tracestate"] = trace.tracestate
    if trace.baggage is not None:
        headers["baggage"] = trace.baggage


def check_size(body: bytes) -> None:
    """Refuse a body that may not travel inline."""
    if len(body) > BODY_BYTES_MAX:
        raise WireError(f"body: expected at most {BODY_BYTES_MAX} bytes, got {len(body)}")


def json_object(body: bytes) -> dict[str, Json]:
    """The body as a JSON object: UTF-8, no NaN, lone surrogates or U+0000, at most 200 levels."""
    check_size(body)
    try:
        value: Any = from_json(body, allow_inf_nan=False, cache_strings="keys")
    except ValueError as error:
        raise WireError(f"body: expected a JSON object, but {error}") from None
    if type(value) is not dict:
        raise refused("body", "a JSON object", value)
    if holds_nul(body):
        raise WireError("body: expected texts that a database can keep, got one with U+0000")
    if _maybe_infinite(body) and not _finite(value):
        raise WireError("body: expected numbers that a double can hold, got one beyond")
    return cast(dict[str, Json], value)


def _finite(value: Any) -> bool:
    if isinstance(value, float):
        return isfinite(value)
    if isinstance(value, dict):
        return all(map(_finite, cast(dict[str, Json], value).values()))
    return not isinstance(value, list) or all(map(_finite, cast(list[Json], value)))
