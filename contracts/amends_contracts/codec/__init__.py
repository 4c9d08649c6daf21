"""How the messages of the contract look in AMQP: encoding, and strict decoding, of each.

`encode_*` makes an `AmqpMessage` with its address; `decode_*` takes one apart and raises
`WireError`, naming the header, property or member and what was expected. Commands and replies are
the hot path: hand-written checks there, a few microseconds each. No broker is touched here.
"""

from amends_contracts.codec.batches import (
    BATCH_BYTES_MAX,
    BATCH_MEMBERS_MAX,
    BadMember,
    decode_batch,
    encode_batch,
    is_batch,
)
from amends_contracts.codec.clients import (
    decode_answer,
    decode_client,
    encode_answer,
    encode_client,
    verb_of,
)
from amends_contracts.codec.commands import decode_command, encode_command
from amends_contracts.codec.headers import BadBody, WireError, trace_of
from amends_contracts.codec.hellos import decode_hello, encode_hello
from amends_contracts.codec.lifecycle import decode_lifecycle, encode_lifecycle
from amends_contracts.codec.packing import Packed, pack
from amends_contracts.codec.replies import decode_reply, encode_reply
from amends_contracts.codec.storage import dump_messages, load_messages

__all__ = [
    "BATCH_BYTES_MAX",
    "BATCH_MEMBERS_MAX",
    "BadBody",
    "BadMember",
    "Packed",
    "WireError",
    "decode_answer",
    "decode_batch",
    "decode_client",
    "decode_command",
    "decode_hello",
    "decode_lifecycle",
    "decode_reply",
    "dump_messages",
    "encode_answer",
    "encode_batch",
    "encode_client",
    "encode_command",
    "encode_hello",
    "encode_lifecycle",
    "encode_reply",
    "is_batch",
    "load_messages",
    "pack",
    "trace_of",
    "verb_of",
]
