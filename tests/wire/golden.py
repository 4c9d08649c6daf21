"""One example of every message of the contract, and its checked-in AMQP form in `golden/`.

`python tests/wire/golden.py` writes the files and the examples of docs/wire.md anew. A difference
in a file that is there means that the contract changed: it changes only by adding.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

from amends_contracts.amqp import AmqpMessage
from amends_contracts.codec import (
    encode_answer,
    encode_batch,
    encode_client,
    encode_command,
    encode_hello,
    encode_lifecycle,
    encode_reply,
)
from amends_contracts.messages import (
    REF_TYPE,
    ActionOutcome,
    Cancel,
    ClientMessage,
    Command,
    CommandInfo,
    Decide,
    Effect,
    EnlistClose,
    EnlistedCompensation,
    EnlistFail,
    EnlistOpen,
    EnlistRenew,
    EnlistSettle,
    EnlistStep,
    Hello,
    Json,
    Lifecycle,
    LifecycleEvent,
    Outcome,
    Reply,
    Reversal,
    Signal,
    Start,
    StartAnswer,
    Trace,
    Undo,
    Usage,
    digest_of,
    to_body,
)
from amends_contracts.names import (
    Key,
    MessageId,
    Op,
    SagaId,
    StepPath,
    key_of,
    ledger_key,
    message_id_of,
)
from amends_contracts.problems import PROBLEM_CONTENT_TYPE, Problem
from amends_contracts.topology import Topology

Typed: TypeAlias = Command | Reply | Hello | ClientMessage | StartAnswer | Problem | Lifecycle

ROOT = Path(__file__).parents[2]
FOLDER = Path(__file__).parent / "golden"
PAGE = ROOT / "docs" / "wire.md"
TOPOLOGY = Topology()
SAGA = SagaId("0197a1b2-c3d4-7e5f-8a6b-0123456789ab")
TRACE = Trace("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
TOKEN = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
AT = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)
TRIP = {"traveller": "Ada", "to": "LIS"}
SEAT = {"code": "12A", "usd": 240}
REPLY_TO = "reply.flights.07"
PROPERTIES = ("message_id", "type", "correlation_id", "reply_to", "content_type", "user_id")


def command(name: str, op: Op, body: Json, *, attempt: int = 1, **more: Any) -> Command:
    """A command to the step `flight`."""
    path, rendered = StepPath("flight"), to_body(body)
    return Command(
        type=name,
        op=op,
        message_id=message_id_of(SAGA, path, op, attempt),
        body=rendered,
        saga_id=SAGA,
        reply_to=REPLY_TO,
        key=key_of(SAGA, path, op),
        digest=digest_of(rendered),
        attempt=attempt,
        token=TOKEN,
        definition="book-trip@3",
        tenant="default",
        trace=TRACE,
        **more,
    )


ACTION = command("flights.reserve", Op.ACTION, TRIP, deadline=AT)
_ACTION_KEY = key_of(SAGA, StepPath("flight"), Op.ACTION)
COMPENSATION = command(
    "flights.reserve",
    Op.COMPENSATION,
    {"input": TRIP, "output": SEAT},
    compensates=_ACTION_KEY,
    action_outcome=ActionOutcome.SUCCEEDED,
)
PROBE = command("flights.reserve", Op.PROBE, {"input": TRIP}, compensates=_ACTION_KEY)
LEDGER = Command(
    type="flights.ledger",
    op=Op.LEDGER,
    message_id=MessageId(f"{SAGA}:ledger:1"),
    body=b"{}",
    saga_id=SAGA,
    reply_to=REPLY_TO,
    key=ledger_key(SAGA),
    token=TOKEN,
    tenant="default",
)
FORGET = Command(
    type="flights.forget",
    op=Op.FORGET,
    message_id=MessageId("forget:flights:0197b000-0000-7000-8000-000000000001"),
    body=to_body({"sagas": [SAGA]}),
)
COMMANDS: Mapping[str, Command] = {
    "command-action": ACTION,
    "command-action-by-reference": replace(
        ACTION,
        body=to_body(
            {
                "ref": f"https://amends.example/v1/blobs/{'ab' * 32}",
                "sha256": "ab" * 32,
                "bytes": 90210,
            }
        ),
        content_type=REF_TYPE,
    ),
    "command-action-again": command("flights.reserve", Op.ACTION, TRIP, attempt=2),
    "command-compensation": COMPENSATION,
    "command-compensation-in-doubt": replace(
        COMPENSATION,
        body=to_body({"input": TRIP, "output": None}),
        action_outcome=ActionOutcome.UNKNOWN,
    ),
    "command-probe": PROBE,
    "command-turn": command("flights.plan", Op.TURN, {"turn": 1, "input": TRIP}),
    "command-ledger": LEDGER,
    "command-forget": FORGET,
}


def reply(to: Command, outcome: Outcome, body: Json | Problem, **more: Any) -> Reply:
    """A reply to a command of a saga."""
    is_problem = isinstance(body, Problem)
    assert to.saga_id is not None
    assert to.key is not None
    suffix = ":progress:1" if outcome is Outcome.PROGRESS else ":reply"
    if is_problem:
        more["content_type"] = PROBLEM_CONTENT_TYPE
    return Reply(
        saga_id=to.saga_id,
        type=to.type,
        key=to.key,
        attempt=to.attempt,
        token=to.token,
        message_id=MessageId(to.message_id + suffix),
        outcome=outcome,
        body=to_body(body.to_json() if is_problem else body),
        **more,
    )


SOLD_OUT = Problem(type="sold-out", title="Sold out", detail="no seat to LIS")
SUCCEEDED = reply(ACTION, Outcome.SUCCEEDED, SEAT, trace=TRACE)
REPLIES: Mapping[str, Reply] = {
    "reply-succeeded": SUCCEEDED,
    "reply-failed": reply(ACTION, Outcome.FAILED, SOLD_OUT),
    "reply-failed-retryable": reply(
        ACTION,
        Outcome.FAILED,
        Problem(type="overloaded", title="Too many bookings at once"),
        retryable=True,
        retry_after_s=5.0,
    ),
    "reply-unknown": reply(
        ACTION, Outcome.UNKNOWN, Problem(type="amends:crashed", title="The handler crashed")
    ),
    "reply-fenced": reply(
        ACTION, Outcome.FENCED, Problem(type="amends:fenced", title="Its undo was there first")
    ),
    "reply-progress": reply(ACTION, Outcome.PROGRESS, {}),
    "reply-metered": reply(
        command("flights.plan", Op.TURN, {"turn": 1, "input": TRIP}),
        Outcome.SUCCEEDED,
        {"text": "Fly on Monday."},
        usage=Usage(1200, 80, 0.0042, "example-large"),
    ),
    "reply-to-compensation": reply(COMPENSATION, Outcome.SUCCEEDED, {}),
    "reply-to-probe": reply(PROBE, Outcome.SUCCEEDED, {"effect": "present", "output": SEAT}),
    "reply-to-ledger": reply(
        LEDGER,
        Outcome.SUCCEEDED,
        {
            "effects": [
                {
                    "key": _ACTION_KEY,
                    "command": "flights.reserve",
                    "effect": "present",
                    "output": SEAT,
                }
            ]
        },
    ),
}
HELLO = Hello(
    service="flights",
    instance="flights-7d9c",
    sdk="amends-participants/0.1.0",
    accepts=frozenset({"batch", "ref"}),
    horizon="P30D",
    commands={
        "flights.reserve": CommandInfo(
            effect=Effect.TRANSACTIONAL,
            reversal=Reversal.COMPENSATABLE,
            input={
                "type": "object",
                "properties": {"traveller": {"type": "string"}, "to": {"type": "string"}},
                "required": ["traveller", "to"],
            },
            output={"type": "object", "properties": {"code": {"type": "string"}}},
            probe=True,
        )
    },
)
CLIENTS: Mapping[str, ClientMessage] = {
    "client-start": Start(
        definition="book-trip",
        version=3,
        key="order-17",
        input=TRIP,
        labels={"traveller": "Ada"},
    ),
    "client-cancel": Cancel(saga_id=SAGA, reason="the customer called"),
    "client-undo": Undo(saga_id=SAGA, reason="the customer called"),
    "client-undo-across-pivot": Undo(saga_id=SAGA, reason="the customer called", across_pivot=True),
    "client-signal": Signal(saga_id=SAGA, event="paid", id="p-1", data={"usd": 240}),
    "client-signal-by-key": Signal(definition="book-trip", key="order-17", event="paid", id="p-1"),
    "client-decide": Decide(
        review_id="0197a1b2-c3d4-7e5f-8a6b-00000000000a",
        decision="edit",
        body={"usd": 200},
        comment="less is enough",
        shown_digest=digest_of(to_body({"usd": 240})),
    ),
    "client-enlist-open": EnlistOpen(definition="support", key="ticket-9", lease="PT30S"),
    "client-enlist-step": EnlistStep(
        saga_id=SAGA,
        step="refund",
        compensation=EnlistedCompensation("payments.charge-back", {"order": 17}),
        effect=Effect.KEYED,
        reversal=Reversal.COMPENSATABLE,
    ),
    "client-enlist-settle": EnlistSettle(
        saga_id=SAGA, step="refund", outcome=Outcome.SUCCEEDED, output={"id": "re_1"}
    ),
    "client-enlist-renew": EnlistRenew(saga_id=SAGA),
    "client-enlist-close": EnlistClose(saga_id=SAGA),
    "client-enlist-fail": EnlistFail(saga_id=SAGA, reason="the agent gave up"),
}
ANSWERS: Mapping[str, StartAnswer | Problem] = {
    "answer-started": StartAnswer(SAGA, created=True),
    "answer-refused": Problem(
        type="amends:key-conflict", title="The key was used with another input", status=409
    ),
}
EVENTS: Mapping[str, Lifecycle] = {
    "event-saga-started": Lifecycle(
        id=f"{SAGA}:1",
        event=LifecycleEvent.SAGA_STARTED,
        time=AT,
        saga_id=SAGA,
        definition="book-trip",
        version=3,
        key="order-17",
        status="running",
    ),
    "event-step-failed": Lifecycle(
        id=f"{SAGA}:9",
        event=LifecycleEvent.STEP_FAILED,
        time=AT,
        saga_id=SAGA,
        definition="book-trip",
        version=3,
        key="order-17",
        status="running",
        step="hotel",
        problem=SOLD_OUT,
    ),
}


def encoded() -> dict[str, AmqpMessage]:
    """Every example, as it is published."""
    commands = {name: encode_command(c, TOPOLOGY) for name, c in COMMANDS.items()}
    replies = {name: encode_reply(r, REPLY_TO, TOPOLOGY) for name, r in REPLIES.items()}
    asked = {
        name: encode_client(
            c,
            TOPOLOGY,
            reply_to="amends.client.web-1",
            correlation_id="c-1",
            user_id="web",
            message_id=f"web:{name}:1",
        )
        for name, c in CLIENTS.items()
    }
    answers = {name: encode_answer(a, "amends.client.web-1", "c-1") for name, a in ANSWERS.items()}
    events = {name: encode_lifecycle(e, TOPOLOGY) for name, e in EVENTS.items()}
    return {
        **commands,
        **replies,
        "hello": encode_hello(HELLO, TOPOLOGY),
        **asked,
        **answers,
        **events,
        "batch-of-commands": encode_batch(
            [commands["command-action"], encode_command(of_another_saga(ACTION), TOPOLOGY)],
            exchange=TOPOLOGY.batches,
            routing_key=f"{TOPOLOGY.do_queue('flights')}.batch",
            message_id="0197a1b2-c3d4-7e5f-8a6b-00000000000b",
        ),
        "batch-of-replies": encode_batch(
            [replies["reply-succeeded"], replies["reply-to-probe"]],
            exchange=TOPOLOGY.replies,
            routing_key=REPLY_TO,
            message_id="0197a1b2-c3d4-7e5f-8a6b-00000000000c",
        ),
    }


def of_another_saga(to: Command) -> Command:
    """The same command for another saga."""
    other = SagaId("0197a1b2-c3d4-7e5f-8a6b-0123456789ac")
    key, id_ = str(to.key), str(to.message_id)
    return replace(
        to,
        saga_id=other,
        key=Key(key.replace(SAGA, other)),
        message_id=MessageId(id_.replace(SAGA, other)),
    )


def to_file(message: AmqpMessage) -> str:
    """A message as a golden file has it; the body as JSON, whose bytes are canonical."""
    assert to_body(json.loads(message.body)) == message.body
    written = {
        "exchange": message.exchange,
        "routing_key": message.routing_key,
        "mandatory": message.mandatory,
        "properties": {
            name: value for name in PROPERTIES if (value := getattr(message, name)) is not None
        },
        "headers": dict(message.headers),
        "body": json.loads(message.body),
    }
    return json.dumps(written, ensure_ascii=False, indent=2) + "\n"


def from_file(text: str) -> AmqpMessage:
    """The inverse of `to_file`."""
    read: dict[str, Any] = json.loads(text)
    return AmqpMessage(**read.pop("properties"), body=to_body(read.pop("body")), **read)


def golden(name: str) -> AmqpMessage:
    """The checked-in message of that name."""
    return from_file((FOLDER / f"{name}.json").read_text("utf-8"))


BLOCK = re.compile(r"(<!-- golden: (?P<name>[\w-]+) -->\n```json\n)(?P<text>.*?)(```\n)", re.DOTALL)
"""An example of docs/wire.md."""


def main() -> None:
    """Write files and examples anew."""
    assert len({f.name for f in fields(AmqpMessage)}) == len(PROPERTIES) + 5
    FOLDER.mkdir(exist_ok=True)
    texts = {name: to_file(message) for name, message in encoded().items()}
    for name, text in texts.items():
        (FOLDER / f"{name}.json").write_text(text, "utf-8")
    page = PAGE.read_text("utf-8")
    page = BLOCK.sub(lambda m: m[1] + texts[m["name"]] + m[4], page)
    PAGE.write_text(page, "utf-8")


if __name__ == "__main__":
    main()
