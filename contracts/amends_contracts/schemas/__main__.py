"""`python -m amends_contracts.schemas`: write the schema files anew."""

from amends_contracts.schemas import FOLDER, SUFFIX, all_schemas, as_text


def main() -> None:
    """Write every file; remove those of schemas that are gone."""
    schemas = all_schemas()
    for path in FOLDER.glob(f"*{SUFFIX}"):
        if path.name.removesuffix(SUFFIX) not in schemas:
            path.unlink()
    for name, schema in schemas.items():
        (FOLDER / f"{name}{SUFFIX}").write_text(as_text(schema), "utf-8")


if __name__ == "__main__":
    main()
