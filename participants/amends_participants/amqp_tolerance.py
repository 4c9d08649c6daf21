"""Messages whose properties this client cannot decode: they come without, instead of ending it.

pamqp raises on a property or header key that is not UTF-8 and on a time beyond the calendar;
aiormq then ends its connection, the broker delivers the same message on the next one, and so for
ever. So two decoders are wrapped. Properties that cannot be decoded are replaced by one header,
`UNDECODABLE`, which says why. That is safe: a command without its properties
is refused by its reader, so it goes to the dead letters with a reason.
In a routing key, bytes that are no text become question marks: no name of the contract has these.

The wrapped decoders do what they always did but within connections of ours: `tolerate` holds for
the task that calls it and for those it starts, among them the client's reader. Other users of the
client in this process see no change.
"""

from contextvars import ContextVar
from typing import Final

from pamqp.commands import Basic
from pamqp.header import ContentHeader

UNDECODABLE: Final = "amends-undecodable"
ERROR_CHARS_MAX: Final = 200

_tolerant: ContextVar[bool] = ContextVar("amends_tolerant", default=False)
_installed: Final = set[type]()

_decode_header = ContentHeader.unmarshal
_decode_deliver = Basic.Deliver.unmarshal


def tolerate() -> None:
    """In this task and all it starts from now on, no message's properties end a connection."""
    if not _installed:
        _installed.update((ContentHeader, Basic.Deliver))
        ContentHeader.unmarshal = _header
        Basic.Deliver.unmarshal = _deliver
    _tolerant.set(True)


def _header(self: ContentHeader, data: bytes) -> None:
    """The size of the body comes first: without it, the stream itself is out of order."""
    try:
        _decode_header(self, data)
    except Exception as error:
        if not _tolerant.get() or self.class_id is None:
            raise
        reason = repr(error)[:ERROR_CHARS_MAX]
        self.properties = Basic.Properties(headers={UNDECODABLE: reason})


def _deliver(self: Basic.Deliver, data: bytes) -> None:
    """The routing key is the last argument; all others are there when it fails."""
    try:
        _decode_deliver(self, data)
    except UnicodeDecodeError as error:
        if not _tolerant.get():
            raise
        self.routing_key = bytes(error.object).decode("ascii", "replace").replace("\ufffd", "?")
