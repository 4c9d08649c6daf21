"""Definition documents: read from JSON and YAML alike, refused with place, reason and remedy."""

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from amends_contracts.definition import VERSION_MAX, Action, Definition, Parallel, Retry
from amends_contracts.documents import (
    BadDocument,
    definition_digest,
    describe,
    dump_definition,
    load_definition,
    load_document,
    parse_definition,
    to_text,
)
from amends_contracts.problems import FieldError
from amends_contracts.schemas import schema

YAML = """\
name: book-trip
version: 3
input: {type: object}
deadline: PT2H
steps:
  - id: both
    kind: parallel
    branches:
      flight:
        - &action
          id: flight
          kind: action
          command: flights.reserve
          input: {to: "${ input.to }"}
          retry: &often {max_attempts: 5}
      hotel:
        - {<<: *action, id: hotel, command: hotels.book}
  - {id: mail, kind: action, command: mail.send, retry: *often}
output: {seat: "${ steps.flight.output.code }"}
"""
FLIGHT = Action(
    id="flight",
    command="flights.reserve",
    input={"to": "${ input.to }"},
    retry=Retry(max_attempts=5),
)
DEFINITION = Definition.model_validate(
    {
        "name": "book-trip",
        "version": 3,
        "input": {"type": "object"},
        "deadline": "PT2H",
        "steps": [
            Parallel(
                id="both",
                branches={
                    "flight": (FLIGHT,),
                    "hotel": (FLIGHT.model_copy(update={"id": "hotel", "command": "hotels.book"}),),
                },
            ),
            Action(id="mail", command="mail.send", retry=Retry(max_attempts=5)),
        ],
        "output": {"seat": "${ steps.flight.output.code }"},
    }
)
KINDS: list[dict[str, Any]] = [
    {"kind": "action", "command": "a.b", "when": "${ input.x }", "compensation": {}},
    {"kind": "llm", "prompt": "hi", "models": ["m"], "limits": {"usd": 1.5}},
    {"kind": "tool", "tool": "refund", "review": {"quorum": 2}},
    {"kind": "agent", "decider": "bot", "limits": {"turns": 3}, "tools": ["a", {"name": "b"}]},
    {"kind": "review", "title": "ok?", "expires": "P1D"},
    {"kind": "parallel", "branches": {"b": [{"id": "p1", "kind": "wait", "for": "PT1S"}]}},
    {
        "kind": "choice",
        "cases": [{"when": "${ true }", "steps": [{"id": "c1", "kind": "wait", "for": "PT1S"}]}],
        "otherwise": [{"id": "c2", "kind": "wait", "for": "PT1S"}],
    },
    {
        "kind": "each",
        "items": "${ input.l }",
        "steps": [{"id": "e1", "kind": "wait", "for": "PT1S"}],
    },
    {
        "kind": "repeat",
        "until": "${ true }",
        "max": 3,
        "steps": [{"id": "r1", "kind": "await", "event": "paid"}],
    },
    {
        "kind": "alternatives",
        "plans": [{"name": "a", "steps": [{"id": "a1", "kind": "wait", "until": "2026-01-01"}]}],
    },
    {"kind": "wait", "for": "P1D"},
    {"kind": "await", "event": "paid", "timeout": "PT1H", "on_timeout": "ignore"},
    {"kind": "saga", "definition": "child", "version": 2, "input": {"kind": "x"}},
]


def whole(**changes: Any) -> dict[str, Any]:
    """A small document with other members."""
    step = {"id": "a", "kind": "action", "command": "a.b"}
    return {"name": "small", "version": 1, "steps": [step], **changes}


def refusal(source: str | Path) -> list[str]:
    """The errors of a text, one line each."""
    with pytest.raises(BadDocument) as refused:
        load_definition(source)
    return [describe(error) for error in refused.value.errors]


def test_yaml_and_json_give_the_same_definition() -> None:
    """Anchors, aliases and `<<` are resolved; durations and defaults are those of the model."""
    assert load_definition(YAML) == DEFINITION
    assert load_definition(to_text(DEFINITION)) == DEFINITION


