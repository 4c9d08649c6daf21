"""Client verbs over the broker, and their answers. The verb is the routing key."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from typing import Any, Final, Literal, cast

from amends_contracts.amqp import AmqpMessage, HeaderValue
from amends_contracts.codec.headers import (
    check_size,
    json_object,
    refused,
    text_property,
    write_trace,
)
from amends_contracts.codec.members import PROSE_CHARS_MAX, Members
from amends_contracts.definition import parse_duration
from amends_contracts.messages import (
    JSON_TYPE,
    Cancel,
    ClientMessage,
    Decide,
    Effect,
    EnlistClose,
    EnlistedCompensation,
    EnlistFail,
    EnlistOpen,
    EnlistRenew,
    EnlistSettle,
    EnlistStep,
    Json,
    Outcome,
    Reversal,
    Signal,
    Start,
    StartAnswer,
    Trace,
    Undo,
    to_body,
)
from amends_contracts.names import is_command_name, is_name
from amends_contracts.problems import PROBLEM_CONTENT_TYPE, Problem
from amends_contracts.topology import Topology

VERBS: Final[Mapping[type, str]] = {
    Start: "start",
    Cancel: "cancel",
    Undo: "undo",
    Signal: "signal",
    Decide: "decide",
    EnlistOpen: "enlist.open",
    EnlistStep: "enlist.step",
    EnlistSettle: "enlist.settle",
    EnlistRenew: "enlist.renew",
    EnlistClose: "enlist.close",
    EnlistFail: "enlist.fail",
}
_OPTIONAL: Final = frozenset(
    {"version", "labels", "comment", "saga_id", "definition", "key", "across_pivot"}
)
"""Members left out while they are not set."""
_OPTIONAL_VALUES: Final[Mapping[type, str]] = {Decide: "body", EnlistSettle: "output"}


def verb_of(message: ClientMessage) -> str:
    """The routing key of a client message: `start`, `enlist.open`."""
    return VERBS[type(message)]


def client_to_json(message: ClientMessage) -> dict[str, Any]:
    """The body of a client message; over REST the same, less what stands in the URL."""
    body: dict[str, Any] = {}
    for field in fields(message):
        value: Any = getattr(message, field.name)
        if field.name in _OPTIONAL and not value:
            continue
        if value is None and _OPTIONAL_VALUES.get(type(message)) == field.name:
            continue
        body[field.name] = asdict(value) if field.name == "compensation" and value else value
    return body


def encode_client(
    message: ClientMessage,
    topology: Topology,
    *,
    reply_to: str | None = None,
    correlation_id: str | None = None,
    user_id: str | None = None,
    message_id: str | None = None,
    trace: Trace | None = None,
) -> AmqpMessage:
    """A client's message. The same `message_id` on every repetition; answered if `reply_to` is."""
    body = to_body(client_to_json(message))
    check_size(body)
    headers: dict[str, HeaderValue] = {}
    if trace is not None:
        write_trace(headers, trace)
    return AmqpMessage(
        exchange=topology.control,
        routing_key=VERBS[type(message)],
        body=body,
        message_id=message_id,
        correlation_id=correlation_id,
        reply_to=reply_to,
        content_type=JSON_TYPE,
        user_id=user_id,
        headers=headers,
    )


def decode_client(message: AmqpMessage) -> ClientMessage:
    """By its routing key. Members that no verb knows are refused: they ask for something else."""
    read = _READERS.get(message.routing_key)
    if read is None:
        raise refused("routing key", " | ".join(_READERS), message.routing_key)
    if message.content_type not in (JSON_TYPE, None):
        raise refused("property content_type", JSON_TYPE, message.content_type)
    members = Members.of_body(message.body)
    decoded = read(members)
    members.done()
    return decoded


def encode_answer(
    answer: "StartAnswer | Problem | Json", reply_to: str, correlation_id: str | None
) -> AmqpMessage:
    """An answer straight to the client's queue. Not mandatory: a client may be gone."""
    is_problem = isinstance(answer, Problem)
    body = answer.to_json() if is_problem else answer
    if isinstance(answer, StartAnswer):
        body = {"saga_id": answer.saga_id, "created": answer.created}
    return AmqpMessage(
        exchange="",
        routing_key=text_property(reply_to, "reply_to"),
        body=to_body(body),
        correlation_id=correlation_id,
        content_type=PROBLEM_CONTENT_TYPE if is_problem else JSON_TYPE,
        mandatory=False,
    )


