"""What is not of the contract is refused, and the reason names the place and what was expected."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from amends_contracts.amqp import AmqpMessage
from amends_contracts.codec import (
    BadBody,
    WireError,
    decode_answer,
    decode_client,
    decode_command,
    decode_hello,
    decode_lifecycle,
    decode_reply,
    encode_client,
    encode_command,
    encode_hello,
    encode_reply,
    trace_of,
)
from amends_contracts.messages import (
    JSON_TYPE,
    ActionOutcome,
    Hello,
    Outcome,
    Reply,
    Start,
    Usage,
    to_body,
)
from amends_contracts.names import MessageId
from amends_contracts.problems import PROBLEM_CONTENT_TYPE, Problem
from wire import golden
from wire.golden import ACTION, COMPENSATION, SUCCEEDED, TOPOLOGY

SAGA = golden.SAGA
COMMAND = encode_command(ACTION, TOPOLOGY)
UNDO = encode_command(COMPENSATION, TOPOLOGY)
REPLY = encode_reply(SUCCEEDED, golden.REPLY_TO, TOPOLOGY)
START = golden.golden("client-start")
HELLO = golden.golden("hello")


def changed(message: AmqpMessage, **changes: Any) -> AmqpMessage:
    """The message with another property, body, or header (`h_amends_op="x"`; None: without it)."""
    headers = dict(message.headers)
    for name, value in changes.items():
        if name.startswith("h_"):
            headers[name[2:].replace("_", "-")] = value
    headers = {name: value for name, value in headers.items() if value is not None}
    rest = {name: value for name, value in changes.items() if not name.startswith("h_")}
    return replace(message, headers=headers, **rest)


def reason(decode: Callable[[AmqpMessage], object], message: AmqpMessage) -> str:
    """Why the message is refused."""
    with pytest.raises(WireError) as refused:
        decode(message)
    return refused.value.reason


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"h_amends_op": "do"},
            (
                "header amends-op: expected action | compensation | probe | turn | ledger | forget,"
                " got 'do'"
            ),
        ),
        (
            {"h_amends_wire": 2},
            "header amends-wire: expected version 1 of the contract, got 2",
        ),
        (
            {"h_amends_wire": None},
            "header amends-wire: expected version 1 of the contract, got nothing",
        ),
        (
            {"h_amends_wire": True},
            "header amends-wire: expected version 1 of the contract, got True",
        ),
        (
            {"type": "Reserve"},
            "property type: expected a command name <service>.<verb>, got 'Reserve'",
        ),
        (
            {"content_type": "text/xml"},
            (
                "property content_type: expected application/json or"
                " application/vnd.amends.ref+json, got 'text/xml'"
            ),
        ),
        ({"message_id": None}, "property message_id: expected a text, got nothing"),
        (
            {"message_id": "m" * 241},
            f"property message_id: expected at most 240 bytes, got '{'m' * 76}...",
        ),
        (
            {"correlation_id": "7"},
            "property correlation_id: expected a saga id (UUID in lower case), got '7'",
        ),
        ({"reply_to": None}, "property reply_to: expected a text, got nothing"),
        (
            {"h_amends_key": None},
            "header amends-key: expected a text of at most 1024 characters, got nothing",
        ),
        (
            {"h_amends_key": f"{SAGA}/flight/probe"},
            (
                f"header amends-key: expected a key of saga {SAGA} that ends with action,"
                f" got '{SAGA}/flight/probe'"
            ),
        ),
        (
            {"h_amends_key": f"{SAGA}/Flight/action"},
            (
                "header amends-key: expected a key <saga_id>/<step path>/<op>,"
                f" got '{SAGA}/Flight/action'"
            ),
        ),
        (
            {"h_amends_digest": 5},
            "header amends-digest: expected a text of at most 1024 characters, got 5",
        ),
        ({"h_amends_attempt": "one"}, "header amends-attempt: expected an integer, got 'one'"),
        ({"h_amends_attempt": True}, "header amends-attempt: expected an integer, got True"),
        (
            {"h_amends_attempt": 0},
            "header amends-attempt: expected an integer from 1 to 2147483647, got 0",
        ),
        (
            {"h_amends_deadline": "tomorrow"},
            (
                "header amends-deadline: expected an RFC 3339 time such as 2026-01-31T12:00:00Z,"
                " got 'tomorrow'"
            ),
        ),
        (
            {"h_amends_deadline": "2026-03-01T12:00:30"},
            (
                "header amends-deadline: expected an RFC 3339 time such as 2026-01-31T12:00:00Z,"
                " got '2026-03-01T12:00:30'"
            ),
        ),
        (
            {"body": b"[1]"},
            "body: expected a JSON object, got [1]",
        ),
        (
            {"body": b"{"},
            "body: expected a JSON object, but EOF while parsing an object at line 1 column 1",
        ),
        (
            {"body": b'{"a":1e999}'},
            "body: expected numbers that a double can hold, got one beyond",
        ),
        (
            {"body": b'{"a":"' + b"x" * 262_144 + b'"}'},
            "body: expected at most 262144 bytes, got 262152",
        ),
    ],
)
def test_commands_are_refused(changes: dict[str, Any], expected: str) -> None:
    """A command that breaks one rule is refused for that rule."""
    assert reason(decode_command, changed(COMMAND, **changes)) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"h_amends_compensates": None},
            "header amends-compensates: expected a text of at most 1024 characters, got nothing",
        ),
        (
            {"h_amends_compensates": "flight"},
            "header amends-compensates: expected a key <saga_id>/<step path>/<op>, got 'flight'",
        ),
        (
            {"h_amends_action_outcome": "maybe"},
            "header amends-action-outcome: expected succeeded | unknown, got 'maybe'",
        ),
    ],
)
def test_compensations_are_refused(changes: dict[str, Any], expected: str) -> None:
    """A compensation says which action it undoes, and what is known of it."""
    assert reason(decode_command, changed(UNDO, **changes)) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"h_amends_outcome": "done"},
            (
                "header amends-outcome: expected succeeded | failed | unknown | fenced | progress,"
                " got 'done'"
            ),
        ),
        (
            {"h_amends_key": "0197a1b2-c3d4-7e5f-8a6b-0123456789ac/flight/action"},
            (
                f"header amends-key: expected a key of saga {SAGA}, the correlation_id,"
                " got '0197a1b2-c3d4-7e5f-8a6b-0123456789ac/flight/action'"
            ),
        ),
        (
            {"h_amends_retry_after": -1},
            "header amends-retry-after: expected an integer from 0 to 2147483647, got -1",
        ),
        (
            {"h_amends_retryable": "yes"},
            "header amends-retryable: expected true or false, got 'yes'",
        ),
        (
            {"h_amends_usage": '{"input_tokens":1,"output_tokens":-1,"usd":0,"model":"m"}'},
            "header amends-usage, member output_tokens: expected a number of tokens, got -1",
        ),
        ({"h_amends_usage": "[]"}, "header amends-usage: expected a JSON object, got '[]'"),
        (
            {"content_type": None},
            (
                "property content_type: expected application/json or application/problem+json,"
                " got nothing"
            ),
        ),
    ],
)
def test_replies_are_refused(changes: dict[str, Any], expected: str) -> None:
    """A reply that breaks one rule is refused for that rule."""
    assert reason(decode_reply, changed(REPLY, **changes)) == expected


def test_a_bad_body_leaves_the_rest_readable() -> None:
    """Where only the body is wrong, the step can still be told."""
    with pytest.raises(BadBody) as refused:
        decode_reply(changed(REPLY, body=b"\xff"))
    assert refused.value.message == replace(SUCCEEDED, body=b"{}")


@pytest.mark.parametrize("body", [rb'{"a":["x\u0000"]}', rb'{"\u0000":1}', rb'{"a":"\\\u0000"}'])
def test_a_body_with_u_0000_is_refused(body: bytes) -> None:
    """No database keeps it; in the REST API it is refused, too."""
    expected = "body: expected texts that a database can keep, got one with U+0000"
    for decode, message in ((decode_command, COMMAND), (decode_reply, REPLY)):
        with pytest.raises(BadBody) as refused:
            decode(changed(message, body=body))
        assert refused.value.reason == expected
    assert reason(decode_client, changed(START, body=body)) == expected


def test_an_escaped_backslash_before_u0000_is_a_text() -> None:
    """It is six harmless characters."""
    body = rb'{"a":"\\u0000","b":"\\\\u0000"}'
    assert decode_reply(changed(REPLY, body=body)).body == body


@pytest.mark.parametrize(
    "changes",
    [
        {"message_id": "a\0"},
        {"h_amends_token": "a\0"},
        {"h_amends_usage": r'{"input_tokens":1,"output_tokens":1,"usd":0,"model":"\u0000"}'},
    ],
)
def test_a_text_with_u_0000_is_refused(changes: dict[str, Any]) -> None:
    """In properties and headers, too."""
    assert "without U+0000" in reason(decode_reply, changed(REPLY, **changes))


def test_a_trace_with_u_0000_is_none() -> None:
    """Nobody's work is refused for advice."""
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    message = changed(REPLY, h_traceparent=parent, h_tracestate="a=\0", h_baggage="b=1")
    trace = trace_of(message)
    assert trace is not None
    assert (trace.tracestate, trace.baggage) == (None, "b=1")
    assert trace_of(changed(REPLY, h_traceparent=f"{parent}\0")) is None


