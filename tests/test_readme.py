"""The README is the manual: its queries get the answers that it shows, its commands exist, its settings are the settings."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer

from app.cli import app as command_line
from app.main import create_app
from app.settings import PREFIX, Settings
from tests.conftest import PATIENCE

README = (Path(__file__).parents[1] / "README.md").read_text()
MAKEFILE = (Path(__file__).parents[1] / "Makefile").read_text()

EXAMPLE = re.compile(r"```graphql\n(.*?)```\n+```json\n(.*?)```", re.DOTALL)
UUID_TEXT = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
COMMAND = re.compile(r"^\$ (\w+) ([\w-]+)", re.MULTILINE)
SETTING = re.compile(rf"^\| `({PREFIX}\w+)` \| (.*?) \| (.*?) \|$", re.MULTILINE)


@pytest.mark.anyio
async def test_every_query_gets_the_answer_that_is_shown(url: str, tmp_path: Path) -> None:
    examples = EXAMPLE.findall(README)
    assert len(examples) == README.count("```graphql"), "each query is followed by its answer"
    patience = int(PATIENCE * 1000)
    settings = Settings(deadline_ms=patience, wait_ms=patience, authentication="off", data_dir=tmp_path)
    app = create_app(settings, url)
    ids: dict[str, str] = {}
    position = 0
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://readme", timeout=None) as client,
    ):
        for query, answer in examples:
            own_query = UUID_TEXT.sub(lambda found: ids[found[0]], query)
            headers = {"Hindsight-Min-Position": str(position)}
            response = await client.post("/graphql", json={"query": own_query}, headers=headers)
            position = int(response.headers["Hindsight-Position"])
            given = {"data": response.json().get("data"), "errors": response.json().get("errors")}
            expected = {"errors": None} | json.loads(answer)
            learn_ids(expected, given, ids)
            given = abridged(expected, given)
            assert given == json.loads(UUID_TEXT.sub(lambda found: ids.get(found[0], found[0]), json.dumps(expected))), query


def learn_ids(shown: Any, given: Any, ids: dict[str, str]) -> None:
    """Notes for each id that the README shows for the first time which one it is here."""
    if isinstance(shown, dict) and isinstance(given, dict):
        for name in shown.keys() & given.keys():
            learn_ids(shown[name], given[name], ids)
    elif isinstance(shown, list) and isinstance(given, list):
        for one, other in zip(shown, given, strict=False):
            learn_ids(one, other, ids)
    elif isinstance(shown, str) and isinstance(given, str) and UUID_TEXT.fullmatch(shown) and UUID_TEXT.fullmatch(given):
        ids.setdefault(shown, given)


def abridged(shown: Any, given: Any) -> Any:
    """What is given, with texts cut where the README shows no more of them, as of a token or a time."""
    if isinstance(shown, dict) and isinstance(given, dict):
        return {name: abridged(shown.get(name), value) for name, value in given.items()}
    if isinstance(shown, list) and isinstance(given, list) and len(shown) == len(given):
        return list(map(abridged, shown, given))
    if isinstance(shown, str) and shown.endswith("…") and isinstance(given, str) and given.startswith(shown[:-1]):
        return shown
    return given


@pytest.mark.parametrize(("program", "word"), sorted(set(COMMAND.findall(README))))
def test_every_command_exists(program: str, word: str) -> None:
    if program == "make":
        assert re.search(rf"^{word}:", MAKEFILE, re.MULTILINE)
    else:
        assert program == "hindsight"
        assert word in typer.main.get_command(command_line).commands  # type: ignore[attr-defined]


def test_every_setting_is_listed_with_its_default_and_meaning() -> None:
    listed = {name: (default, meaning) for name, default, meaning in SETTING.findall(README)}
    assert listed == {
        f"{PREFIX}{name.upper()}": (
            ""
            if field.default is None
            else f"`{json.dumps(field.default) if isinstance(field.default, bool) else field.default}`",
            " ".join((field.description or "").split()),
        )
        for name, field in Settings.model_fields.items()
    }
