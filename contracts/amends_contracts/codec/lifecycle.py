"""Lifecycle events as CloudEvents 1.0, in binary mode: attributes in headers, data in the body."""

from typing import Any, Final

from amends_contracts.amqp import AmqpMessage, HeaderValue
from amends_contracts.codec.headers import choice, format_time, parse_time, refused, text
from amends_contracts.codec.members import Members
from amends_contracts.messages import JSON_TYPE, Lifecycle, LifecycleEvent, to_body
from amends_contracts.names import is_name
from amends_contracts.problems import Problem
from amends_contracts.topology import Topology

PREFIX: Final = "cloudEvents_"
TYPE_PREFIX: Final = "amends."
"""CloudEvents `type` is `amends.saga.started`."""


def encode_lifecycle(event: Lifecycle, topology: Topology) -> AmqpMessage:
    """Not mandatory: whoever does not listen misses nothing that REST cannot tell."""
    data: dict[str, Any] = {
        "saga_id": event.saga_id,
        "definition": event.definition,
        "version": event.version,
        "key": event.key,
        "status": event.status,
    }
    if event.step is not None:
        data["step"] = event.step
    if event.problem is not None:
        data["problem"] = event.problem.to_json()
    attributes: dict[str, HeaderValue] = {
        "specversion": "1.0",
        "id": event.id,
        "source": f"/amends/{event.definition}",
        "type": f"{TYPE_PREFIX}{event.event.value}",
        "subject": event.saga_id,
        "time": format_time(event.time),
    }
    return AmqpMessage(
        exchange=topology.events,
        routing_key=f"{event.definition}.{event.event.value}",
        body=to_body(data),
        message_id=event.id,
        content_type=JSON_TYPE,
        headers={PREFIX + name: value for name, value in attributes.items()},
        mandatory=False,
    )


def decode_lifecycle(message: AmqpMessage) -> Lifecycle:
    """Take an event apart; members that this reader does not know are passed over."""
    headers = message.headers
    if headers.get(PREFIX + "specversion") != "1.0":
        raise refused(f"header {PREFIX}specversion", "1.0", headers.get(PREFIX + "specversion"))
    type_ = text(headers, PREFIX + "type")
    where = f"header {PREFIX}type"
    members = Members.of_body(message.body)
    definition = members.matching("definition", is_name, "a definition's name")
    version = members.version()
    if version is None:
        raise refused(members.at("version"), "a version, an integer >= 1", None)
    return Lifecycle(
        id=text(headers, PREFIX + "id"),
        event=choice(type_.removeprefix(TYPE_PREFIX), where, LifecycleEvent),
        time=parse_time(text(headers, PREFIX + "time"), f"header {PREFIX}time"),
        saga_id=members.saga_id(),
        definition=definition,
        version=version,
        key=members.text("key"),
        status=members.text("status"),
        step=members.optional_text("step"),
        problem=Problem.model_validate(members.object("problem"))
        if members.has("problem")
        else None,
    )