@pytest.mark.parametrize(
    ("name", "body", "expected"),
    [
        ("start", {"definition": "a", "key": "k"}, "body /input: expected a value, got nothing"),
        (
            "start",
            {"definition": "A", "key": "k", "input": 1},
            "body /definition: expected a definition's name, got 'A'",
        ),
        (
            "start",
            {"definition": "a", "key": "", "input": 1},
            "body /key: expected a text of 1 to 200 characters, got ''",
        ),
        (
            "start",
            {"definition": "a", "key": "k\x01", "input": 1},
            "body /key: expected a text without control characters, got 'k\\x01'",
        ),
        (
            "start",
            {"definition": "a", "key": "k", "input": 1, "version": True},
            "body /version: expected a version, an integer >= 1, got True",
        ),
        (
            "start",
            {"definition": "a", "key": "k", "input": 1, "labels": {"a/b": 1}},
            "body /labels/a~1b: expected a text of 1 to 200 characters, got 1",
        ),
        (
            "start",
            {"definition": "a", "key": "k", "input": 1, "lables": {}},
            "body /lables: expected no such member, got 'lables'",
        ),
        (
            "cancel",
            {"saga_id": "17", "reason": "x"},
            "body /saga_id: expected a saga id (UUID in lower case), got '17'",
        ),
        (
            "signal",
            {"event": "e", "id": "1", "definition": "a"},
            "body: expected saga_id, or definition and key, got nothing",
        ),
        (
            "decide",
            {"review_id": "r", "decision": "yes", "shown_digest": "d"},
            "body /decision: expected approve | reject | edit, got 'yes'",
        ),
        (
            "enlist.open",
            {"definition": "a", "key": "k", "lease": "30s"},
            "body /lease: expected an ISO 8601 duration, got '30s'",
        ),
        (
            "enlist.step",
            {"compensation": {"command": "x", "body": 1}},
            "body /compensation/command: expected a command name <service>.<verb>, got 'x'",
        ),
    ],
)
def test_client_messages_are_refused(name: str, body: object, expected: str) -> None:
    """A verb's body is refused with the JSON pointer of the member."""
    assert reason(decode_client, replace(START, routing_key=name, body=to_body(body))) == expected


