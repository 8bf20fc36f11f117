"""A command, event or refusal without a description or without an example in these tests is noticed here."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec
import pytest

from app.domain import names, role, tenant, user, user_events
from app.domain.aggregate import Event
from app.errors import Refusal

UNIONS = (user_events.UserEvent, user.UserCommand, role.RoleEvent, role.RoleCommand, tenant.TenantEvent, tenant.TenantCommand)
EVENTS_AND_COMMANDS = [kind for union in UNIONS for kind in get_args(union)]
EVENTS = [kind for kind in EVENTS_AND_COMMANDS if issubclass(kind, Event)]
REFUSALS = [
    kind
    for module in (user, role, tenant, names)
    for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, Refusal) and kind.__module__ == module.__name__
]


def calls() -> list[ast.Call]:
    """Every call in the tests of the domain."""
    sources = Path(__file__).parent.glob("test_*.py")
    return [node for source in sources for node in ast.walk(ast.parse(source.read_text())) if isinstance(node, ast.Call)]


def test_every_event_and_command_is_in_an_example() -> None:
    made = {call.func.id for call in calls() if isinstance(call.func, ast.Name)}
    assert [kind.__name__ for kind in EVENTS_AND_COMMANDS if kind.__name__ not in made] == []


def test_every_refusal_is_provoked() -> None:
    expecting = [call for call in calls() if isinstance(call.func, ast.Attribute) and call.func.attr in {"refused", "raises"}]
    provoked = {argument.id for call in expecting for argument in call.args if isinstance(argument, ast.Name)}
    assert [kind.__name__ for kind in REFUSALS if kind.__name__ not in provoked and not kind.__subclasses__()] == []


@pytest.mark.parametrize("kind", EVENTS_AND_COMMANDS + REFUSALS)
def test_it_says_in_sentences_what_it_is(kind: type) -> None:
    assert (kind.__doc__ or "").endswith(".")
    assert kind.__doc__ not in {base.__doc__ for base in kind.__mro__[1:]}


@pytest.mark.parametrize("kind", EVENTS)
def test_every_field_of_an_event_is_described(kind: type[Event]) -> None:
    hints: dict[str, Any] = get_type_hints(kind, include_extras=True)
    for name, hint in hints.items():
        described = [meta.description for meta in getattr(hint, "__metadata__", ()) if isinstance(meta, msgspec.Meta)]
        assert [str(description)[-1:] for description in described] == ["."], name


def test_no_two_refusals_share_a_code() -> None:
    codes = [kind.code for kind in REFUSALS]
    assert sorted(codes) == sorted(set(codes))
