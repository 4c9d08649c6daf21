"""AMQP 0-9-1 frames of the hot path: a message as bytes, and bytes as a message. No IO.

Written by hand because of its price: an orchestrator's and a participant's time went for a third
into making and reading frames one object at a time. What is rare (setting up, declaring, closing)
is pamqp's. Grammar: AMQP 0-9-1, section 4.2, with the field types that RabbitMQ uses.

A property or header that is no text must not end a connection, for the broker would deliver it
again on the next one, and so for ever: such a message comes without its properties, with the one
header `UNDECODABLE` that says why. Whoever reads commands and replies refuses it with the reason.
"""

import struct
from collections.abc import Mapping
from typing import Final, NamedTuple

from amends_contracts.amqp import AmqpMessage, HeaderValue

METHOD: Final = 1
HEADER: Final = 2
BODY: Final = 3
HEARTBEAT: Final = 8
FRAME_END: Final = 0xCE
PREFIX_BYTES: Final = 7
"""Before a frame's payload: type, channel, size."""
FRAME_EXTRA_BYTES: Final = PREFIX_BYTES + 1

BASIC_DELIVER: Final = 0x003C003C
BASIC_RETURN: Final = 0x003C0032
BASIC_ACK: Final = 0x003C0050
BASIC_NACK: Final = 0x003C0078

UNDECODABLE: Final = "amends-undecodable"
REASON_CHARS_MAX: Final = 200

_PERSISTENT: Final = b"\x02"
_END: Final = b"\xce"
_CONTENT_TYPE: Final = 1 << 15
_CONTENT_ENCODING: Final = 1 << 14
_HEADERS: Final = 1 << 13
_DELIVERY_MODE: Final = 1 << 12
_PRIORITY: Final = 1 << 11
_CORRELATION_ID: Final = 1 << 10
_REPLY_TO: Final = 1 << 9
_EXPIRATION: Final = 1 << 8
_MESSAGE_ID: Final = 1 << 7
_TIMESTAMP: Final = 1 << 6
_TYPE: Final = 1 << 5
_USER_ID: Final = 1 << 4

_frame = struct.Struct(">BHI")
_long = struct.Struct(">I")
_longlong = struct.Struct(">Q")
_publish = struct.Struct(">HHH")
_content = struct.Struct(">HHQH")
_ack = struct.Struct(">BHIHHQBB")


class Unencodable(ValueError):
    """A message that AMQP cannot carry: a name over 255 bytes, or headers beyond a frame."""


# --- out -----------------------------------------------------------------------------------------


def encode_publish(message: AmqpMessage, channel: int, frame_max: int) -> bytes:
    """All frames of one publication. Raises Unencodable."""
    method = b"".join(
        (
            _publish.pack(60, 40, 0),
            _short(message.exchange),
            _short(message.routing_key),
            b"\x01" if message.mandatory else b"\x00",
        )
    )
    header = _header(message)
    if len(header) + FRAME_EXTRA_BYTES > frame_max:
        raise Unencodable(f"properties of {len(header)} bytes; a frame holds {frame_max}")
    parts = [
        _frame.pack(METHOD, channel, len(method)),
        method,
        _END,
        _frame.pack(HEADER, channel, len(header)),
        header,
        _END,
    ]
    body, room = message.body, frame_max - FRAME_EXTRA_BYTES
    if len(body) <= room:
        if body:
            parts += (_frame.pack(BODY, channel, len(body)), body, _END)
    else:
        for at in range(0, len(body), room):
            chunk = body[at : at + room]
            parts += (_frame.pack(BODY, channel, len(chunk)), chunk, _END)
    return b"".join(parts)


def encode_frame(kind: int, channel: int, payload: bytes) -> bytes:
    """A frame around its payload."""
    return _frame.pack(kind, channel, len(payload)) + payload + _END


def encode_ack(channel: int, tag: int, *, multiple: bool) -> bytes:
    """`basic.ack` of a delivery, or of all up to it."""
    return _ack.pack(METHOD, channel, 13, 60, 80, tag, multiple, FRAME_END)


def encode_nack(channel: int, tag: int) -> bytes:
    """`basic.nack` of one delivery, to be delivered again."""
    requeue = 2
    return _ack.pack(METHOD, channel, 13, 60, 120, tag, requeue, FRAME_END)