def test_foreign_verbs_are_refused() -> None:
    """An unknown routing key is refused with the verbs that there are."""
    assert reason(decode_client, replace(START, routing_key="begin")) == (
        "routing key: expected start | cancel | undo | signal | decide | enlist.open | enlist.step"
        " | enlist.settle | enlist.renew | enlist.close | enlist.fail, got 'begin'"
    )


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"service": "Flights"}, "body /service: expected a service name, got 'Flights'"),
        ({"commands": []}, "body /commands: expected a JSON object, got []"),
        (
            {"commands": {"hotels.book": {}}},
            "body /commands/hotels.book: expected a command flights.<verb>, got 'hotels.book'",
        ),
        (
            {"commands": {"flights.x": {"effect": "magic", "reversal": "compensatable"}}},
            (
                "body /commands/flights.x/effect: expected transactional | keyed | queryable"
                " | none, got 'magic'"
            ),
        ),
        ({"horizon": "a month"}, "body /horizon: expected an ISO 8601 duration, got 'a month'"),
        (
            {"horizon": "P99999999999D"},
            "body /horizon: expected an ISO 8601 duration, got 'P99999999999D'",
        ),
        ({"accepts": "batch"}, "body /accepts: expected a list of texts, got 'batch'"),
    ],
)
def test_hellos_are_refused(body: dict[str, object], expected: str) -> None:
    """A `hello` that says something wrong of itself is refused with the place."""
    whole = golden.json.loads(HELLO.body) | body
    assert reason(decode_hello, replace(HELLO, body=to_body(whole))) == expected


