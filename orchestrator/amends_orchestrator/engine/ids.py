"""New ids: UUID version 7, which sort by the time they were made and so keep indexes compact."""

import os
import time
from uuid import UUID


def uuid7(unix_ms: int | None = None, random: bytes | None = None) -> UUID:
    """A UUID version 7 of this moment, or of the time and the 10 random bytes given."""
    ms = time.time_ns() // 1_000_000 if unix_ms is None else unix_ms
    tail = int.from_bytes(os.urandom(10) if random is None else random)
    bits = (ms & (1 << 48) - 1) << 80 | tail
    bits = bits & ~(0xF << 76) | 7 << 76
    return UUID(int=bits & ~(0x3 << 62) | 2 << 62)
