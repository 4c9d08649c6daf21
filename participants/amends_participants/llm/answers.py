"""From a model's text to an output: found, read, and held against the schema."""

import json
import re
from collections.abc import Mapping
from typing import Any, Final, cast

import jsonschema_rs

from amends_contracts.messages import Json

ERRORS_MAX: Final = 5
"""Of a wrong answer, so many places are shown to the model."""
_FENCED: Final = re.compile(r"\s*```(?:json)?\s*\n(.*?)\n?\s*```\s*", re.DOTALL)


class BadSchema(ValueError):
    """The output schema itself is none."""


class Form:
    """The form an answer must have."""

    def __init__(self, schema: Mapping[str, Json] | None) -> None:
        self.schema = schema
        self._validator: Any = None
        if schema is not None:
            try:
                self._validator = jsonschema_rs.validator_for(
                    dict(schema), retriever=_retrieve_nothing
                )
            except (jsonschema_rs.ValidationError, ValueError) as error:
                raise BadSchema(str(error)) from None

    @property
    def instruction(self) -> str | None:
        """What a model is told of it."""
        if self.schema is None:
            return None
        return (
            "Answer with one JSON object and nothing else: no prose, no code fence. "
            f"It must fit this JSON Schema:\n{json.dumps(self.schema, ensure_ascii=False)}"
        )

    def read(self, text: str) -> dict[str, Json] | str:
        """The output, or what is wrong with the text, for the model to mend."""
        if self._validator is None:
            return {"text": text}
        try:
            value = json.loads(_bare(text), parse_constant=_refuse)
        except (ValueError, RecursionError):
            return "It is not JSON."
        if not isinstance(value, dict):
            return "It is not a JSON object."
        wrong = [
            f"- {_pointer(error.instance_path)}: {error.message}"
            for error, _ in zip(self._validator.iter_errors(value), range(ERRORS_MAX), strict=False)
        ]
        return "\n".join(wrong) if wrong else cast("dict[str, Json]", value)


def _retrieve_nothing(uri: str) -> Json:
    raise LookupError(f"schemas are not fetched: {uri}")


def _bare(text: str) -> str:
    """Without the fence that models like to put around JSON."""
    fenced = _FENCED.fullmatch(text)
    return fenced[1] if fenced else text


def _refuse(name: str) -> Json:
    raise ValueError(f"{name} is no JSON")


def _pointer(path: list[Any]) -> str:
    return "".join(f"/{part}" for part in path) or "/"
