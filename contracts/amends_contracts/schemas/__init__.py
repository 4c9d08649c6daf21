"""JSON Schemas (draft 2020-12) of everything that travels as JSON; the files lie beside this one.

`python -m amends_contracts.schemas` writes the files anew; a test compares. They are for readers
in other languages: the codec checks by itself, and is tested to agree with them.
"""

import json
from pathlib import Path
from typing import Any, Final

from amends_contracts.definition import Definition
from amends_contracts.problems import Problem
from amends_contracts.schemas.clients import CLIENT_SCHEMAS
from amends_contracts.schemas.participants import PARTICIPANT_SCHEMAS
from amends_contracts.schemas.parts import DIALECT, Schema

FOLDER: Final = Path(__file__).parent
SUFFIX: Final = ".schema.json"


def all_schemas() -> dict[str, Schema]:
    """Name -> schema; the file is `<name>.schema.json`."""
    modelled: dict[str, Schema] = {
        "definition": Definition.model_json_schema(by_alias=True),
        "problem": Problem.model_json_schema(by_alias=True),
    }
    schemas = modelled | PARTICIPANT_SCHEMAS | CLIENT_SCHEMAS
    return {name: {"$schema": DIALECT, **schemas[name]} for name in sorted(schemas)}


def schema(name: str) -> dict[str, Any]:
    """The checked-in schema of that name; KeyError if there is none."""
    path = FOLDER / f"{name}{SUFFIX}"
    if not path.is_file():
        raise KeyError(name)
    return json.loads(path.read_text("utf-8"))


def as_text(value: Schema) -> str:
    """The content of a schema's file."""
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"
