"""Commands on sagas: what they send, what they print, and with which code they leave."""

import json
from pathlib import Path
from typing import Any

import pytest

from cli.fake_service import Asked, FakeService
from cli.running import Amends

ID = "01976f3e-8a4b-7c1d-9e2f-3a4b5c6d7e8f"
SAGA: dict[str, Any] = {
    "saga_id": ID,
    "definition": "book-trip",
    "version": 1,
    "key": "order-17",
    "status": "completed",
    "steps": [],
    "held": [],
    "residue": [],
    "started_at": "2026-01-01T00:00:00+00:00",
    "ended_at": "2026-01-01T00:00:01.500000+00:00",
}


def test_start_sends_definition_key_and_input(amends: Amends, service: FakeService) -> None:
    """Files, JSON and name=value join into one input; values that read as JSON are JSON."""
    service.on("POST", "/v1/sagas", {"saga_id": ID, "created": True}, status=201)
    Path("trip.json").write_text('{"to": "Oslo", "nights": 1}')

    ran = amends(
        *("start", "book-trip@2", "--key", "order-17"),
        *("-i", "trip.json", "-i", "nights=3", "-i", "traveller=ada", "--label", "tier=gold"),
        "--json",
    )

    assert (ran.code, ran.json) == (0, {"saga_id": ID, "created": True})
    assert service.asked == [
        Asked(
            method="POST",
            path="/v1/sagas",
            query={},
            body={
                "definition": "book-trip",
                "version": 2,
                "key": "order-17",
                "input": {"to": "Oslo", "nights": 3, "traveller": "ada"},
                "labels": {"tier": "gold"},
            },
            authorization="Bearer key-1",
        )
    ]


def test_start_says_how_to_follow_it(amends: Amends, service: FakeService) -> None:
    """People get the id and the next command."""
    service.on("POST", "/v1/sagas", {"saga_id": ID, "created": True}, status=201)

    ran = amends("start", "book-trip", "-i", "{}")

    assert ran.out.splitlines() == [f"book-trip started {ID}", f"  amends show {ID} --watch"]


def test_start_with_a_known_key_says_so(amends: Amends, service: FakeService) -> None:
    """The same start again is no error: it is the same saga."""
    service.on("POST", "/v1/sagas", {"saga_id": ID, "created": False})

    ran = amends("start", "book-trip", "-k", "order-17")

    assert ran.code == 0
    assert f"was started before with this key: {ID}" in ran.out


def test_start_refused_by_its_schema_names_the_field(amends: Amends, service: FakeService) -> None:
    """A refusal shows the problem, each field, and leaves with 1."""
    problem = {
        "type": "amends:bad-request",
        "detail": "the input does not fit the definition",
        "errors": [{"path": "/input/nights", "reason": "is not an integer", "remedy": "e.g. 2"}],
    }
    service.on("POST", "/v1/sagas", problem, status=422)

    ran = amends("start", "book-trip", "-i", 'nights="two"')

    assert (ran.code, ran.out) == (1, "")
    assert ran.err.splitlines() == [
        "error: the input does not fit the definition",
        "  /input/nights: is not an integer (e.g. 2)",
    ]


def test_an_error_under_json_is_json_on_stderr(amends: Amends, service: FakeService) -> None:
    """Scripts read errors as they read results."""
    problem = {"type": "amends:key-conflict", "detail": "the key has another input"}
    service.on("POST", "/v1/sagas", problem, status=409)

    ran = amends("start", "book-trip", "-i", "{}", "--json")

    assert (ran.code, ran.out) == (1, "")
    assert json.loads(ran.err) == {
        "error": "the key has another input",
        "exit": 1,
        "problem": problem,
    }


@pytest.mark.parametrize("version", ["", "two", "0", "2147483648", "9" * 5000])
def test_a_version_that_cannot_be_is_a_wrong_usage(
    amends: Amends, service: FakeService, version: str
) -> None:
    """It is refused before anybody is asked, with what would be one."""
    ran = amends("start", f"book-trip@{version}")

    assert (ran.code, ran.out) == (2, "")
    assert "a version is a number from 1 to 2147483647" in ran.err
    assert service.asked == []


