"""Envelopes: many commands of one service and lane, or replies of one partition, in one message.

A member's body is spliced in as the bytes that it is; members come out as the single messages
that they would have been, so that a returned envelope can be sent again singly.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, cast

from pydantic_core import from_json, to_json

from amends_contracts.amqp import AmqpMessage
from amends_contracts.codec.commands import OP
from amends_contracts.codec.headers import WireError, refused, text_property
from amends_contracts.messages import BATCH_TYPE, JSON_TYPE, Json, to_body
from amends_contracts.names import Op, command_routing_key
from amends_contracts.topology import Topology

BATCH_MEMBERS_MAX: Final = 64
BATCH_BYTES_MAX: Final = 1024 * 1024
_PROPERTIES: Final = ("message_id", "correlation_id", "reply_to", "type", "content_type")
_KNOWN: Final = frozenset(_PROPERTIES)
_ONLY_TEXTS: Final = {str}
_CONTAINERS: Final = frozenset({dict, list})
_OPS: Final = {op.value: op for op in Op}


@dataclass(frozen=True, slots=True)
class BadMember:
    """A member to be dead-lettered alone, with the reason."""

    index: int
    reason: str
    body: bytes
    message: AmqpMessage | None = None
    """Where it is a message, but not one of ours."""

    def letter(self, envelope: AmqpMessage) -> AmqpMessage:
        """What of the envelope it came in goes to the dead letters for it."""
        return replace(
            envelope,
            body=self.body,
            message_id=f"{envelope.message_id}:{self.index}",
            content_type=JSON_TYPE,
        )


def is_batch(message: AmqpMessage) -> bool:
    """Whether the message is an envelope."""
    return message.content_type == BATCH_TYPE


def encode_batch(
    members: Sequence[AmqpMessage], *, exchange: str, routing_key: str, message_id: str
) -> AmqpMessage:
    """One message for all members, which are encoded commands or replies with JSON bodies.

    Raises WireError for more than 64 members or 1 MiB: the caller cuts before.
    """
    return join_members(
        list(map(member_bytes, members)),
        exchange=exchange,
        routing_key=routing_key,
        message_id=message_id,
    )


def join_members(
    members: Sequence[bytes], *, exchange: str, routing_key: str, message_id: str
) -> AmqpMessage:
    """The same of what `member_bytes` has made."""
    if not 1 <= len(members) <= BATCH_MEMBERS_MAX:
        raise refused("envelope", f"1 to {BATCH_MEMBERS_MAX} members", len(members))
    body = b"[" + b",".join(members) + b"]"
    if len(body) > BATCH_BYTES_MAX:
        raise refused("envelope", f"at most {BATCH_BYTES_MAX} bytes", len(body))
    return AmqpMessage(
        exchange=exchange,
        routing_key=routing_key,
        body=body,
        message_id=text_property(message_id, "message_id"),
        content_type=BATCH_TYPE,
    )


def decode_batch(message: AmqpMessage, topology: Topology) -> list[AmqpMessage | BadMember]:
    """The members as single messages, in order; a bad one does not disturb the others.

    On the batches exchange they are commands, else replies under the envelope's own routing key.
    WireError: the whole is not an envelope.
    """
    if len(message.body) > BATCH_BYTES_MAX:
        raise refused("envelope", f"at most {BATCH_BYTES_MAX} bytes", len(message.body))
    try:
        read: Any = from_json(message.body, allow_inf_nan=False, cache_strings="keys")
    except ValueError as error:
        raise WireError(f"envelope: expected a JSON array, but {error}") from None
    if not isinstance(read, list):
        raise refused("envelope", "a JSON array", read)
    members = cast(list[Json], read)
    if not 1 <= len(members) <= BATCH_MEMBERS_MAX:
        raise refused("envelope", f"1 to {BATCH_MEMBERS_MAX} members", len(members))
    of_commands = message.exchange == topology.batches
    decoded: list[AmqpMessage | BadMember] = []
    for index, member in enumerate(members):
        try:
            decoded.append(_member(member, message, topology if of_commands else None))
        except WireError as error:
            rest = json.dumps(member, ensure_ascii=False).encode()
            decoded.append(BadMember(index, f"member {index}: {error.reason}", rest))
    return decoded


def member_bytes(member: AmqpMessage) -> bytes:
    """A member as it stands in the array. By pydantic's serialiser: a quarter of the price."""
    properties = {
        name: value
        for name, value in (
            ("message_id", member.message_id),
            ("correlation_id", member.correlation_id),
            ("reply_to", member.reply_to),
            ("type", member.type),
            ("content_type", member.content_type),
        )
        if value is not None
    }
    head = to_json({"properties": properties, "headers": member.headers})
    return head[:-1] + b',"body":' + member.body + b"}"


def _member(member: Any, envelope: AmqpMessage, commands_of: Topology | None) -> AmqpMessage:
    if not isinstance(member, dict):
        raise refused("member", "a JSON object", member)
    read = cast(dict[str, Json], member)
    properties, headers = read.get("properties"), read.get("headers", {})
    if not isinstance(properties, dict) or not isinstance(headers, dict) or "body" not in read:
        raise refused("member", "properties, headers and body", sorted(read))
    texts = _texts(cast(dict[str, Json], properties))
    scalars = _scalars(cast(dict[str, Json], headers))
    if commands_of is None:
        exchange, routing_key = envelope.exchange, envelope.routing_key
    else:
        exchange, routing_key = commands_of.commands, _command_key(texts.get("type"), scalars)
    return AmqpMessage(
        exchange=exchange,
        routing_key=routing_key,
        body=_body(read["body"]),
        user_id=envelope.user_id,
        headers=scalars,
        message_id=texts.get("message_id"),
        type=texts.get("type"),
        correlation_id=texts.get("correlation_id"),
        reply_to=texts.get("reply_to"),
        content_type=texts.get("content_type"),
    )


def _body(value: Json) -> bytes:
    try:
        return to_body(value)
    except ValueError as error:
        raise WireError(f"body: expected JSON, but {error}") from None


def _command_key(name: str | None, headers: Mapping[str, Any]) -> str:
    op: object = headers.get(OP)
    if not isinstance(op, str) or op not in _OPS:
        raise refused(f"header {OP}", " | ".join(Op), op)
    return command_routing_key(name or "", _OPS[op])


def _texts(properties: dict[str, Any]) -> dict[str, str]:
    if properties.keys() <= _KNOWN and set(map(type, properties.values())) == _ONLY_TEXTS:
        return properties
    for name, value in properties.items():
        if name not in _KNOWN or not isinstance(value, str):
            raise refused("member's properties", f"texts of {', '.join(_PROPERTIES)}", name)
    return properties


def _scalars(headers: dict[str, Any]) -> dict[str, Any]:
    if not _CONTAINERS.isdisjoint(map(type, headers.values())):
        for name, value in headers.items():
            if type(value) in _CONTAINERS:
                raise refused(f"header {name}", "a text, number or boolean", value)
    return headers