def test_a_dumped_definition_is_canonical() -> None:
    """Defaults are left out but `version` and `kind`; reading it again changes nothing."""
    dumped = dump_definition(DEFINITION)
    action = {
        "kind": "action",
        "command": "flights.reserve",
        "input": {"to": "${ input.to }"},
        "retry": {"max_attempts": 5},
    }
    assert dumped == {
        "name": "book-trip",
        "version": 3,
        "input": {"type": "object"},
        "output": {"seat": "${ steps.flight.output.code }"},
        "deadline": "PT2H",
        "steps": [
            {
                "id": "both",
                "kind": "parallel",
                "branches": {
                    "flight": [{"id": "flight", **action}],
                    "hotel": [{"id": "hotel", **action, "command": "hotels.book"}],
                },
            },
            {
                "id": "mail",
                "kind": "action",
                "command": "mail.send",
                "retry": {"max_attempts": 5},
            },
        ],
    }
    assert dump_definition(parse_definition(dumped)) == dumped


@pytest.mark.parametrize("step", KINDS, ids=lambda step: step["kind"])
def test_every_kind_survives(step: dict[str, Any]) -> None:
    """Each kind of step is read, dumped as it was written, and valid by the published schema."""
    document = whole(steps=[{"id": "s", **step}])
    assert dump_definition(parse_definition(document)) == document
    jsonschema_rs.validate(schema("definition"), document)


def test_the_digest_is_of_the_content() -> None:
    """Neither the order of members nor written-out defaults change it; content does."""
    digests = [
        definition_digest(parse_definition(document))
        for document in (
            whole(),
            dict(reversed(whole(interrupt_after="PT10S").items())),
            whole(version=2),
        )
    ]
    assert digests[0] == digests[1] != digests[2]


def test_the_digest_is_the_same_in_every_release() -> None:
    """A registered version is compared by its digest for ever."""
    assert definition_digest(DEFINITION) == (
        "007ff81d6ce1e46b3a94e0882e9086de7215a77d0187037355eb99bbf7d4503f"
    )


def test_errors_name_line_place_reason_and_remedy(tmp_path: Path) -> None:
    """All of them at once, in the order of the file."""
    file = tmp_path / "trip.yaml"
    file.write_text(
        """\
name: Trip
stepz: 1
steps:
  - id: flight
    kind: action
    command: flights
    inputs: {}
    timeout: 30s
    retry: {max_atempts: 3, max_attempts: 0}
  - id: b
    kind: acton
  - id: c
  - kind: wait
  - {id: d, kind: choice, cases: []}
  - id: e
    kind: review
    title: 7
"""
    )
    steps = "action, llm, tool, agent, review, parallel, choice, each, repeat, alternatives, wait"
    assert [line.removeprefix(f"{file}:") for line in refusal(file)] == [
        "1: /name: 'Trip' is no name; lower case letters, digits, _ and -",
        "2: /stepz: there is no such member; did you mean 'steps'?",
        "6: /steps/0/command: 'flights' is no command; <service>.<verb>, such as flights.reserve",
        "7: /steps/0/inputs: there is no such member; did you mean 'input'?",
        "8: /steps/0/timeout: not an ISO 8601 duration such as PT30S, PT2H or P1D: '30s'",
        "9: /steps/0/retry/max_attempts: must be greater than or equal to 1, not 0",
        "9: /steps/0/retry/max_atempts: there is no such member; did you mean 'max_attempts'?",
        "11: /steps/1/kind: there is no kind 'acton'; did you mean 'action'?",
        f"12: /steps/2: a step has a kind; one of {steps}, await, saga",
        "13: /steps/3/id: is required",
        "14: /steps/4/cases: must not be empty",
        "17: /steps/5/title: must be a valid string, not 7",
    ]


def test_a_bad_document_is_a_problem_with_fields() -> None:
    """REST says the same as an RFC 9457 problem."""
    with pytest.raises(BadDocument) as refused:
        parse_definition(whole(name=None))
    assert refused.value.problem().to_json() == {
        "type": "amends:bad-definition",
        "title": "The document is not a definition",
        "status": 422,
        "detail": "must be a valid string, not None",
        "errors": [{"path": "/name", "reason": "must be a valid string, not None"}],
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "the text is empty"),
        ('{"a": 1,\n "a": 2}', "2: the member 'a' occurs twice"),
        ("a: 1\nb: 2\na: 3", "3: /a: the member 'a' occurs twice"),
        ("a: {b: 1,\n b: 2}", "2: /a/b: the member 'b' occurs twice"),
        ("a: &x [1, *x]", "1: /a/1: an alias of what it stands in"),
        ('{"a": }', "1: not JSON: Expecting value"),
        ('{"a": NaN}', "NaN is no JSON number"),
        ("a: [", "1: not YAML: expected the node content, but found '<stream end>'"),
        ("a: !foo b", "1: /a: the tag !foo is not known here"),
        (
            "a: !!python/object:os.system {}",
            "1: /a: the tag tag:yaml.org,2002:python/object:os.system is not known here",
        ),
        ("? [a]\n: b", "1: names of members are texts"),
        ("a: 1\n---\nb: 2", "2: not YAML: but found another document"),
        ("[1]", "1: a definition is an object"),
        ("<<: 5", "1: << takes an object"),
    ],
)
def test_texts_that_cannot_be_read(text: str, expected: str) -> None:
    """What is no JSON or YAML of ours is refused with its line, and does nothing."""
    assert refusal(text) == [expected]


