"""API keys and migrations, against a real database."""

from amends_orchestrator.cli import keys
from amends_orchestrator.store.keys import Scope
from cli.running import Amends


def test_a_key_is_made_listed_and_revoked(amends: Amends, migrated_database_url: str) -> None:
    """The key itself is seen once; the list has everything else."""
    at = ("--database-url", migrated_database_url, "--json")

    made = amends("keys", "create", "shop", "--scope", "operator", "--tenant", "t1", *at).json
    listed = amends("keys", "list", *at).json["items"]
    revoked = amends("keys", "revoke", "shop", *at).json
    left = amends("keys", "list", *at).json["items"]

    assert made["key"].startswith("amends_")
    assert {k: made[k] for k in ("name", "tenant", "scope")} == {
        "name": "shop",
        "tenant": "t1",
        "scope": "operator",
    }
    assert [(k["name"], k["tenant"], k["scope"], k["expires_at"]) for k in listed] == [
        ("shop", "t1", "operator", None)
    ]
    assert made["key"] not in str(listed)
    assert (revoked, left) == ({"name": "shop", "revoked": True}, [])


def test_a_key_cannot_pass_for_a_role(amends: Amends, migrated_database_url: str) -> None:
    """Named so, it would decide the reviews of everybody who has the role."""
    at = ("--database-url", migrated_database_url)

    ran = amends("keys", "create", "role:lead", *at)

    assert (ran.code, ran.err.splitlines()[0]) == (
        2,
        "error: A key's name does not begin with 'role:', as roles do.",
    )
    assert amends("keys", "list", *at, "--json").json["items"] == []


def test_revoking_an_unknown_key_is_not_found(amends: Amends, migrated_database_url: str) -> None:
    """A typo is not taken for success."""
    ran = amends("keys", "revoke", "shpo", "--database-url", migrated_database_url)

    assert (ran.code, ran.err) == (4, "error: There is no key 'shpo'.\n  amends keys list\n")


def test_scopes_are_the_store_s() -> None:
    """The command line names them itself, to start quickly."""
    assert list(keys.Scope) == [keys.Scope(scope.value) for scope in Scope]
    assert len(keys.Scope) == len(Scope)


def test_keys_on_a_database_that_is_not_migrated_say_so(amends: Amends, database_url: str) -> None:
    """Before the first migration there is nothing to list."""
    ran = amends("keys", "list", "--database-url", database_url)

    assert ran.code == 3
    assert ran.err.splitlines()[1] == "  Run `amends migrate`."


def test_migrate_says_what_it_did(amends: Amends, database_url: str) -> None:
    """The second time there is nothing to do."""
    at = ("--database-url", database_url, "--json")

    first, second = (amends("migrate", *at).json for _ in range(2))

    assert (first["from"], first["changed"]) == (None, True)
    assert second == {"from": first["to"], "to": first["to"], "changed": False}


def test_a_database_that_is_away_is_unreachable(amends: Amends) -> None:
    """The password is never printed."""
    url = "postgresql://amends:s3cret@127.0.0.1:9/amends"

    for command in (("migrate",), ("keys", "list")):
        ran = amends(*command, "--database-url", url)
        assert ran.code == 3
        assert "postgresql://amends:***@127.0.0.1:9/amends cannot be reached" in ran.err
        assert "s3cret" not in ran.err + ran.out


def test_a_url_that_is_no_database_is_a_usage_error(amends: Amends) -> None:
    """MySQL is not spoken here."""
    ran = amends("migrate", "--database-url", "mysql://u:s3cret@localhost/db")

    assert ran.code == 2
    assert "postgresql://user:password@host:port/database" in ran.err
    assert "s3cret" not in ran.err
