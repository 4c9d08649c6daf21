"""The data of a saga's journal rows that are at hand while a batch is decided."""

import json
from collections.abc import Iterator, Mapping
from typing import Final

from pydantic_core import from_json

from amends_contracts.messages import Json

NO_TEXTS: Final[Mapping[int, str]] = {}


class RowValues(Mapping[int, Json]):
    """By seq: what was added, and what the store remembers, which is read when it is asked for."""

    __slots__ = ("_read", "_texts")

    def __init__(self, texts: Mapping[int, str] = NO_TEXTS) -> None:
        self._texts = texts
        self._read: dict[int, Json] = {}

    def add(self, values: Mapping[int, Json]) -> None:
        """Rows that were decided or fetched."""
        self._read.update(values)

    def __getitem__(self, seq: int) -> Json:
        data = self._read.get(seq)
        if data is None:
            data = self._read[seq] = _read(self._texts[seq])
        return data

    def __contains__(self, seq: object) -> bool:
        return seq in self._read or seq in self._texts

    def __iter__(self) -> Iterator[int]:
        return iter(self._read.keys() | self._texts.keys())

    def __len__(self) -> int:
        return len(self._read.keys() | self._texts.keys())


def _read(text: str) -> Json:
    try:
        return from_json(text)
    except ValueError:  # deeper than it goes
        return json.loads(text)
