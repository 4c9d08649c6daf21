"""Frames by hand say what an AMQP library says, and survive what strangers send."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import frame as frames
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from amends_amqp import wire
from amends_contracts.amqp import AmqpMessage, HeaderValue

FRAME_MAX = 4096

short = st.text(min_size=1, max_size=60)
names = st.from_regex(r"[a-zA-Z][a-z0-9-]{0,40}", fullmatch=True)
values: st.SearchStrategy[HeaderValue] = st.one_of(
    st.text(max_size=100),
    st.booleans(),
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.floats(width=32, allow_nan=False),
    st.none(),
)
messages = st.builds(
    AmqpMessage,
    exchange=st.from_regex(r"[a-z.]{0,20}", fullmatch=True),
    routing_key=short,
    body=st.sampled_from([b"", b"{}", b"x" * FRAME_MAX, b"y" * 9_000]),
    message_id=st.none() | short,
    type=st.none() | short,
    correlation_id=st.none() | short,
    reply_to=st.none() | short,
    content_type=st.none() | short,
    user_id=st.none() | short,
    headers=st.dictionaries(names, values, max_size=5),
    mandatory=st.booleans(),
)


def parts(data: bytes) -> list[bytes]:
    """The frames of a publication, each whole."""
    found: list[bytes] = []
    at = 0
    while at < len(data):
        _, channel, size = wire.decode_prefix(data, at)
        assert channel == 1
        end = at + wire.PREFIX_BYTES + size + 1
        assert size + wire.FRAME_EXTRA_BYTES <= FRAME_MAX
        assert data[end - 1] == wire.FRAME_END
        found.append(data[at:end])
        at = end
    return found


def payload(frame: bytes) -> bytes:
    """What a frame carries."""
    return frame[wire.PREFIX_BYTES : -1]


@given(messages)
def test_a_publication_reads_back_as_the_message(message: AmqpMessage) -> None:
    """By our own reader, all of it."""
    _method, header, *bodies = parts(wire.encode_publish(message, 1, FRAME_MAX))
    size, properties = wire.decode_header(payload(header))
    assert size == len(message.body)
    assert b"".join(map(payload, bodies)) == message.body
    address = wire.Address("c", 7, False, message.exchange, message.routing_key)
    again = wire.message_of(address, properties, message.body)
    assert {**again.headers} == {**message.headers}
    assert again == AmqpMessage(
        exchange=message.exchange,
        routing_key=message.routing_key,
        body=message.body,
        message_id=message.message_id,
        type=message.type,
        correlation_id=message.correlation_id,
        reply_to=message.reply_to,
        content_type=message.content_type,
        user_id=message.user_id,
        headers=message.headers,
    )


@given(messages)
def test_another_library_reads_the_same(message: AmqpMessage) -> None:
    """By pamqp: method, properties, headers."""
    method, header, *_ = parts(wire.encode_publish(message, 1, FRAME_MAX))
    _, _, publish = frames.unmarshal(method)
    assert isinstance(publish, Basic.Publish)
    assert (publish.exchange, publish.routing_key, publish.mandatory) == (
        message.exchange,
        message.routing_key,
        message.mandatory,
    )
    _, _, content = frames.unmarshal(header)
    assert isinstance(content, ContentHeader)
    properties = content.properties
    assert properties.message_id == message.message_id
    assert properties.message_type == message.type
    assert properties.delivery_mode == 2
    assert (properties.headers or {}) == {**message.headers}


@given(messages)
def test_what_another_library_writes_is_read(message: AmqpMessage) -> None:
    """Properties that pamqp makes."""
    properties = Basic.Properties(
        content_type=message.content_type,
        content_encoding="utf-8",
        headers={**message.headers} or None,
        priority=3,
        expiration="60000",
        message_id=message.message_id,
        user_id=message.user_id,
        app_id="app",
    )
    data = ContentHeader(0, len(message.body), properties).marshal()
    size, read = wire.decode_header(data)
    assert size == len(message.body)
    assert read.message_id == message.message_id
    assert read.content_type == message.content_type
    assert read.user_id == message.user_id
    assert {**read.headers} == {**message.headers}


def test_headers_that_no_contract_has_are_left_out() -> None:
    """Tables, lists, times, also impossible ones: what stands beside them is read."""
    table = (
        b"\x01aF" + struct.pack(">I", 4) + b"\x01xt\x01"
        b"\x01bA" + struct.pack(">I", 2) + b"t\x01"
        b"\x01cT" + b"\xff" * 8 + b"\x01dD\x02\x00\x00\x00\x01\x01eS\x00\x00\x00\x01!"
    )
    data = struct.pack(">I", len(table)) + table
    assert wire.decode_table(data, 0) == ({"e": "!"}, len(data))


@given(st.binary(max_size=200))
def test_any_bytes_are_properties_or_a_reason(noise: bytes) -> None:
    """Whatever a header frame holds beyond the body's size, reading it raises nothing."""
    for flags in (0xFFFE, 0xFFFF, 1 << 13, 1 << 7):
        size, properties = wire.decode_header(struct.pack(">HHQH", 60, 0, 9, flags) + noise)
        assert size == 9
        assert isinstance(properties.headers, dict)


@pytest.mark.parametrize(
    "message",
    [
        AmqpMessage(exchange="e", routing_key="r" * 256, body=b""),
        AmqpMessage(exchange="e", routing_key="r", body=b"", type="ä" * 128),
        AmqpMessage(exchange="e", routing_key="r", body=b"", headers={"n": 1 << 63}),
        AmqpMessage(exchange="e", routing_key="r", body=b"", headers={"n": "x" * FRAME_MAX}),
    ],
    ids=["routing key", "property", "number", "headers"],
)
def test_what_amqp_cannot_carry_is_refused(message: AmqpMessage) -> None:
    """Before a byte of it is written."""
    with pytest.raises(wire.Unencodable):
        wire.encode_publish(message, 1, FRAME_MAX)


def test_acknowledgements_read_as_such() -> None:
    """By pamqp."""
    _, channel, ack = frames.unmarshal(wire.encode_ack(1, 99, multiple=True))
    assert isinstance(ack, Basic.Ack)
    assert (channel, ack.delivery_tag, ack.multiple) == (1, 99, True)
    _, _, nack = frames.unmarshal(wire.encode_nack(1, 98))
    assert isinstance(nack, Basic.Nack)
    assert (nack.delivery_tag, nack.multiple, nack.requeue) == (98, False, True)