def _header(message: AmqpMessage) -> bytes:
    """Properties that are there; an empty one says nothing."""
    flags = _DELIVERY_MODE
    values: list[bytes] = []
    if message.content_type:
        flags |= _CONTENT_TYPE
        values.append(_short(message.content_type))
    if message.headers:
        flags |= _HEADERS
        values.append(encode_table(message.headers))
    values.append(_PERSISTENT)
    for flag, text in (
        (_CORRELATION_ID, message.correlation_id),
        (_REPLY_TO, message.reply_to),
        (_MESSAGE_ID, message.message_id),
        (_TYPE, message.type),
        (_USER_ID, message.user_id),
    ):
        if text:
            flags |= flag
            values.append(_short(text))
    return _content.pack(60, 0, len(message.body), flags) + b"".join(values)


def encode_table(table: Mapping[str, HeaderValue]) -> bytes:
    """A field table of texts, numbers, truth values and nothings."""
    parts: list[bytes] = []
    for name, value in table.items():
        parts.append(_short(name))
        if isinstance(value, str):
            raw = value.encode()
            parts += (b"S", _long.pack(len(raw)), raw)
        elif value is None:
            parts.append(b"V")
        elif isinstance(value, bool):
            parts.append(b"t\x01" if value else b"t\x00")
        elif isinstance(value, int):
            parts.append(_integer(name, value))
        else:
            parts.append(b"d" + struct.pack(">d", value))
    data = b"".join(parts)
    return _long.pack(len(data)) + data


def _integer(name: str, value: int) -> bytes:
    if -(1 << 31) <= value < 1 << 31:
        return b"I" + struct.pack(">i", value)
    if -(1 << 63) <= value < 1 << 63:
        return b"l" + struct.pack(">q", value)
    raise Unencodable(f"header {name}: {value} has more than 64 bits")


def _short(text: str) -> bytes:
    raw = text.encode()
    if len(raw) > 255:
        raise Unencodable(f"{text[:40]!r}… has {len(raw)} bytes; AMQP takes 255")
    return bytes((len(raw),)) + raw


# --- in ------------------------------------------------------------------------------------------


class Address(NamedTuple):
    """What `basic.deliver` or `basic.return` says of the content that follows."""

    consumer: str
    """Empty of a return."""
    tag: int
    redelivered: bool
    exchange: str
    routing_key: str


class Properties(NamedTuple):
    """The properties that a contract of ours knows."""

    headers: Mapping[str, HeaderValue]
    content_type: str | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    message_id: str | None = None
    type: str | None = None
    user_id: str | None = None


def decode_prefix(data: bytes, at: int) -> tuple[int, int, int]:
    """Type, channel and size of payload of the frame that begins at `at`."""
    return _frame.unpack_from(data, at)


def decode_deliver(payload: bytes) -> Address:
    """`basic.deliver`, from the method's payload."""
    consumer, at = _read_short(payload, 4)
    (tag,) = _longlong.unpack_from(payload, at)
    redelivered = payload[at + 8] & 1 == 1
    exchange, at = _read_name(payload, at + 9)
    routing_key, at = _read_name(payload, at)
    return Address(consumer, tag, redelivered, exchange, routing_key)


def decode_return(payload: bytes) -> Address:
    """`basic.return`, from the method's payload."""
    _, at = _read_name(payload, 6)
    exchange, at = _read_name(payload, at)
    routing_key, at = _read_name(payload, at)
    return Address("", 0, False, exchange, routing_key)


def decode_confirm(payload: bytes) -> tuple[int, bool]:
    """Tag and `multiple` of a `basic.ack` or `basic.nack`."""
    (tag,) = _longlong.unpack_from(payload, 4)
    return tag, payload[12] & 1 == 1


def decode_header(payload: bytes) -> tuple[int, Properties]:
    """Size of the body, and the properties; without them, and with the reason, if they are none."""
    _, _, size, flags = _content.unpack_from(payload, 0)
    try:
        return size, _properties(payload, flags)
    except (ValueError, IndexError, struct.error) as error:
        return size, Properties({UNDECODABLE: repr(error)[:REASON_CHARS_MAX]})


