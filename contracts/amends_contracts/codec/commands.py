"""Commands: orchestrator -> participant."""

from dataclasses import replace
from typing import Final

from amends_contracts.amqp import AmqpMessage, HeaderValue
from amends_contracts.codec.headers import (
    ATTEMPT,
    HEADER_CHARS_MAX,
    KEY,
    TOKEN,
    WIRE,
    BadBody,
    Headers,
    WireError,
    check_size,
    check_wire,
    choice,
    format_time,
    integer,
    json_object,
    optional_text,
    refused,
    saga_property,
    text,
    text_property,
    time,
    trace_of,
    write_trace,
)
from amends_contracts.messages import JSON_TYPE, REF_TYPE, WIRE_VERSION, ActionOutcome, Command
from amends_contracts.names import (
    MESSAGE_ID_BYTES_MAX,
    Key,
    MessageId,
    Op,
    SagaId,
    command_routing_key,
    is_command_name,
    split_key,
)
from amends_contracts.topology import Topology

OP: Final = "amends-op"
DIGEST: Final = "amends-digest"
COMPENSATES: Final = "amends-compensates"
ACTION_OUTCOME: Final = "amends-action-outcome"
DEADLINE: Final = "amends-deadline"
DEFINITION: Final = "amends-definition"
TENANT: Final = "amends-tenant"

_KNOWN: Final = frozenset(
    {OP, WIRE, KEY, DIGEST, COMPENSATES, ACTION_OUTCOME, ATTEMPT, DEADLINE, TOKEN, DEFINITION}
    | {TENANT, "traceparent", "tracestate", "baggage"}
)
_OPS: Final = {op.value: op for op in Op}
_WITH_DIGEST: Final = frozenset({Op.ACTION, Op.COMPENSATION, Op.TURN})
_OF_AN_ACTION: Final = frozenset({Op.COMPENSATION, Op.PROBE})


def encode_command(command: Command, topology: Topology) -> AmqpMessage:
    """The command as it is published; WireError for what may not travel (size, length of ids)."""
    check_size(command.body)
    message_id = text_property(command.message_id, "message_id", MESSAGE_ID_BYTES_MAX)
    headers: dict[str, HeaderValue] = {OP: command.op.value, WIRE: WIRE_VERSION}
    if command.key is not None:
        headers[KEY] = command.key
        headers[ATTEMPT] = command.attempt
    if command.digest is not None:
        headers[DIGEST] = command.digest
    if command.compensates is not None:
        headers[COMPENSATES] = command.compensates
    if command.action_outcome is not None:
        headers[ACTION_OUTCOME] = command.action_outcome.value
    if command.deadline is not None:
        headers[DEADLINE] = format_time(command.deadline)
    if command.token is not None:
        headers[TOKEN] = command.token
    if command.definition is not None:
        headers[DEFINITION] = command.definition
    if command.tenant is not None:
        headers[TENANT] = command.tenant
    if command.trace is not None:
        write_trace(headers, command.trace)
    if command.extra_headers:
        headers.update(command.extra_headers)
    return AmqpMessage(
        exchange=topology.commands,
        routing_key=command_routing_key(command.type, command.op),
        body=command.body,
        message_id=message_id,
        type=command.type,
        correlation_id=command.saga_id,
        reply_to=command.reply_to,
        content_type=command.content_type,
        headers=headers,
    )


def decode_command(message: AmqpMessage) -> Command:
    """Take a command apart. WireError: reject it to the dead letters.

    BadBody, a WireError too, carries the command with an empty body, so that it can be answered.
    The body of a command by reference is the reference.
    """
    headers: Headers = message.headers
    check_wire(headers, required=True)
    op = _OPS.get(headers.get(OP))  # type: ignore[arg-type]  # any value may be asked for
    if op is None:
        raise refused(f"header {OP}", " | ".join(_OPS), headers.get(OP))
    name = message.type
    if not name or not is_command_name(name):
        raise refused("property type", "a command name <service>.<verb>", name)
    content_type = message.content_type
    if content_type not in (JSON_TYPE, REF_TYPE):
        raise refused("property content_type", f"{JSON_TYPE} or {REF_TYPE}", content_type)
    message_id = MessageId(text_property(message.message_id, "message_id", MESSAGE_ID_BYTES_MAX))
    saga_id, key, attempt = _identity(message, headers, op)
    compensates, outcome = _concerned(headers, op)
    command = Command(
        type=name,
        op=op,
        message_id=message_id,
        body=message.body,
        saga_id=saga_id,
        reply_to=message.reply_to,
        key=key,
        digest=text(headers, DIGEST) if op in _WITH_DIGEST else optional_text(headers, DIGEST),
        compensates=compensates,
        action_outcome=outcome,
        attempt=attempt,
        deadline=time(headers, DEADLINE),
        token=optional_text(headers, TOKEN),
        definition=optional_text(headers, DEFINITION),
        tenant=optional_text(headers, TENANT),
        trace=trace_of(message),
        content_type=content_type,
        extra_headers=_extra(headers),
    )
    try:
        json_object(message.body)
    except WireError as error:
        raise BadBody(error.reason, replace(command, body=b"{}")) from None
    return command


def _identity(
    message: AmqpMessage, headers: Headers, op: Op
) -> tuple[SagaId | None, Key | None, int]:
    """Saga, key and attempt, which must agree; `forget` concerns many sagas and has none."""
    if op is Op.FORGET:
        return None, None, 1
    saga_id = saga_property(message.correlation_id)
    text_property(message.reply_to, "reply_to")
    key = text(headers, KEY)
    of, _, rest = key.partition("/")
    if of != saga_id or rest.rpartition("/")[2] != op.value:
        raise refused(f"header {KEY}", f"a key of saga {saga_id} that ends with {op}", key)
    _check_key(key, KEY)
    return saga_id, Key(key), integer(headers, ATTEMPT, 1)


def _concerned(headers: Headers, op: Op) -> tuple[Key | None, ActionOutcome | None]:
    """The action that a compensation or probe is about."""
    if op not in _OF_AN_ACTION:
        return None, None
    compensates = text(headers, COMPENSATES)
    _check_key(compensates, COMPENSATES)
    if op is Op.PROBE:
        return Key(compensates), None
    outcome = choice(headers.get(ACTION_OUTCOME), f"header {ACTION_OUTCOME}", ActionOutcome)
    return Key(compensates), outcome


def _check_key(key: str, header: str) -> None:
    try:
        split_key(key)
    except ValueError:
        raise refused(f"header {header}", "a key <saga_id>/<step path>/<op>", key) from None


def _extra(headers: Headers) -> dict[str, str]:
    """Headers of a newer contract: `amends-*` that this reader does not know."""
    if headers.keys() <= _KNOWN:
        return {}
    return {
        name: value
        for name, value in headers.items()
        if name not in _KNOWN
        and name.startswith("amends-")
        and isinstance(value, str)
        and len(value) <= HEADER_CHARS_MAX
    }
