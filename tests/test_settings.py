"""Settings come from the environment or `.env`; a wrong one is named, in one line, without its value."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.errors import ConfigurationError
from app.settings import PREFIX, load_settings


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_nothing_need_be_set() -> None:
    settings = load_settings()
    assert settings.database_url is None
    assert settings.data_dir == Path(".hindsight")


def test_the_environment_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HINDSIGHT_WAIT_MS", "50")
    assert load_settings().wait_ms == 50


def test_a_file_sets_and_the_environment_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("HINDSIGHT_WAIT_MS=50\nHINDSIGHT_POOL_SIZE=4\nPATH_OF_ANOTHER_PROGRAM=x\n")
    monkeypatch.setenv("HINDSIGHT_WAIT_MS", "60")
    settings = load_settings()
    assert (settings.wait_ms, settings.pool_size) == (60, 4)


def test_the_command_line_wins_over_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HINDSIGHT_DATA_DIR", "from-environment")
    assert load_settings(data_dir=Path("given")).data_dir == Path("given")


def test_an_empty_value_is_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HINDSIGHT_DATABASE_URL", "")
    assert load_settings().database_url is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HINDSIGHT_WAIT_MS", "soon"),
        ("HINDSIGHT_POOL_SIZE", "1"),
        ("HINDSIGHT_LOG_LEVEL", "loud"),
        ("HINDSIGHT_DATABASE_URL", "mysql://me:secret@host/db"),
    ],
)
def test_a_wrong_value_is_named_and_not_shown(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert caught.value.message.startswith(f"{name}: ")
    assert "secret" not in caught.value.message
    assert "\n" not in caught.value.message


def test_every_wrong_value_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HINDSIGHT_WAIT_MS", "soon")
    monkeypatch.setenv("HINDSIGHT_DEADLINE_MS", "late")
    with pytest.raises(ConfigurationError, match=r"HINDSIGHT_DEADLINE_MS: .*HINDSIGHT_WAIT_MS: "):
        load_settings()


def test_the_password_in_the_database_url_is_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HINDSIGHT_DATABASE_URL", "postgresql://me:secret@host/db")
    assert "secret" not in repr(load_settings())
