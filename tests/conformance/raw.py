"""Messages that no decent client sends: bytes of properties as they are, past every encoder."""

import struct
from typing import Final

import aiormq
from pamqp.commands import Basic


class RawProperties(Basic.Properties):
    """Properties that are these bytes on the wire: flags and values."""

    def __init__(self, flags: int, values: bytes) -> None:
        super().__init__()
        self.raw = struct.pack(">H", flags) + values

    def marshal(self) -> bytes:
        """What was given."""
        return self.raw


class RawText(str):
    """A text that is `raw` on the wire."""

    __slots__ = ("raw",)
    raw: bytes

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        """What was given."""
        return self.raw


def raw_text(raw: bytes) -> RawText:
    """A short string with bytes that may be no text."""
    made = RawText("raw")
    made.raw = raw
    return made


def _table(entry: bytes) -> bytes:
    return struct.pack(">I", len(entry)) + entry


UNDECODABLE: Final = {
    "key": RawProperties(1 << 13, _table(b"\x02\xff\xfeI\x00\x00\x00\x01")),
    "message-id": RawProperties(1 << 7, b"\x02\xff\xfe"),
}
"""By what is wrong with it."""
IMPOSSIBLE_TIMES: Final = (
    RawProperties(1 << 13, _table(b"\x01tT" + b"\xff" * 8 + b"\x01nI\x00\x00\x00\x01")),
    RawProperties(1 << 6, b"\x7f" + b"\xff" * 7),
)
"""Beyond every calendar; nothing of ours reads a time there."""


async def publish_raw(
    url: str, exchange: str, routing_key: str, properties: list[Basic.Properties]
) -> None:
    """Publish a message each, confirmed, on a connection of its own; bodies are `{}`."""
    connection = await aiormq.connect(url)
    try:
        channel = await connection.channel()
        for one in properties:
            await channel.basic_publish(
                b"{}", exchange=exchange, routing_key=routing_key, properties=one, mandatory=True
            )
    finally:
        await connection.close()