def decode_answer(message: AmqpMessage) -> "Json | Problem":
    """The answer's JSON object, or the problem that it is."""
    body = json_object(message.body)
    if message.content_type == PROBLEM_CONTENT_TYPE:
        try:
            return Problem.model_validate(body)
        except ValueError:
            raise refused("body", "a problem (RFC 9457)", body) from None
    if message.content_type != JSON_TYPE:
        expected = f"{JSON_TYPE} or {PROBLEM_CONTENT_TYPE}"
        raise refused("property content_type", expected, message.content_type)
    return body


def _definition(members: Members) -> str:
    return members.matching("definition", is_name, "a definition's name")


def _reason(members: Members) -> str:
    return members.text("reason", PROSE_CHARS_MAX)


def _start(members: Members) -> Start:
    return Start(
        definition=_definition(members),
        key=members.text("key"),
        input=members.required("input"),
        version=members.version(),
        labels=members.labels(),
    )


def _cancel(members: Members) -> Cancel:
    return Cancel(saga_id=members.saga_id(), reason=_reason(members))


def _undo(members: Members) -> Undo:
    across = members.flag("across_pivot")
    return Undo(saga_id=members.saga_id(), reason=_reason(members), across_pivot=across)


def _signal(members: Members) -> Signal:
    event, id_, data = members.text("event"), members.text("id"), members.value("data")
    if members.has("saga_id"):
        return Signal(event=event, id=id_, data=data, saga_id=members.saga_id())
    if not members.has("definition") or not members.has("key"):
        raise refused("body", "saga_id, or definition and key", None)
    definition, key = _definition(members), members.text("key")
    return Signal(event=event, id=id_, data=data, definition=definition, key=key)


def _decide(members: Members) -> Decide:
    decision = members.matching(
        "decision", ("approve", "reject", "edit").__contains__, "approve | reject | edit"
    )
    return Decide(
        review_id=members.text("review_id"),
        decision=cast(Literal["approve", "reject", "edit"], decision),
        shown_digest=members.text("shown_digest"),
        body=members.value("body"),
        comment=members.optional_text("comment", PROSE_CHARS_MAX),
    )


def _open(members: Members) -> EnlistOpen:
    lease = members.text("lease")
    try:
        parse_duration(lease)
    except ValueError:
        raise refused(members.at("lease"), "an ISO 8601 duration", lease) from None
    return EnlistOpen(definition=_definition(members), key=members.text("key"), lease=lease)


def _step(members: Members) -> EnlistStep:
    compensation = None
    if members.has("compensation"):
        of = Members(members.object("compensation"), members.at("compensation"))
        command = of.matching("command", is_command_name, "a command name <service>.<verb>")
        compensation = EnlistedCompensation(command, of.required("body"))
        of.done()
    else:
        members.value("compensation")
    return EnlistStep(
        saga_id=members.saga_id(),
        step=members.matching("step", is_name, "a step's name"),
        compensation=compensation,
        effect=members.choice("effect", Effect),
        reversal=members.choice("reversal", Reversal),
    )


def _settle(members: Members) -> EnlistSettle:
    return EnlistSettle(
        saga_id=members.saga_id(),
        step=members.matching("step", is_name, "a step's name"),
        outcome=members.choice("outcome", Outcome),
        output=members.value("output"),
    )


def _renew(members: Members) -> EnlistRenew:
    return EnlistRenew(saga_id=members.saga_id())


def _close(members: Members) -> EnlistClose:
    return EnlistClose(saga_id=members.saga_id())


def _fail(members: Members) -> EnlistFail:
    return EnlistFail(saga_id=members.saga_id(), reason=_reason(members))


_READERS: Final[Mapping[str, Callable[[Members], ClientMessage]]] = {
    "start": _start,
    "cancel": _cancel,
    "undo": _undo,
    "signal": _signal,
    "decide": _decide,
    "enlist.open": _open,
    "enlist.step": _step,
    "enlist.settle": _settle,
    "enlist.renew": _renew,
    "enlist.close": _close,
    "enlist.fail": _fail,
}
