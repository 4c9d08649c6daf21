"""Schemas of what participants read and write: headers, special bodies, envelopes, `hello`."""

from typing import Any, Final

from amends_contracts.codec.batches import BATCH_MEMBERS_MAX
from amends_contracts.messages import ActionOutcome, Effect, Outcome, ProbeEffect, Reversal
from amends_contracts.names import Op
from amends_contracts.schemas.parts import (
    ANY,
    COMMAND,
    DURATION,
    KEY,
    NAME,
    OBJECT,
    SAGA_ID,
    TEXT,
    TIME,
    WIRE,
    Schema,
    integer,
    one_of,
    record,
)

_HEADER_TEXT: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": 1024}
_TRACE: Final[dict[str, Schema]] = {
    "traceparent": {"type": "string"},
    "tracestate": {"type": "string"},
    "baggage": {"type": "string"},
}
_COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
_FLAG: Final[Schema] = {"anyOf": [{"type": "boolean"}, {"enum": ["true", "false"]}]}


def _needs(ops: list[Op], *headers: str) -> Schema:
    of = {"properties": {"amends-op": {"enum": [op.value for op in ops]}}}
    return {"if": of, "then": {"required": list(headers)}}


_WITH_KEY: Final = [op for op in Op if op is not Op.FORGET]
_COMMAND_HEADERS: Final[Schema] = {
    **record(
        "Headers of a command.",
        {"amends-op": one_of(Op), "amends-wire": WIRE},
        {
            "amends-key": KEY,
            "amends-digest": _HEADER_TEXT,
            "amends-compensates": KEY,
            "amends-action-outcome": one_of(ActionOutcome),
            "amends-attempt": integer(1),
            "amends-deadline": TIME,
            "amends-token": _HEADER_TEXT,
            "amends-definition": _HEADER_TEXT,
            "amends-tenant": _HEADER_TEXT,
            **_TRACE,
        },
        closed=False,
    ),
    "allOf": [
        _needs(_WITH_KEY, "amends-key", "amends-attempt"),
        _needs([Op.ACTION, Op.COMPENSATION, Op.TURN], "amends-digest"),
        _needs([Op.COMPENSATION, Op.PROBE], "amends-compensates"),
        _needs([Op.COMPENSATION], "amends-action-outcome"),
    ],
}
_INFO: Final = record(
    "What is known of a command.",
    {"effect": one_of(Effect), "reversal": one_of(Reversal)},
    {
        "input": {"type": ["object", "null"], "description": "JSON Schema of the body"},
        "output": {"type": ["object", "null"], "description": "JSON Schema of the output"},
        "compensation": COMMAND,
        "probe": {"type": "boolean"},
    },
    closed=False,
)
_EFFECT_OF_LEDGER: Final[dict[str, Any]] = {"enum": ["present", "undone", "unknown"]}

PARTICIPANT_SCHEMAS: Final[dict[str, Schema]] = {
    "command-headers": _COMMAND_HEADERS,
    "reply-headers": record(
        "Headers of a reply.",
        {"amends-key": KEY, "amends-attempt": integer(1), "amends-outcome": one_of(Outcome)},
        {
            "amends-token": _HEADER_TEXT,
            "amends-retryable": _FLAG,
            "amends-retry-after": integer(0),
            "amends-usage": {
                "type": "string",
                "contentMediaType": "application/json",
                "description": "see the schema `usage`",
            },
            "amends-wire": WIRE,
            **_TRACE,
        },
        closed=False,
    ),
    "usage": record(
        "What a metered step consumed; `usd` null if the price is unknown.",
        {
            "input_tokens": _COUNT,
            "output_tokens": _COUNT,
            "usd": {"type": ["number", "null"], "minimum": 0},
            "model": TEXT,
        },
        {
            "calls": {**_COUNT, "description": "requests to models; 1 if it is not said"},
            "lost": {**_COUNT, "description": "calls of which nobody can tell the usage"},
            "answered_by": {"type": "string", "description": "as the provider names the model"},
            "prompt_digest": {"type": "string", "description": "SHA-256 of what was asked"},
        },
        closed=False,
    ),
    "compensation": record(
        "Default body of a compensation.",
        {"input": OBJECT, "output": {"type": ["object", "null"]}},
        closed=False,
    ),
    "probe": record("Body of a probe.", {"input": OBJECT}, closed=False),
    "probe-output": record(
        "Output of a probe that succeeded.",
        {"effect": one_of(ProbeEffect)},
        {"output": ANY},
        closed=False,
    ),
    "ledger-output": record(
        "Output of a ledger query: the effects of the saga that the service holds.",
        {
            "effects": {
                "type": "array",
                "items": record(
                    "One effect.",
                    {"key": KEY, "command": COMMAND, "effect": _EFFECT_OF_LEDGER},
                    {"output": ANY},
                    closed=False,
                ),
            }
        },
        closed=False,
    ),
    "forget": record(
        "Sagas that are over: their keys may go in seven days.",
        {"sagas": {"type": "array", "items": SAGA_ID, "minItems": 1}},
        closed=False,
    ),
    "ref": record(
        "A body by reference (content type application/vnd.amends.ref+json).",
        {
            "ref": {"type": "string", "format": "uri"},
            "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
            "bytes": _COUNT,
        },
        closed=False,
    ),
    "batch": {
        "description": "An envelope (content type application/vnd.amends.batch+json).",
        "type": "array",
        "minItems": 1,
        "maxItems": BATCH_MEMBERS_MAX,
        "items": record(
            "A command or reply.",
            {
                "properties": {
                    "type": "object",
                    "properties": {
                        name: {"type": "string"}
                        for name in (
                            "message_id",
                            "correlation_id",
                            "reply_to",
                            "type",
                            "content_type",
                        )
                    },
                    "additionalProperties": False,
                },
                "headers": OBJECT,
                "body": ANY,
            },
            closed=False,
        ),
    },
    "hello": record(
        "What a participant instance says of itself, at start and every 30 seconds.",
        {
            "service": NAME,
            "instance": TEXT,
            "commands": {
                "type": "object",
                "propertyNames": COMMAND,
                "additionalProperties": _INFO,
            },
        },
        {
            "sdk": TEXT,
            "accepts": {"type": "array", "items": TEXT, "examples": [["batch", "ref"]]},
            "horizon": DURATION,
        },
        closed=False,
    ),
}
