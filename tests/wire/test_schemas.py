"""The checked-in JSON Schemas are those that the contracts make."""

import jsonschema_rs
import pytest

from amends_contracts.schemas import FOLDER, SUFFIX, all_schemas, as_text, schema


def test_schema_files_are_up_to_date() -> None:
    """Each file is what `python -m amends_contracts.schemas` writes, and there is no other."""
    files = {path.name: path.read_text("utf-8") for path in FOLDER.glob("*.json")}
    assert files == {f"{name}{SUFFIX}": as_text(value) for name, value in all_schemas().items()}


def test_schemas_are_schemas() -> None:
    """Each is valid by its own dialect."""
    for value in all_schemas().values():
        jsonschema_rs.meta.validate(value)


def test_an_unknown_schema_is_a_key_error() -> None:
    """Nothing is made up for a name that there is not."""
    with pytest.raises(KeyError):
        schema("starts")
