"""Reading the members of JSON bodies that are not on the hot path: `hello`, client verbs, answers.

A `Members` hands out each member once, checked; `done()` refuses what nobody asked for.
"""

import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Final, TypeVar, cast

from amends_contracts.codec.headers import (
    INTEGER_MAX,
    choice,
    is_saga_id,
    json_object,
    refused,
)
from amends_contracts.messages import Json
from amends_contracts.names import SagaId

TEXT_CHARS_MAX: Final = 200
"""Of keys, labels and other texts of one line."""
PROSE_CHARS_MAX: Final = 1000
"""Of reasons and comments, which may have several lines."""
LABELS_MAX: Final = 20

_has_control = re.compile(r"[\x00-\x1f\x7f]").search

E = TypeVar("E", bound=StrEnum)


class Members:
    """The members of a JSON object; `where` is the JSON pointer of the object itself."""

    def __init__(self, members: Mapping[str, Json], where: str = "") -> None:
        self._left = dict(members)
        self._where = where

    @classmethod
    def of_body(cls, body: bytes) -> "Members":
        """The members of a message's body."""
        return cls(json_object(body))

    def has(self, name: str) -> bool:
        """Whether the member is there and not null."""
        return self._left.get(name) is not None

    def value(self, name: str) -> Json:
        """Any JSON value; None where it is not there."""
        return self._left.pop(name, None)

    def required(self, name: str) -> Json:
        """Any JSON value, that must be there (null is a value)."""
        if name not in self._left:
            raise refused(self.at(name), "a value", None)
        return self._left.pop(name)

    def text(self, name: str, limit: int = TEXT_CHARS_MAX) -> str:
        """A text that must be there and not be empty."""
        value = self._left.pop(name, None)
        if not isinstance(value, str) or not value or len(value) > limit:
            raise refused(self.at(name), f"a text of 1 to {limit} characters", value)
        if _has_control(value) and (limit == TEXT_CHARS_MAX or "\0" in value):
            raise refused(self.at(name), "a text without control characters", value)
        return value

    def optional_text(self, name: str, limit: int = TEXT_CHARS_MAX) -> str | None:
        """A text, or None where it is not there."""
        return self.text(name, limit) if self.has(name) else self._drop(name)

    def matching(self, name: str, fits: Callable[[str], bool], expected: str) -> str:
        """A text of a certain form."""
        value = self.text(name)
        if not fits(value):
            raise refused(self.at(name), expected, value)
        return value

    def saga_id(self, name: str = "saga_id") -> SagaId:
        """A saga's id."""
        return SagaId(self.matching(name, is_saga_id, "a saga id (UUID in lower case)"))

    def choice(self, name: str, among: type[E]) -> E:
        """A member of a closed vocabulary."""
        return choice(self._left.pop(name, None), self.at(name), among)

    def version(self, name: str = "version") -> int | None:
        """A definition's version, or None where it is not there."""
        value = self._left.pop(name, None)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise refused(self.at(name), "a version, an integer >= 1", value)
        if value > INTEGER_MAX:
            raise refused(self.at(name), f"a version, an integer of at most {INTEGER_MAX}", value)
        return value

    def flag(self, name: str) -> bool:
        """A boolean; false where it is not there."""
        value = self._left.pop(name, None)
        if value is None or isinstance(value, bool):
            return bool(value)
        raise refused(self.at(name), "true or false", value)

    def object(self, name: str) -> dict[str, Any]:
        """A JSON object that must be there."""
        value = self._left.pop(name, None)
        if not isinstance(value, dict):
            raise refused(self.at(name), "a JSON object", value)
        return cast(dict[str, Any], value)

    def labels(self, name: str = "labels") -> dict[str, str]:
        """Label names and values; none where the member is not there."""
        if not self.has(name):
            self._drop(name)
            return {}
        labels = self.object(name)
        if len(labels) > LABELS_MAX:
            raise refused(self.at(name), f"at most {LABELS_MAX} labels", len(labels))
        read = Members(labels, self.at(name))
        return {label: read.text(label) for label in labels}

    def texts(self, name: str) -> list[str]:
        """A list of texts; empty where the member is not there."""
        values: object = self._left.pop(name, None)
        if values is None:
            return []
        if not isinstance(values, list):
            raise refused(self.at(name), "a list of texts", values)
        items = cast(list[Json], values)
        numbered = Members({str(i): item for i, item in enumerate(items)}, self.at(name))
        return [numbered.text(str(i)) for i in range(len(items))]

    def done(self) -> None:
        """Refuse members that nobody asked for: a misspelt one must not pass in silence."""
        for name in self._left:
            raise refused(self.at(name), "no such member", name)

    def at(self, name: str) -> str:
        """How a refusal names a member: a JSON pointer into the body."""
        escaped = name.replace("~", "~0").replace("/", "~1")
        return f"{self._where}/{escaped}" if self._where else f"body /{escaped}"

    def _drop(self, name: str) -> None:
        self._left.pop(name, None)
