"""The form of an edit: what is typed is what changes, and nothing else does."""

from collections.abc import Mapping
from urllib.parse import urlencode

import pytest
from starlette.requests import Request

from amends_contracts.messages import Json
from amends_orchestrator.console.forms import FORM_TYPE, read_form
from amends_orchestrator.console.review_forms import FIELD, FIELDS_MAX, WHOLE, edited, fields_of

FORM: Json = {
    "type": "object",
    "properties": {
        "amount": {"type": "integer"},
        "note": {"type": "string"},
        "memo": {"type": "string"},
        "x": {"type": ["string", "null"]},
        "how": {"enum": ["card", "cash"]},
        "fast": {"type": "boolean"},
        "more": {"type": "object"},
    },
}
SHOWN: dict[str, Json] = {
    "amount": 5,
    "note": " a\nb",
    "memo": "",
    "x": None,
    "more": {"a": [1, 2]},
    "hidden": 1,
}


def sent(form: Json, shown: Json, **typed: str) -> dict[str, str]:
    """What a browser sends of the form as it is shown, except for what was typed."""
    fields = fields_of(form, shown)
    lines = {field.name: field.value.replace("\n", "\r\n").strip() for field in fields}
    return {n: v for n, v in (lines | {FIELD + n: v for n, v in typed.items()}).items() if v}


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ({}, {}),
        ({"amount": "7"}, {"amount": 7}),
        ({"note": "a\r\nc"}, {"note": "a\nc"}),
        ({"memo": "m"}, {"memo": "m"}),
        ({"how": "cash"}, {"how": "cash"}),
        ({"fast": "true"}, {"fast": True}),
        ({"more": "[1]"}, {"more": [1]}),
    ],
)
def test_only_what_was_touched_changes(typed: Mapping[str, str], expected: Json) -> None:
    """Lines, empty texts, nulls, and members that are not there stay so."""
    assert isinstance(expected, dict)
    assert edited(FORM, SHOWN, sent(FORM, SHOWN, **typed)) == SHOWN | expected


def test_what_was_emptied_is_taken_out() -> None:
    """And a flag that was set is false."""
    shown: Json = {"amount": 5, "fast": True}
    assert edited(FORM, shown, sent(FORM, shown, amount="", fast="")) == {"fast": False}


def test_a_flag_that_is_false_stays_false() -> None:
    """It is not sent at all."""
    assert edited(FORM, {"fast": False}, {}) == {"fast": False}


def test_a_choice_that_there_is_no_more_stays() -> None:
    """Nothing is chosen for whoever does not choose."""
    shown: Json = {"how": "cheque"}
    assert edited(FORM, shown, sent(FORM, shown)) == shown
    assert edited(FORM, shown, sent(FORM, shown, how="cash")) == {"how": "cash"}


def test_a_text_of_lines_has_a_field_of_lines() -> None:
    """A field of one line would lose them."""
    kinds = {field.label: field.kind for field in fields_of(FORM, SHOWN)}
    assert (kinds["note"], kinds["memo"]) == ("long", "text")


@pytest.mark.parametrize(("typed", "expected"), [("[1,\r\n 2]", [1, 2]), ("[1]", [1])])
def test_a_whole_is_edited_as_json(typed: str, expected: Json) -> None:
    """What is no object has one field."""
    assert edited({"type": "array"}, None, {WHOLE: typed}) == expected
    assert edited({"type": "array"}, None, {}) is None


async def test_a_form_of_all_fields_is_read() -> None:
    """As many as an edit may have, the comment, and the digest."""
    names = [f"{FIELD}m{n}" for n in range(FIELDS_MAX)] + ["comment", "shown_digest"]
    body = urlencode(dict.fromkeys(names, "1")).encode()

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body}

    headers = [(b"content-type", FORM_TYPE.encode())]
    request = Request({"type": "http", "method": "POST", "headers": headers}, receive)
    assert list(await read_form(request)) == names
