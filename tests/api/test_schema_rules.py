"""The schema by the rules of others: all of graphql-schema-linter, and graphql-eslint's for Relay."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.test_browser import ROOT, program

PACKAGES = ROOT / "tests" / "node" / "node_modules" / ".bin"
LINTERS = {
    "graphql-schema-linter": ["schema.graphql"],
    "eslint": ["--config", str(ROOT / "tests" / "node" / "eslint.config.mjs"), "schema.graphql"],
}


def complaints(linter: str, folder: Path) -> str:
    """What a linter says of the folder's schema.graphql, if it finds anything wrong."""
    command = [program("node"), str(PACKAGES / linter), *LINTERS[linter]]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr if done.returncode else ""


@pytest.mark.parametrize("linter", LINTERS)
def test_the_schema_is_clean(linter: str) -> None:
    assert complaints(linter, ROOT) == ""


@pytest.mark.parametrize(
    ("linter", "right", "wrong", "complaint"),
    [
        ("graphql-schema-linter", '"""Where a page lies in its list."""', "", "types-have-descriptions"),
        ("eslint", "hasNextPage: Boolean!", "hasNextPage: Boolean", "relay-page-info"),
    ],
)
def test_a_planted_violation_is_found(linter: str, right: str, wrong: str, complaint: str, tmp_path: Path) -> None:
    schema = (ROOT / "schema.graphql").read_text()
    assert right in schema
    (tmp_path / "schema.graphql").write_text(schema.replace(right, wrong))
    assert complaint in complaints(linter, tmp_path)