@pytest.mark.parametrize(
    "text",
    ["[" * 70 + "]" * 70, "a: " + "[" * 70 + "]" * 70, "a: " + "[" * 9_000 + "]" * 9_000],
)
def test_depth_is_bounded(text: str) -> None:
    """In JSON and YAML, however deep it goes."""
    assert refusal(text)[0].endswith("nested more than 64 levels deep")


def test_a_text_is_bounded() -> None:
    """In bytes, and in values: aliases of aliases are counted as often as they are used."""
    laughs = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [{','.join([f'*{chr(97 + n)}'] * 10)}]\n" for n in range(8)
    )
    assert refusal(laughs)[0].endswith("more than 100000 values, aliases counted")
    assert refusal("#" * 1_048_577) == ["a document has at most 1048576 bytes, not 1048577"]


def test_yaml_has_the_values_of_json() -> None:
    """`no`, `12:30` and dates are texts; numbers and the words of JSON are what they are."""
    text = "{a: no, b: 12:30, c: 2026-01-31, d: 1e3, e: 012, f: true, g: ~, h: '1', i: 0x1f}"
    document = f"name: x\nsteps: [{{id: a, kind: action, command: a.b, input: {text}}}]"
    step = load_definition(document).steps[0]
    assert isinstance(step, Action)
    assert step.input == {
        "a": "no",
        "b": "12:30",
        "c": "2026-01-31",
        "d": 1000.0,
        "e": "012",
        "f": True,
        "g": None,
        "h": "1",
        "i": "0x1f",
    }


def test_later_errors_find_their_line() -> None:
    """What the verifier says of a document names the line in its file."""
    document = load_document(YAML)
    error = FieldError(path="/steps/0/branches/flight/0/input/to", reason="unknown")
    deeper = FieldError(path="/steps/1/retry/max", reason="unknown")
    assert document.located([error, deeper]) == (
        error.model_copy(update={"line": 14}),
        deeper.model_copy(update={"line": 18}),
    )


@pytest.mark.parametrize("version", [0, VERSION_MAX + 1, 10**30])
def test_a_version_that_no_message_and_no_row_can_hold_is_refused(version: int) -> None:
    """A definition's own, and that of a child saga, by its place; the largest one is read."""
    bound = "greater than or equal to 1" if version < 1 else f"less than or equal to {VERSION_MAX}"
    child = {"id": "c", "kind": "saga", "definition": "child", "version": version}
    lines = refusal(json.dumps(whole(version=version, steps=[child])))
    assert len(lines) == 2
    assert all(bound in line for line in lines)
    assert {line.split(": ")[1] for line in lines} == {"/version", "/steps/0/version"}
    with pytest.raises(jsonschema_rs.ValidationError):
        jsonschema_rs.validate(schema("definition"), whole(version=version))
    assert parse_definition(whole(version=VERSION_MAX)).version == VERSION_MAX


def test_tabs_in_json_cost_no_lines() -> None:
    """JSON indented by tabs is read like any other."""
    assert refusal('{\n\t"name": "x",\n\t"steps": [],\n\t"more": 1\n}') == [
        "3: /steps: must not be empty",
        (
            "4: /more: there is no such member; there is: name, version, description, input,"
            " output, deadline, interrupt_after, labels, events, budget, steps"
        ),
    ]


def test_a_path_is_read_as_a_file_and_a_text_never(tmp_path: Path) -> None:
    """Foreign text cannot name a file here; a missing file is the system's own error."""
    file = tmp_path / "small.json"
    file.write_text(json.dumps(whole()))
    assert load_definition(file) == parse_definition(whole())
    assert refusal(str(file)) == ["1: a definition is an object"]
    with pytest.raises(FileNotFoundError):
        load_definition(tmp_path / "none.yml")
