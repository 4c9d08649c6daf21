"""How statements are read from their files."""

import pytest

from amends_orchestrator.store.queries import Query, parse

SOURCE = """-- What this file holds; a colon: here is no parameter.

-- name: first
-- Prose with a :name in it.
SELECT :b::text, x::json, :a::integer[], :b, '12:30'  -- trailing :prose
FROM t;

-- name: second
SELECT 1;
"""


def test_parameters_are_numbered_by_first_appearance() -> None:
    """Casts, comments and times of day are left alone; the name goes to the server."""
    assert parse(SOURCE) == {
        "first": Query(
            "first",
            "/* amends first */ SELECT $1::text, x::json, $2::integer[], $1, '12:30'\nFROM t",
            ("b", "a"),
        ),
        "second": Query("second", "/* amends second */ SELECT 1", ()),
    }


def test_arguments_follow_the_statement() -> None:
    """Given by name, in whatever order; one too few is a mistake of ours."""
    query = parse(SOURCE)["first"]
    assert query.arguments({"a": [1], "c": 0, "b": "x"}) == ["x", [1]]
    with pytest.raises(KeyError, match="a"):
        query.arguments({"b": "x"})


def test_a_statement_may_have_a_part_that_another_has_alone() -> None:
    """What few executions need does not stand in the statement of the others."""
    source = "-- name: one\nSELECT :a\n-- only in two\n, :b\n-- end\n, :c"
    one, two = parse(source).values()
    assert (one.parameters, two.parameters) == (("a", "c"), ("a", "b", "c"))
    assert two.text.endswith("$1\n\n, $2\n\n, $3")
