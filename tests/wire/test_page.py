"""docs/wire.md says what is true."""

import re

from amends_contracts.codec.clients import VERBS
from amends_contracts.codec.headers import HEADER_CHARS_MAX, TRACE_CHARS_MAX
from amends_contracts.codec.members import LABELS_MAX, PROSE_CHARS_MAX, TEXT_CHARS_MAX
from amends_contracts.codec.replies import USAGE_CHARS_MAX
from amends_contracts.messages import LifecycleEvent, Outcome
from amends_contracts.names import (
    BODY_BYTES_MAX,
    MESSAGE_ID_BYTES_MAX,
    STEP_PATH_BYTES_MAX,
    Op,
)
from wire import golden

PAGE = golden.PAGE.read_text("utf-8")


def test_examples_are_the_golden_messages() -> None:
    """Each example is its file, character for character."""
    shown = {found["name"]: found["text"] for found in golden.BLOCK.finditer(PAGE)}
    assert shown == {name: (golden.FOLDER / f"{name}.json").read_text("utf-8") for name in shown}
    assert PAGE.count("```json") == len(shown)


def test_every_kind_of_message_is_shown() -> None:
    """Ops, outcomes and verbs; `hello`, answers, events and envelopes."""
    shown = {found["name"] for found in golden.BLOCK.finditer(PAGE)}
    kinds = {f"command-{op}" for op in Op} | {f"reply-{outcome}" for outcome in Outcome}
    kinds |= {f"client-{verb.replace('.', '-')}" for verb in VERBS.values()}
    kinds |= {"hello", "answer-started", "answer-refused", "event-saga-started"}
    assert kinds | {"batch-of-commands", "batch-of-replies"} <= shown


def test_vocabularies_and_limits_are_the_contracts() -> None:
    """Every event, header and limit of the code stands on the page."""
    headers = {name for message in golden.encoded().values() for name in message.headers}
    words = {event.value for event in LifecycleEvent}
    words |= {name for name in headers if name.startswith("amends-")}
    assert {word for word in words if f"`{word}`" not in PAGE} == set()
    limits = PAGE[PAGE.index("## Limits") :].replace(",", "")
    numbers = {int(number) for number in re.findall(r"\d+", limits)}
    assert numbers >= {
        BODY_BYTES_MAX,
        MESSAGE_ID_BYTES_MAX,
        STEP_PATH_BYTES_MAX,
        HEADER_CHARS_MAX,
        TRACE_CHARS_MAX,
        USAGE_CHARS_MAX,
        TEXT_CHARS_MAX,
        PROSE_CHARS_MAX,
        LABELS_MAX,
    }
