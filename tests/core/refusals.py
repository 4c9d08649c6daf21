"""Every rule of the verifier with a document that breaks it, from `refusals.yaml`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from amends_contracts.definition import Definition
from amends_contracts.documents import load_definition
from amends_contracts.messages import CommandInfo, Effect, Reversal
from amends_contracts.problems import FieldError
from amends_contracts.texts import read_yaml

HEAD = """\
name: trip
version: 1
input: {type: object, properties: {to: {type: string}, nights: {type: integer}}}
"""
BOOK = {
    "type": "object",
    "properties": {"to": {"type": "string"}, "class": {"type": "string"}},
    "required": ["to"],
}
SEAT = {"type": "object", "properties": {"code": {"type": "string"}, "usd": {"type": "number"}}}
KNOWN: Mapping[str, CommandInfo] = {
    "flights.book": CommandInfo(
        Effect.KEYED, Reversal.COMPENSATABLE, BOOK, SEAT, compensation="flights.cancel"
    ),
    "cards.charge": CommandInfo(Effect.KEYED, Reversal.IRREVERSIBLE),
    "rates.look": CommandInfo(Effect.QUERYABLE, Reversal.READ_ONLY, probe=True),
}
"""What participants have said of themselves; of `hotels` nothing is known yet."""


@dataclass(frozen=True)
class Refusal:
    """A rule in the words of the page, an example that breaks it, and the whole answer."""

    section: str
    rule: str
    document: str
    errors: tuple[FieldError, ...]

    @property
    def definition(self) -> Definition:
        """The example, read; what it does not say stands in HEAD."""
        head = HEAD.partition("input:")[0] if self.document.startswith("input:") else HEAD
        return load_definition(head + self.document)


def refusals() -> Iterator[Refusal]:
    """All of them, in the order of the page."""
    text = Path(__file__).with_suffix(".yaml").read_text()
    for section, entries in read_yaml(text, {}).items():
        for entry in entries:
            errors = tuple(FieldError(**error) for error in entry["errors"])
            yield Refusal(section, entry["rule"], entry["document"], errors)
