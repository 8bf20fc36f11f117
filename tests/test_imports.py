"""Who may import whom, read from every file's imports: the table of the design, and what keeps the domain pure."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]

OURS = ("app", "projections", "migrations")
EVERYTHING = OURS

MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "app.errors": (),
    "app.settings": ("app.errors",),  # the design says nothing at all; but a wrong setting is one of our errors
    "app.embedded": ("app.errors",),
    "app.domain": ("app.errors",),
    "app.security": ("app.errors", "app.domain", "app.execute", "app.eventstore"),
    "app.eventstore": ("app.errors", "app.domain.aggregate"),
    "app.execute": ("app.errors", "app.domain.aggregate", "app.eventstore"),
    "projections": ("app.errors", "app.domain", "app.eventstore"),
    "migrations": ("app.eventstore",),
    "app.api": ("app.errors", "app.domain", "app.execute", "app.eventstore", "app.security", "projections"),
    "app.publish": ("app.errors", "app.eventstore"),
    "app.observe": ("app.errors", "app.eventstore"),
    # What puts the parts together or is run by hand.
    "app.wiring": EVERYTHING,
    "app.main": EVERYTHING,
    "app.cli": EVERYTHING,
    "app.commands": EVERYTHING,
    "app.dead_letters_cli": EVERYTHING,
    "app.history_cli": EVERYTHING,
    "app.process": EVERYTHING,
    "app.serve": EVERYTHING,
    "app.snapshots_cli": EVERYTHING,
    "app.terminal": EVERYTHING,
    "app.tokens_cli": EVERYTHING,
    "app.transfer": EVERYTHING,
    "app.cloudevents": EVERYTHING,
    "app.demo": EVERYTHING,
    "app.doctor": EVERYTHING,
    "app.projections_cli": EVERYTHING,
    "app.protocols": (),
    "app.rebuilding": EVERYTHING,
    "app.bench": EVERYTHING,
}
"""Each part of the service, and what it may import of the others. A part may always import itself."""

DATABASE = frozenset({"alembic", "asyncpg", "sqlalchemy"})

DOMAIN_LIBRARIES = frozenset({"msgspec"})
DOMAIN_STANDARD_LIBRARY = frozenset(
    {"__future__", "collections", "dataclasses", "datetime", "enum", "functools", "itertools", "re", "types", "typing"}
    | {"unicodedata", "uuid"}
)
IMPURE = frozenset({"now", "utcnow", "today", "fromtimestamp", "uuid1", "uuid4", "uuid7", "open", "print", "getenv"})
"""Calls that the modules above would still allow, and that read the world or change it."""


class Module(NamedTuple):
    """A Python file of ours."""

    name: str
    tree: ast.Module


def modules() -> Iterator[Module]:
    for package in OURS:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield Module(".".join(parts).removesuffix(".__init__"), ast.parse(path.read_text()))


MODULES = {module.name: module for module in modules()}


def imports(module: Module, tree: ast.AST | None = None) -> Iterator[str]:
    """The full names of what a module imports, wherever in it."""
    for node in ast.walk(tree or module.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module.name}: imports are written in full"
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                yield submodule if submodule in MODULES else str(node.module)


def is_within(name: str, part: str) -> bool:
    return name == part or name.startswith(f"{part}.")


def part_of(name: str) -> str | None:
    """The row of the table that a module belongs to."""
    return max((part for part in MAY_IMPORT if is_within(name, part)), key=len, default=None)


def violations(module: Module) -> list[str]:
    """What a module does against the table, as sentences."""
    part = part_of(module.name)
    if part is None:
        return [] if module.name == "app" else [f"{module.name} has no row in the table"]
    found = [
        f"{module.name} may not import {target}"
        for target in imports(module)
        if target.partition(".")[0] in OURS and not any(is_within(target, allowed) for allowed in (part, *MAY_IMPORT[part]))
    ]
    libraries = {target.partition(".")[0] for target in imports(module)} - set(OURS)
    if part == "app.api":
        found += [f"{module.name} may not import {library}: no SQL in the API" for library in sorted(libraries & DATABASE)]
    if part == "app.domain":
        found += impurities(module, libraries)
    return found


def impurities(module: Module, libraries: set[str]) -> Iterator[str]:
    """What the clock, chance or the world have to do with a module of the domain."""
    for library in sorted(libraries - DOMAIN_LIBRARIES - DOMAIN_STANDARD_LIBRARY):
        yield f"{module.name} may not import {library}: the domain is pure"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.AsyncFunctionDef | ast.Await):
            yield f"{module.name} line {node.lineno}: nothing in the domain waits"
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in IMPURE:
                yield f"{module.name} line {node.lineno}: {called}() comes in as a value"


def at_import(module: Module) -> Iterator[str]:
    """Which of our modules must be there before this one is."""
    for statement in module.tree.body:
        if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef) and "TYPE_CHECKING" not in ast.dump(statement):
            yield from (target for target in imports(module, statement) if target in MODULES)


@pytest.mark.parametrize("module", MODULES.values(), ids=lambda module: module.name)
def test_the_table_of_imports_holds(module: Module) -> None:
    assert violations(module) == []


def test_no_modules_import_each_other() -> None:
    try:
        TopologicalSorter({name: set(at_import(module)) - {name} for name, module in MODULES.items()}).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize(
    ("name", "source", "violation"),
    [
        ("app.domain.user", "from app.eventstore.store import EventStore", "may not import app.eventstore.store"),
        ("app.domain.user", "from app import settings", "may not import app.settings"),
        ("app.domain.user", "import random", "may not import random: the domain is pure"),
        ("app.domain.user", "import orjson", "may not import orjson: the domain is pure"),
        ("app.domain.user", "def f():\n    import asyncio", "may not import asyncio: the domain is pure"),
        ("app.domain.user", "from datetime import datetime\nx = datetime.now()", "line 2: now() comes in as a value"),
        ("app.domain.user", "from uuid import uuid4\nx = uuid4()", "line 2: uuid4() comes in as a value"),
        ("app.domain.user", "async def decide(): ...", "line 1: nothing in the domain waits"),
        ("app.eventstore.store", "from app.domain.user import USER", "may not import app.domain.user"),
        ("app.eventstore.store", "import projections", "may not import projections"),
        ("app.execute", "from app.api import schema", "may not import app.api"),
        ("projections.users", "from app.execute import Executor", "may not import app.execute"),
        ("app.api.users", "import sqlalchemy as sa", "may not import sqlalchemy: no SQL in the API"),
        ("app.api.users", "if True:\n    from asyncpg import Record", "may not import asyncpg: no SQL in the API"),
        ("app.api.users", "from app.wiring import Service", "may not import app.wiring"),
        ("app.errors", "import app.settings", "may not import app.settings"),
        ("app.helpers", "", "has no row in the table"),
    ],
)
def test_a_planted_violation_is_found(name: str, source: str, violation: str) -> None:
    assert any(violation in found for found in violations(Module(name, ast.parse(source))))


def test_what_the_domain_may_use_is_of_the_standard_library() -> None:
    assert sys.stdlib_module_names >= DOMAIN_STANDARD_LIBRARY
