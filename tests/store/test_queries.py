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


def test_a_part_is_in_a_statement_of_its_own() -> None:
    """Who needs it pays for it; the other statement has neither its lines nor its parameters."""
    source = "-- name: a\nSELECT :x\n-- with more:\n, :y\n-- end\nFROM t;\n"
    assert parse(source) == {
        "a": Query("a", "/* amends a */ SELECT $1\nFROM t", ("x",)),
        "a_with_more": Query(
            "a_with_more", "/* amends a_with_more */ SELECT $1\n, $2\nFROM t", ("x", "y")
        ),
    }


def test_arguments_follow_the_statement() -> None:
    """Given by name, in whatever order; one too few is a mistake of ours."""
    query = parse(SOURCE)["first"]
    assert query.arguments({"a": [1], "c": 0, "b": "x"}) == ["x", [1]]
    with pytest.raises(KeyError, match="a"):
        query.arguments({"b": "x"})


def test_of_several_parts_there_is_a_statement_with_each_choice() -> None:
    """Named in their order; the parameters of each are its own."""
    source = "-- name: one\nSELECT :a\n-- with b:\n, :b\n-- end\n-- with c:\n, :c\n-- end\n"
    assert {name: query.parameters for name, query in parse(source).items()} == {
        "one": ("a",),
        "one_with_b": ("a", "b"),
        "one_with_c": ("a", "c"),
        "one_with_b_c": ("a", "b", "c"),
    }
