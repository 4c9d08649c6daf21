"""Finding the service, and saying what is wrong when there is none."""

import json
from pathlib import Path

import pytest

from amends_orchestrator.cli.address import find_service, find_up
from cli.fake_service import FakeService, fake_service
from cli.running import Amends


def test_without_any_address_it_says_how_to_give_one(amends: Amends) -> None:
    """Nothing is guessed."""
    ran = amends("list")

    assert ran.code == 3
    assert ran.err.splitlines() == [
        "error: No Amends service is known here.",
        "  Run `amends up` in this folder or above, or give --url or AMENDS_API_URL.",
    ]


def test_up_json_is_found_in_a_folder_above(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Like git: any folder beneath will do."""
    (tmp_path / ".amends").mkdir()
    content = {"api_url": "http://127.0.0.1:1234", "api_key": "k"}
    (tmp_path / ".amends" / "up.json").write_text(json.dumps(content))
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)

    found = find_service(None)

    assert (found.url, found.key) == ("http://127.0.0.1:1234", "k")
    assert found.source == str(tmp_path / ".amends" / "up.json")


def test_an_option_wins_over_the_environment_over_up_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The nearest to the user's fingers counts."""
    (tmp_path / ".amends").mkdir()
    (tmp_path / ".amends" / "up.json").write_text('{"api_url": "http://up", "api_key": "k"}')
    found = [find_service(None).url]
    monkeypatch.setenv("AMENDS_API_URL", "http://env/")
    found.append(find_service(None).url)
    found.append(find_service("http://option/").url)

    assert found == ["http://up", "http://env", "http://option"]


def test_a_broken_up_json_is_named(amends: Amends, tmp_path: Path) -> None:
    """No traceback for a file somebody edited."""
    (tmp_path / ".amends").mkdir()
    (tmp_path / ".amends" / "up.json").write_text("{")

    ran = amends("list")

    assert ran.code == 2
    assert "up.json is not JSON" in ran.err


def test_a_service_that_went_away_is_unreachable(amends: Amends, tmp_path: Path) -> None:
    """An up.json left over by a machine that lost its power says what to do."""
    (tmp_path / ".amends").mkdir()
    (tmp_path / ".amends" / "up.json").write_text('{"api_url": "http://127.0.0.1:9"}')

    ran = amends("list")

    assert ran.code == 3
    assert "run `amends up` again" in ran.err


def test_an_address_that_is_none_is_a_usage_error(amends: Amends) -> None:
    """`localhost:8400` lacks its scheme."""
    ran = amends("list", "--url", "localhost:8400")

    assert ran.code == 2
    assert "it should look like http://127.0.0.1:8080" in ran.err


def test_another_server_at_the_address_is_recognised(amends: Amends) -> None:
    """A page that is no JSON does not come from Amends."""
    with fake_service() as other:
        FakeService.on(other, "GET", "/v1/sagas", None)
        ran = amends("list", "--url", other.url)

    assert ran.code == 3
    assert "not as an Amends service" in ran.err


def test_find_up_is_none_where_there_is_none(tmp_path: Path) -> None:
    """The search ends at the root."""
    assert find_up(tmp_path) is None