def message_of(address: Address, properties: Properties, body: bytes) -> AmqpMessage:
    """A delivery as plain data."""
    return AmqpMessage(
        exchange=address.exchange,
        routing_key=address.routing_key,
        body=body,
        message_id=properties.message_id,
        type=properties.type,
        correlation_id=properties.correlation_id,
        reply_to=properties.reply_to,
        content_type=properties.content_type,
        user_id=properties.user_id,
        headers=properties.headers,
    )


def _properties(data: bytes, flags: int) -> Properties:
    at = _content.size
    content_type = correlation_id = reply_to = message_id = type_ = user_id = None
    headers: Mapping[str, HeaderValue] = {}
    if flags & 1:
        raise ValueError("more property flags than there are properties")
    if flags & _CONTENT_TYPE:
        content_type, at = _read_short(data, at)
    if flags & _CONTENT_ENCODING:
        at = _skip_short(data, at)
    if flags & _HEADERS:
        headers, at = decode_table(data, at)
    if flags & _DELIVERY_MODE:
        at += 1
    if flags & _PRIORITY:
        at += 1
    if flags & _CORRELATION_ID:
        correlation_id, at = _read_short(data, at)
    if flags & _REPLY_TO:
        reply_to, at = _read_short(data, at)
    if flags & _EXPIRATION:
        at = _skip_short(data, at)
    if flags & _MESSAGE_ID:
        message_id, at = _read_short(data, at)
    if flags & _TIMESTAMP:
        at += 8
    if flags & _TYPE:
        type_, at = _read_short(data, at)
    if flags & _USER_ID:
        user_id, at = _read_short(data, at)
    return Properties(headers, content_type, correlation_id, reply_to, message_id, type_, user_id)


def decode_table(data: bytes, at: int) -> tuple[dict[str, HeaderValue], int]:
    """A field table at `at`, and where it ends.

    Values that no header of the contract has (tables, lists, times, decimals) are left out. Raises
    ValueError, IndexError or struct.error where the bytes are no table.
    """
    (size,) = _long.unpack_from(data, at)
    at += 4
    end = at + size
    if end > len(data):
        raise ValueError("a table that is longer than its frame")
    table: dict[str, HeaderValue] = {}
    while at < end:
        name, at = _read_short(data, at)
        kind = data[at]
        at += 1
        if kind in _TEXTS:
            (length,) = _long.unpack_from(data, at)
            at += 4 + length
            table[name] = data[at - length : at].decode("utf-8", "replace")
        elif (scalar := _SCALARS.get(kind)) is not None:
            (value,) = scalar.unpack_from(data, at)
            table[name] = value
            at += scalar.size
        elif kind == _NOTHING:
            table[name] = None
        elif kind in _SIZED:
            (length,) = _long.unpack_from(data, at)
            at += 4 + length
        elif kind in _FIXED:
            at += _FIXED[kind]
        else:
            raise ValueError(f"header {name}: no type {chr(kind)!r} is known")
    if at != end:
        raise ValueError("a table that does not end where it says")
    return table, at


_TEXTS: Final = frozenset(b"Sx")
"""Texts, and bytes that may be one."""
_NOTHING: Final = ord("V")
_SIZED: Final = frozenset(b"AF")
"""Lists and tables."""
_FIXED: Final = {ord("T"): 8, ord("D"): 5}
"""Times and decimals."""
_SCALARS: Final = {
    ord(kind): struct.Struct(layout)
    for kind, layout in {
        "t": ">?",
        "b": ">b",
        "B": ">B",
        "s": ">h",
        "u": ">H",
        "I": ">i",
        "i": ">I",
        "l": ">q",
        "L": ">q",
        "f": ">f",
        "d": ">d",
    }.items()
}


def _read_short(data: bytes, at: int) -> tuple[str, int]:
    end = at + 1 + data[at]
    raw = data[at + 1 : end]
    if end > len(data):
        raise ValueError("a text that is longer than its frame")
    return raw.decode(), end


def _skip_short(data: bytes, at: int) -> int:
    return at + 1 + data[at]


def _read_name(data: bytes, at: int) -> tuple[str, int]:
    """A name of the broker's. Bytes that are no text become question marks: no name of the
    contract has these.
    """
    end = at + 1 + data[at]
    raw = data[at + 1 : end]
    try:
        return raw.decode(), end
    except UnicodeDecodeError:
        return raw.decode("ascii", "replace").replace("\ufffd", "?"), end