def test_start_and_wait_leaves_with_the_end(amends: Amends, service: FakeService) -> None:
    """Completed is 0, compensated 1, stuck 7: a script need not read anything."""
    service.on("POST", "/v1/sagas", {"saga_id": ID, "created": True}, status=201)
    codes: dict[str, int] = {}
    for status in ("completed", "compensated", "stuck"):
        service.on(
            "GET", f"/v1/sagas/{ID}", {**SAGA, "status": "running"}, {**SAGA, "status": status}
        )
        codes[status] = amends("start", "book-trip", "--wait").code

    assert codes == {"completed": 0, "compensated": 1, "stuck": 7}


def test_a_wait_that_is_over_says_that_the_saga_goes_on(
    amends: Amends, service: FakeService
) -> None:
    """Timeout is its own code, and nothing is stopped by it."""
    service.on("GET", f"/v1/sagas/{ID}", {**SAGA, "status": "running"})

    ran = amends("show", ID, "--wait", "--timeout", "1")

    assert ran.code == 5
    assert "It goes on by itself" in ran.err


def test_list_reads_as_many_pages_as_it_needs(amends: Amends, service: FakeService) -> None:
    """Filters go along with every page."""
    items = [{**SAGA, "key": f"order-{n}"} for n in range(3)]
    service.on(
        "GET",
        "/v1/sagas",
        {"items": items[:2], "next": "c1"},
        {"items": items[2:], "next": None},
    )

    ran = amends("list", "-s", "completed", "--label", "tier=gold", "-n", "3", "--json")

    assert ran.json == {"items": items, "next": None}
    wanted = {"status": "completed", "label.tier": "gold", "limit": "3"}
    assert [asked.query for asked in service.asked] == [wanted, {**wanted, "cursor": "c1"}]


def test_list_shows_a_line_for_each(amends: Amends, service: FakeService) -> None:
    """The table has what one looks for first."""
    service.on("GET", "/v1/sagas", {"items": [SAGA], "next": None})

    lines = amends("list").out.splitlines()

    assert lines[0].split() == ["saga", "definition", "key", "status", "started", "took"]
    assert lines[1].split() == [
        *(ID, "book-trip@1", "order-17", "✔", "completed", "2026-01-01", "00:00", "1.50", "s")
    ]


def test_last_is_the_newest_saga(amends: Amends, service: FakeService) -> None:
    """Nobody types an id that they just saw."""
    service.on("GET", "/v1/sagas", {"items": [SAGA], "next": None})
    service.on("GET", f"/v1/sagas/{ID}", SAGA)

    assert amends("show", "last", "--json").json == SAGA


def test_last_without_any_saga_is_not_found(amends: Amends, service: FakeService) -> None:
    """An empty service has no last saga."""
    service.on("GET", "/v1/sagas", {"items": [], "next": None})

    ran = amends("show", "last")

    assert (ran.code, ran.err) == (4, "error: There is no saga yet.\n  `amends start` makes one.\n")


def test_an_unknown_saga_is_not_found(amends: Amends, service: FakeService) -> None:
    """404 is 4."""
    ran = amends("show", ID)

    assert (ran.code, ran.err) == (4, f"error: nothing at /v1/sagas/{ID}\n")


def test_operators_commands_send_what_they_say(amends: Amends, service: FakeService) -> None:
    """Each command is one POST with exactly its members."""
    answer = {"saga_id": ID, "status": "running"}
    cases: dict[str, tuple[list[str], dict[str, Any]]] = {
        "cancel": (["-r", "why"], {"reason": "why"}),
        "suspend": (["-r", "why"], {"reason": "why"}),
        "resume": (["-r", "why"], {"reason": "why"}),
        "retry": (["hotel", "-r", "why"], {"step": "hotel", "reason": "why"}),
        "skip": (
            ["hotel", "-r", "why", "--owner", "ops", "--evidence", "T-1"],
            {"step": "hotel", "reason": "why", "owner": "ops", "evidence": "T-1"},
        ),
        "resolve": (
            ["hotel", "-r", "why", "-o", "number=N1"],
            {
                "step": "hotel",
                "outcome": "succeeded",
                "reason": "why",
                "output": {"number": "N1"},
            },
        ),
    }
    for verb, (arguments, body) in cases.items():
        service.on("POST", f"/v1/sagas/{ID}/{verb}", answer)
        ran = amends(verb, ID, *arguments, "--json")
        assert (ran.code, ran.json) == (0, answer)
        assert service.asked[-1].body == body


