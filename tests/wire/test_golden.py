"""The checked-in messages: byte for byte what is published, and read back as what they were."""

import dataclasses
from typing import Any

import jsonschema_rs
import pytest

from amends_contracts.amqp import AmqpMessage
from amends_contracts.codec import (
    decode_answer,
    decode_batch,
    decode_client,
    decode_command,
    decode_hello,
    decode_lifecycle,
    decode_reply,
)
from amends_contracts.messages import to_body
from amends_contracts.names import Op
from amends_contracts.schemas import schema
from wire import golden

ENCODED = golden.encoded()


@pytest.mark.parametrize("name", sorted(ENCODED))
def test_a_message_is_published_as_checked_in(name: str) -> None:
    """Address, properties, headers and the bytes of the body are those of the golden file."""
    assert golden.golden(name) == ENCODED[name]


def test_every_golden_file_is_of_a_message() -> None:
    """No file is left of an example that is gone."""
    assert {path.stem for path in golden.FOLDER.glob("*.json")} == set(ENCODED)


@pytest.mark.parametrize("name", sorted(golden.COMMANDS))
def test_commands_are_read_back(name: str) -> None:
    """A checked-in command decodes to the very command."""
    assert decode_command(golden.golden(name)) == golden.COMMANDS[name]


@pytest.mark.parametrize("name", sorted(golden.REPLIES))
def test_replies_are_read_back(name: str) -> None:
    """A checked-in reply decodes to the very reply."""
    assert decode_reply(golden.golden(name)) == golden.REPLIES[name]


@pytest.mark.parametrize("name", sorted(golden.CLIENTS))
def test_client_messages_are_read_back(name: str) -> None:
    """A checked-in verb decodes to the very message."""
    assert decode_client(golden.golden(name)) == golden.CLIENTS[name]


@pytest.mark.parametrize("name", sorted(golden.EVENTS))
def test_events_are_read_back(name: str) -> None:
    """A checked-in event decodes to the very event."""
    assert decode_lifecycle(golden.golden(name)) == golden.EVENTS[name]


def test_hello_and_answers_are_read_back() -> None:
    """So do `hello`, the answer to a start, and a refusal."""
    assert (
        decode_hello(golden.golden("hello")),
        decode_answer(golden.golden("answer-started")),
        decode_answer(golden.golden("answer-refused")),
    ) == (
        golden.HELLO,
        {"saga_id": golden.SAGA, "created": True},
        golden.ANSWERS["answer-refused"],
    )


def test_envelopes_are_read_back_as_single_messages() -> None:
    """Members are the messages that would have been sent singly, address included."""
    of_commands = decode_batch(golden.golden("batch-of-commands"), golden.TOPOLOGY)
    of_replies = decode_batch(golden.golden("batch-of-replies"), golden.TOPOLOGY)
    assert (of_commands[0], of_replies) == (
        golden.golden("command-action"),
        [golden.golden("reply-succeeded"), golden.golden("reply-to-probe")],
    )


def schema_of(name: str, message: AmqpMessage) -> str | None:
    """The schema of a message's body; None for what its command's own schema says."""
    kind, _, rest = name.partition("-")
    if kind == "client":
        return message.routing_key
    if kind == "command":
        op = Op(str(message.headers["amends-op"]))
        special = {Op.COMPENSATION: "compensation", Op.PROBE: "probe", Op.FORGET: "forget"}
        return "ref" if rest.endswith("by-reference") else special.get(op)
    if kind == "reply" and message.content_type == "application/problem+json":
        return "problem"
    names = {
        "hello": "hello",
        "answer-started": "start-answer",
        "answer-refused": "problem",
        "reply-to-probe": "probe-output",
        "reply-to-ledger": "ledger-output",
    }
    return {"event": "lifecycle", "batch": "batch"}.get(kind) or names.get(name)


@pytest.mark.parametrize("name", sorted(ENCODED))
def test_messages_fit_the_published_schemas(name: str) -> None:
    """Headers and body of each example are valid by the schemas for other languages."""
    message = ENCODED[name]
    body = schema_of(name, message)
    if body is not None:
        jsonschema_rs.validate(schema(body), golden.json.loads(message.body))
    for kind in ("command", "reply"):
        if name.startswith(kind):
            jsonschema_rs.validate(schema(f"{kind}-headers"), dict(message.headers))


@pytest.mark.parametrize("verb", ["start", "cancel", "signal", "decide", "enlist.step"])
def test_schemas_refuse_members_that_the_codec_refuses(verb: str) -> None:
    """A misspelt member of a client verb is as wrong by the schema as it is by the codec."""
    message = next(m for m in ENCODED.values() if m.routing_key == verb)
    body: dict[str, Any] = golden.json.loads(message.body) | {"lables": {}}
    with pytest.raises(ValueError, match="lables"):
        decode_client(dataclasses.replace(message, body=to_body(body)))
    with pytest.raises(jsonschema_rs.ValidationError, match="lables"):
        jsonschema_rs.validate(schema(verb), body)
