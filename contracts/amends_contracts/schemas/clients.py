"""Schemas of client verbs, their answer, and lifecycle events."""

from typing import Final

from amends_contracts.codec.members import LABELS_MAX
from amends_contracts.messages import Effect, Outcome, Reversal
from amends_contracts.schemas.parts import (
    ANY,
    COMMAND,
    DURATION,
    NAME,
    PROSE,
    SAGA_ID,
    TEXT,
    VERSION,
    Schema,
    one_of,
    record,
)

_LABELS: Final[Schema] = {
    "type": "object",
    "additionalProperties": TEXT,
    "maxProperties": LABELS_MAX,
}
_SIGNAL: Final[Schema] = {
    **record(
        "An event for a saga, named by its id or by definition and key; idempotent by `id`.",
        {"event": TEXT, "id": TEXT},
        {"data": ANY, "saga_id": SAGA_ID, "definition": NAME, "key": TEXT},
        closed=True,
    ),
    "oneOf": [
        {
            "required": ["saga_id"],
            "not": {"anyOf": [{"required": ["definition"]}, {"required": ["key"]}]},
        },
        {"required": ["definition", "key"], "not": {"required": ["saga_id"]}},
    ],
}
_COMPENSATION: Final = record(
    "The undo: a command that a registered participant serves.",
    {"command": COMMAND, "body": ANY},
    closed=True,
)
_STEP: Final = {"saga_id": SAGA_ID, "step": NAME}

CLIENT_SCHEMAS: Final[dict[str, Schema]] = {
    "start": record(
        "Start a saga; idempotent per tenant, definition and key.",
        {"definition": NAME, "key": TEXT, "input": ANY},
        {"version": VERSION, "labels": _LABELS},
        closed=True,
    ),
    "cancel": record(
        "Stop a running saga and undo it.", {"saga_id": SAGA_ID, "reason": PROSE}, closed=True
    ),
    "undo": record(
        "Late undo of a completed saga.",
        {"saga_id": SAGA_ID, "reason": PROSE},
        {"across_pivot": {"type": "boolean"}},
        closed=True,
    ),
    "signal": _SIGNAL,
    "decide": record(
        "A reviewer's decision, bound to the digest of what was shown.",
        {
            "review_id": TEXT,
            "decision": {"enum": ["approve", "reject", "edit"]},
            "shown_digest": TEXT,
        },
        {"body": ANY, "comment": PROSE},
        closed=True,
    ),
    "enlist.open": record(
        "Open a saga whose steps another process runs, under a lease.",
        {"definition": NAME, "key": TEXT, "lease": DURATION},
        closed=True,
    ),
    "enlist.step": record(
        "Register an undo before its effect; answered after commit.",
        {
            **_STEP,
            "compensation": {"anyOf": [_COMPENSATION, {"type": "null"}]},
            "effect": one_of(Effect),
            "reversal": one_of(Reversal),
        },
        closed=True,
    ),
    "enlist.settle": record(
        "What became of an enlisted step.",
        {**_STEP, "outcome": one_of(Outcome)},
        {"output": ANY},
        closed=True,
    ),
    "enlist.renew": record(
        "Renew the lease of an enlisted saga.", {"saga_id": SAGA_ID}, closed=True
    ),
    "enlist.close": record("End an enlisted saga well.", {"saga_id": SAGA_ID}, closed=True),
    "enlist.fail": record(
        "End an enlisted saga badly: it is undone.",
        {"saga_id": SAGA_ID, "reason": PROSE},
        closed=True,
    ),
    "start-answer": record(
        "The answer to a start: the saga, and whether this start created it.",
        {"saga_id": SAGA_ID, "created": {"type": "boolean"}},
        closed=False,
    ),
    "lifecycle": record(
        "Data of a lifecycle event (CloudEvents 1.0, attributes in headers `cloudEvents_<name>`).",
        {"saga_id": SAGA_ID, "definition": NAME, "version": VERSION, "key": TEXT, "status": TEXT},
        {"step": TEXT, "problem": {"type": "object"}},
        closed=False,
    ),
}
