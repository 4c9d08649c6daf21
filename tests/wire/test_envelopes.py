"""Messages in one: envelopes on the wire, and the rows of the outbox."""

from dataclasses import replace

import pytest

from amends_contracts.amqp import AmqpMessage
from amends_contracts.codec import (
    BadMember,
    WireError,
    decode_batch,
    encode_batch,
    encode_reply,
    load_messages,
)
from wire import golden
from wire.golden import SUCCEEDED, TOPOLOGY

REPLY = encode_reply(SUCCEEDED, golden.REPLY_TO, TOPOLOGY)


def envelope(body: bytes) -> AmqpMessage:
    """Replies in one message."""
    return replace(golden.golden("batch-of-replies"), body=body)


def test_a_bad_member_does_not_disturb_the_others() -> None:
    """It comes out alone, with its place and reason."""
    body = b'[{"properties":{"reply_to":5},"headers":{},"body":{}},7,' + _bytes_of(REPLY) + b"]"
    assert decode_batch(envelope(body), TOPOLOGY) == [
        BadMember(
            0,
            "member 0: member's properties: expected texts of message_id, correlation_id,"
            " reply_to, type, content_type, got 'reply_to'",
            b'{"properties": {"reply_to": 5}, "headers": {}, "body": {}}',
        ),
        BadMember(1, "member 1: member: expected a JSON object, got 7", b"7"),
        REPLY,
    ]


def test_one_bad_member_of_sixty_four_comes_out_alone() -> None:
    """Wherever it stands, the sixty-three are what they were, in their order."""
    member = golden.encoded()["command-action"]
    for position in range(64):
        parts = [_bytes_of(member)] * 63
        parts.insert(position, b'{"properties":{},"headers":{"amends-op":"dance"},"body":{}}')
        body = b"[" + b",".join(parts) + b"]"
        decoded = decode_batch(replace(golden.golden("batch-of-commands"), body=body), TOPOLOGY)
        bad = decoded.pop(position)
        assert isinstance(bad, BadMember)
        assert bad.index == position
        assert decoded == [member] * 63


def _bytes_of(member: AmqpMessage) -> bytes:
    whole = encode_batch([member], exchange="x", routing_key="y", message_id="z").body
    return whole[1:-1]


def test_no_member_overrides_the_envelopes_user() -> None:
    """All members speak as who sent the envelope."""
    members = decode_batch(replace(golden.golden("batch-of-replies"), user_id="flights"), TOPOLOGY)
    assert [m.user_id for m in members if isinstance(m, AmqpMessage)] == ["flights", "flights"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"{}", "envelope: expected a JSON array, got {}"),
        (b"[]", "envelope: expected 1 to 64 members, got 0"),
        (b"[" + b"1," * 64 + b"1]", "envelope: expected 1 to 64 members, got 65"),
        (b"x", "envelope: expected a JSON array, but expected value at line 1 column 1"),
        (b" " * 1_048_577, "envelope: expected at most 1048576 bytes, got 1048577"),
    ],
)
def test_what_is_no_envelope_is_refused_as_a_whole(body: bytes, expected: str) -> None:
    """Size, number and form of the array."""
    with pytest.raises(WireError) as refused:
        decode_batch(envelope(body), TOPOLOGY)
    assert refused.value.reason == expected


def test_envelopes_keep_their_limits() -> None:
    """At most 64 members and 1 MiB are put into one."""
    for members, expected in (
        ([REPLY] * 65, "envelope: expected 1 to 64 members, got 65"),
        ([replace(REPLY, body=b'"' + b"x" * 200_000 + b'"')] * 6, "envelope: expected at most"),
    ):
        with pytest.raises(WireError, match=expected):
            encode_batch(members, exchange="x", routing_key="y", message_id="z")


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (b"", "outbox row: expected messages, got other bytes"),
        (b"[]" + bytes(10), "outbox row: expected messages, got other bytes"),
        (b"AM\x02" + bytes(4), "outbox row: expected version 1, got 2"),
        (b"AM\x01\x00\x00\x00\x02{}", "outbox row: damaged, not enough values to unpack"),
        (b"AM\x01\x00\x00\x00\x0a[[],[],[]]x", "outbox row: expected 17 bytes, got 18"),
    ],
)
def test_a_damaged_outbox_row_is_refused(stored: bytes, expected: str) -> None:
    """Nothing is guessed from bytes that this release cannot read."""
    with pytest.raises(WireError) as refused:
        load_messages(stored)
    assert refused.value.reason.startswith(expected)