def test_cancel_past_the_pivot_is_refused(amends: Amends, service: FakeService) -> None:
    """What cannot be undone any more is said by the service and passed on."""
    problem = {"type": "amends:past-pivot", "detail": "payment went through"}
    service.on("POST", f"/v1/sagas/{ID}/cancel", problem, status=409)

    ran = amends("cancel", ID)

    assert (ran.code, ran.err) == (1, "error: payment went through\n")


def test_a_wrong_key_says_what_to_do(amends: Amends, service: FakeService) -> None:
    """401 and 403 are 6, each with its own remedy."""
    for status, remedy in ((401, "check AMENDS_API_KEY"), (403, "scope is too narrow")):
        service.on("GET", "/v1/sagas", {"detail": "no"}, status=status)
        ran = amends("list")
        assert ran.code == 6
        assert remedy in ran.err


def test_trace_prints_the_link(amends: Amends, service: FakeService) -> None:
    """The link leads to the Jaeger that the setting names."""
    service.on("GET", f"/v1/sagas/{ID}", {**SAGA, "trace_id": "ab" * 16})

    ran = amends("trace", ID, "--jaeger-url", "http://jaeger/")

    assert ran.out == f"http://jaeger/trace/{'ab' * 16}\n"


def test_a_saga_without_trace_says_how_to_get_one(amends: Amends, service: FakeService) -> None:
    """Traces are off unless asked for."""
    service.on("GET", f"/v1/sagas/{ID}", SAGA)

    ran = amends("trace", ID)

    assert ran.code == 4
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in ran.err


def test_undo_plan_lists_what_would_happen(amends: Amends, service: FakeService) -> None:
    """Undos in their order, then what stays."""
    items = [
        {"order": 1, "path": "hotel", "command": "hotels.book", "why": "succeeded"},
        {"path": "mail", "residue": True, "why": "irreversible"},
    ]
    service.on("GET", f"/v1/sagas/{ID}/undo-plan", {"items": items})

    lines = amends("undo-plan", ID).out.splitlines()

    assert [line.split() for line in lines] == [
        ["order", "step", "command"],
        ["1", "hotel", "hotels.book", "succeeded"],
        ["mail", "stays", "irreversible"],
    ]


def test_what_cannot_be_a_saga_s_id_is_not_found(amends: Amends, service: FakeService) -> None:
    """Said without asking, in the words of a person and not of a pattern."""
    ran = amends("retry", "order-1", "hotel")

    assert (ran.code, service.asked) == (4, [])
    assert ran.err.startswith("error: 'order-1' is no saga's id.\n  `amends list`")


def test_a_single_refused_field_is_said_once(amends: Amends, service: FakeService) -> None:
    """The problem's detail and its only error are one sentence."""
    errors = [{"path": "/input/nights", "reason": "-2 is less than 1"}]
    problem = {"detail": "input/nights: -2 is less than 1", "errors": errors}
    service.on("POST", "/v1/sagas", problem, status=422)

    assert amends("start", "trip").err == "error: input/nights: -2 is less than 1\n"


def test_what_this_version_does_not_do_is_refused(amends: Amends, service: FakeService) -> None:
    """501 is a refusal: the service is there and repeating would not help."""
    service.on("POST", f"/v1/sagas/{ID}/cancel", {"detail": "not in this version"}, status=501)

    assert amends("cancel", ID).code == 1


def test_undo_says_which_saga_undoes_it(amends: Amends, service: FakeService) -> None:
    """Across a pivot only if it is said."""
    undo = ID[:-1] + "0"
    service.on("POST", f"/v1/sagas/{ID}/undo", {"saga_id": undo, "created": True}, status=201)

    ran = amends("undo", ID, "-r", "customer called")
    assert (ran.code, service.asked[-1].body) == (0, {"reason": "customer called"})
    assert f"undoing  amends show {undo}" in ran.out
    assert amends("undo", ID, "--across-pivot").code == 0
    assert service.asked[-1].body["across_pivot"] is True


def test_an_undo_saga_that_has_undone_is_no_failure(amends: Amends, service: FakeService) -> None:
    """`compensated` is what it was for; the tree says of which saga."""
    original = ID[:-1] + "0"
    view = {**SAGA, "kind": "undo", "status": "compensated", "undoes": original}
    service.on("GET", f"/v1/sagas/{ID}", view)

    ran = amends("show", ID, "--wait")
    assert ran.code == 0
    assert f"undoes   {original}" in ran.out
