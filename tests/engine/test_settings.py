"""Settings come from the environment, are documented, and keep their secrets."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from amends_orchestrator.settings import Settings, table

ROOT = Path(__file__).parents[2]
NEEDED = {
    "AMENDS_DATABASE_URL": "postgresql://u:hidden-1@localhost/d",
    "AMENDS_BROKER_URL": "amqp://u:hidden-2@localhost/",
    "AMENDS_TOKEN_SECRETS": "hidden-3-of-sixteen, hidden-4-of-sixteen",
}


def _set(monkeypatch: pytest.MonkeyPatch, **more: str) -> None:
    for name, value in {**NEEDED, **more}.items():
        monkeypatch.setenv(name, value)


def test_the_documented_table_is_the_code() -> None:
    """docs/settings.md is what `python -m amends_orchestrator.settings` prints."""
    assert (ROOT / "docs" / "settings.md").read_text() == table()


def test_every_setting_says_what_it_does() -> None:
    """A setting without a description would be an empty row."""
    assert [n for n, f in Settings.model_fields.items() if not f.description] == []


def test_secrets_are_split_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several token secrets are separated by commas; no form of the settings prints any."""
    _set(monkeypatch)
    settings = Settings()  # pyright: ignore[reportCallIssue]
    shown = [s.get_secret_value() for s in settings.token_secrets]
    assert shown == ["hidden-3-of-sixteen", "hidden-4-of-sixteen"]
    assert "hidden" not in f"{settings!r} {settings} {settings.model_dump_json()}"


def test_a_short_token_secret_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret that can be guessed proves nothing."""
    _set(monkeypatch, AMENDS_TOKEN_SECRETS="short")
    with pytest.raises(ValidationError, match="at least 16 characters"):
        Settings()  # pyright: ignore[reportCallIssue]


def test_a_missing_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a database there is nothing to guess."""
    _set(monkeypatch)
    monkeypatch.delenv("AMENDS_DATABASE_URL")
    with pytest.raises(ValidationError, match="database_url"):
        Settings()  # pyright: ignore[reportCallIssue]
