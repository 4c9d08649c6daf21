"""Replies: participant -> orchestrator. The body is the output, or a problem."""

import json
from math import ceil, isfinite
from typing import Any, Final, cast

from amends_contracts.amqp import AmqpMessage, HeaderValue
from amends_contracts.codec.headers import (
    ATTEMPT,
    KEY,
    TOKEN,
    BadBody,
    Headers,
    WireError,
    boolean,
    check_size,
    check_wire,
    integer,
    json_object,
    optional_text,
    refused,
    saga_property,
    text,
    text_property,
    trace_of,
    write_trace,
)
from amends_contracts.messages import (
    JSON_TYPE,
    REF_TYPE,
    Json,
    Outcome,
    Reply,
    Usage,
    holds_nul,
    to_body,
)
from amends_contracts.names import Key, MessageId, is_command_name, split_key
from amends_contracts.problems import PROBLEM_CONTENT_TYPE
from amends_contracts.topology import Topology

OUTCOME: Final = "amends-outcome"
RETRYABLE: Final = "amends-retryable"
RETRY_AFTER: Final = "amends-retry-after"
USAGE: Final = "amends-usage"
USAGE_CHARS_MAX: Final = 2048

_OUTCOMES: Final = {outcome.value: outcome for outcome in Outcome}
_CONTENT_TYPES: Final = frozenset({JSON_TYPE, REF_TYPE, PROBLEM_CONTENT_TYPE})
USAGE_TEXT_CHARS_MAX: Final = 200


def encode_reply(reply: Reply, routing_key: str, topology: Topology) -> AmqpMessage:
    """The reply as it is published to the command's `reply_to`."""
    check_size(reply.body)
    headers: dict[str, HeaderValue] = {
        KEY: reply.key,
        ATTEMPT: reply.attempt,
        OUTCOME: reply.outcome.value,
    }
    if reply.token is not None:
        headers[TOKEN] = reply.token
    if reply.retryable:
        headers[RETRYABLE] = True
    if reply.retry_after_s is not None:
        headers[RETRY_AFTER] = ceil(reply.retry_after_s)
    if reply.usage is not None:
        headers[USAGE] = _usage_text(reply.usage)
    if reply.trace is not None:
        write_trace(headers, reply.trace)
    return AmqpMessage(
        exchange=topology.replies,
        routing_key=routing_key,
        body=reply.body,
        message_id=text_property(reply.message_id, "message_id"),
        type=reply.type,
        correlation_id=reply.saga_id,
        content_type=reply.content_type,
        headers=headers,
    )


def decode_reply(message: AmqpMessage) -> Reply:
    """Take a reply apart; whether its service may speak for the step is the caller's check.

    BadBody, a WireError too, carries the reply with the body `{}`.
    """
    headers: Headers = message.headers
    check_wire(headers, required=False)
    saga_id = saga_property(message.correlation_id)
    name = message.type
    if not name or not is_command_name(name):
        raise refused("property type", "a command name <service>.<verb>", name)
    key = text(headers, KEY)
    _check_key(key, saga_id)
    outcome = _OUTCOMES.get(headers.get(OUTCOME))  # type: ignore[arg-type]  # any value may be asked for
    if outcome is None:
        raise refused(f"header {OUTCOME}", " | ".join(_OUTCOMES), headers.get(OUTCOME))
    content_type = message.content_type
    if content_type not in _CONTENT_TYPES:
        raise refused(
            "property content_type", f"{JSON_TYPE} or {PROBLEM_CONTENT_TYPE}", content_type
        )
    body, wrong = _body(message.body)
    reply = Reply(
        saga_id=saga_id,
        type=name,
        key=Key(key),
        attempt=integer(headers, ATTEMPT, 1),
        token=optional_text(headers, TOKEN),
        message_id=MessageId(text_property(message.message_id, "message_id")),
        outcome=outcome,
        body=message.body if wrong is None else b"{}",
        retryable=RETRYABLE in headers and boolean(headers, RETRYABLE, default=False),
        retry_after_s=float(integer(headers, RETRY_AFTER, 0)) if RETRY_AFTER in headers else None,
        usage=_usage(headers[USAGE]) if USAGE in headers else None,
        trace=trace_of(message),
        content_type=content_type,
        read=body,
    )
    if wrong is not None:
        raise BadBody(wrong, reply)
    return reply


def _body(body: bytes) -> tuple[Json, str | None]:
    """The decoded body, or why it is none."""
    try:
        return json_object(body), None
    except WireError as error:
        return {}, error.reason


def _check_key(key: str, saga_id: str) -> None:
    try:
        of, _, _ = split_key(key)
    except ValueError:
        raise refused(f"header {KEY}", "a key <saga_id>/<step path>/<op>", key) from None
    if of != saga_id:
        raise refused(f"header {KEY}", f"a key of saga {saga_id}, the correlation_id", key)


def _usage_text(usage: Usage) -> str:
    return to_body(usage.to_json()).decode()


def _usage(value: object) -> Usage:
    """`usd` may be null: the price is unknown. Everything else must be there."""
    if not isinstance(value, str) or len(value) > USAGE_CHARS_MAX:
        raise refused(f"header {USAGE}", f"JSON text of at most {USAGE_CHARS_MAX}", value)
    try:
        members: Any = json.loads(value)
    except (ValueError, RecursionError):
        raise refused(f"header {USAGE}", "a JSON object", value) from None
    if not isinstance(members, dict):
        raise refused(f"header {USAGE}", "a JSON object", value)
    if holds_nul(value.encode()):
        raise refused(f"header {USAGE}", "texts without U+0000", value)
    read = cast(dict[str, Any], members)
    usd, model = read.get("usd"), read.get("model")
    if usd is not None and not _is_amount(usd):
        raise refused(f"header {USAGE}, member usd", "an amount >= 0 or null", usd)
    if not isinstance(model, str) or not model:
        raise refused(f"header {USAGE}, member model", "a text", model)
    return Usage(
        _tokens(read, "input_tokens"),
        _tokens(read, "output_tokens"),
        None if usd is None else float(usd),
        model,
        calls=_tokens(read, "calls") if "calls" in read else 1,
        lost=_tokens(read, "lost") if "lost" in read else 0,
        answered_by=_optional_text(read, "answered_by"),
        prompt_digest=_optional_text(read, "prompt_digest"),
    )


def _optional_text(members: dict[str, Any], name: str) -> str | None:
    value = members.get(name)
    if value is not None and (not isinstance(value, str) or len(value) > USAGE_TEXT_CHARS_MAX):
        wanted = f"a text of at most {USAGE_TEXT_CHARS_MAX}"
        raise refused(f"header {USAGE}, member {name}", wanted, value)
    return value


def _is_amount(value: object) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return isfinite(value) and value >= 0


def _tokens(members: dict[str, Any], name: str) -> int:
    value = members.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 2**53:
        raise refused(f"header {USAGE}, member {name}", "a number of tokens", value)
    return value