def test_events_of_another_cloudevents_version_are_refused() -> None:
    """Only CloudEvents 1.0 is read."""
    event = golden.golden("event-saga-started")
    headers = {**event.headers, "cloudEvents_specversion": "2.0"}
    assert reason(decode_lifecycle, replace(event, headers=headers)) == (
        "header cloudEvents_specversion: expected 1.0, got '2.0'"
    )


def test_an_answer_that_is_no_problem_is_refused() -> None:
    """A problem's members have their types."""
    message = AmqpMessage(
        exchange="", routing_key="q", body=b'{"status":"x"}', content_type=PROBLEM_CONTENT_TYPE
    )
    assert reason(decode_answer, message) == (
        "body: expected a problem (RFC 9457), got {'status': 'x'}"
    )


# --- tolerance -----------------------------------------------------------------------------------


def test_readers_accept_decimal_strings_and_boolean_words() -> None:
    """Clients that cannot write other header types are understood."""
    as_text = changed(
        REPLY,
        h_amends_attempt="1",
        h_amends_outcome="failed",
        h_amends_retryable="true",
        h_amends_retry_after="30",
        h_amends_wire="1",
    )
    expected = replace(SUCCEEDED, outcome=Outcome.FAILED, retryable=True, retry_after_s=30.0)
    assert decode_reply(as_text) == expected
    assert decode_command(changed(COMMAND, h_amends_attempt="1", h_amends_wire="1")) == ACTION


def test_headers_of_a_newer_contract_are_kept() -> None:
    """What this reader does not know is handed on; what is not ours is passed over."""
    message = changed(COMMAND, h_amends_colour="blue", h_x_other="1")
    assert decode_command(message) == replace(ACTION, extra_headers={"amends-colour": "blue"})


def test_a_trace_that_is_none_is_ignored() -> None:
    """A wrong trace context never stops a message."""
    assert trace_of(changed(COMMAND, h_traceparent="nonsense")) is None


def test_newer_members_of_hello_are_passed_over() -> None:
    """A hint may grow."""
    body = golden.json.loads(HELLO.body) | {"region": "eu"}
    assert decode_hello(replace(HELLO, body=to_body(body))) == golden.HELLO


# --- what may not be sent ------------------------------------------------------------------------


def test_nothing_too_large_is_encoded() -> None:
    """Bodies over 256 KiB and ids over 240 bytes are refused before they are sent."""
    large = b'"' + b"x" * 262_144 + b'"'
    for encode in (
        lambda: encode_command(replace(ACTION, body=large), TOPOLOGY),
        lambda: encode_reply(replace(SUCCEEDED, body=large), "reply.a.01", TOPOLOGY),
        lambda: encode_client(Start(definition="a", key="k", input="x" * 262_144), TOPOLOGY),
        lambda: encode_hello(
            Hello(service="a", instance="i", commands={}, sdk="x" * 262_144), TOPOLOGY
        ),
        lambda: encode_command(replace(ACTION, message_id=MessageId("ü" * 121)), TOPOLOGY),
    ):
        with pytest.raises(WireError, match="expected at most"):
            encode()


def test_retry_after_is_rounded_up() -> None:
    """Nobody is asked to come back too early."""
    message = encode_reply(replace(SUCCEEDED, retry_after_s=0.2), "reply.a.01", TOPOLOGY)
    assert message.headers["amends-retry-after"] == 1


def test_a_foreign_problem_is_kept_as_text() -> None:
    """A body that is no problem still says what it says."""
    reply = Reply(
        saga_id=SAGA,
        type="a.b",
        key=SUCCEEDED.key,
        attempt=1,
        token=None,
        message_id=MessageId("m"),
        outcome=Outcome.FAILED,
        body=b'{"type": 5}',
        content_type=JSON_TYPE,
    )
    assert reply.problem() == Problem(detail='{"type": 5}')


def test_an_unknown_price_stays_unknown() -> None:
    """`usd` null is not zero."""
    usage = Usage(1, 2, None, "m")
    message = encode_reply(replace(SUCCEEDED, usage=usage), "reply.a.01", TOPOLOGY)
    assert decode_reply(message).usage == usage


def test_what_is_known_of_the_action_is_a_closed_vocabulary() -> None:
    """`succeeded` or `unknown`; a failed action is never compensated."""
    assert [member.value for member in ActionOutcome] == ["succeeded", "unknown"]
