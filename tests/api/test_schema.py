"""The schema: complete, described, derived from the domain, and the one that is committed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from graphql import (
    GraphQLInterfaceType,
    GraphQLObjectType,
    get_introspection_query,
    get_named_type,
    is_enum_type,
    is_input_object_type,
    is_interface_type,
    is_non_null_type,
    is_object_type,
    print_schema,
)
from strawberry.types.field import StrawberryField

from app.api.fields import DEFINITION, NOTHING, cost_of
from app.api.schema import build, sdl
from app.domain.role import ROLE
from app.domain.tenant import TENANT, TenantStatus
from app.domain.user import USER, UserStatus
from projections import PROJECTIONS
from tests.api.conftest import Api

SCHEMA = build()
OURS = {name: type for name, type in SCHEMA.type_map.items() if not name.startswith("__")}
OF_THE_EDGE = {"RoleMemberConnection": {"since", "until"}}
"""What an edge tells of how its node came into the list."""
WITHOUT_IDENTITY = {"DeadLetterEdge", "RecordedReadEdge", "LoginEdge", "UserChangeEdge"}
"""Edges to what has no id of its own: an event waiting at a row, an event seen as an attempt, a user at two moments, a record."""
EVENTS = [event for aggregate in (USER, ROLE, TENANT) for event in aggregate.events]

OF_THE_ENGINE = {
    "retryDeadLetters",
    "skipDeadLetter",
    "rebuildProjection",
    "cancelRebuild",
    "rollbackProjection",
    "pauseProjection",
    "resumeProjection",
    "createSnapshot",
    "pruneSnapshots",
}
"""Mutations that add no event to the log."""

OF_SESSIONS = {"login", "refresh", "logout", "changeOwnPassword"}
"""Mutations that are carried out anew however often they are sent."""


def test_the_committed_schema_is_the_one_that_is_served() -> None:
    committed = (Path(__file__).parents[2] / "schema.graphql").read_text()
    assert committed == sdl(), "run `make schema` and look at the difference"


def elements() -> Iterator[tuple[str, str | None]]:
    """Every element of the schema that can have a description, and its description."""
    for name, type in OURS.items():
        yield name, type.description
        if is_object_type(type) or is_interface_type(type):
            for field_name, field in type.fields.items():
                yield f"{name}.{field_name}", field.description
                for argument_name, argument in field.args.items():
                    yield f"{name}.{field_name}({argument_name}:)", argument.description
        elif is_input_object_type(type):
            for field_name, input_field in type.fields.items():
                yield f"{name}.{field_name}", input_field.description
        elif is_enum_type(type):
            for value_name, value in type.values.items():
                yield f"{name}.{value_name}", value.description


def test_everything_has_a_description() -> None:
    assert [name for name, description in elements() if not (description or "").strip()] == []


def test_every_event_of_the_domain_has_a_type_with_its_fields() -> None:
    interface = SCHEMA.type_map["Event"]
    assert isinstance(interface, GraphQLInterfaceType)
    assert {type.name for type in SCHEMA.get_possible_types(interface)} == {event.__name__ for event in EVENTS}
    for event in EVENTS:
        type = SCHEMA.type_map[event.__name__]
        assert isinstance(type, GraphQLObjectType)
        own = [field.encode_name for field in msgspec.structs.fields(event)]
        assert set(type.fields) == {*interface.fields, *own}
        assert type.description == event.__doc__


def test_the_types_of_event_fields_follow_the_domain() -> None:
    types = {
        ("UserCreated", "username"): "String!",
        ("UserCreated", "fullName"): "String",
        ("RolesAssigned", "roleIds"): "[ID!]!",
        ("RoleDefined", "permissions"): "[String!]!",
        ("AccountLocked", "loginAttempts"): "Int!",
        ("AccountLocked", "lockedUntil"): "DateTime",
        ("LoginInfoUpdated", "succeeded"): "Boolean!",
        ("LoginInfoUpdated", "ipAddress"): "String",
    }
    for (event, field), type in types.items():
        assert str(SCHEMA.type_map[event].fields[field].type) == type  # type: ignore[attr-defined]


@pytest.mark.parametrize("enum", [UserStatus, TenantStatus])
def test_enums_are_the_domains(enum: type[UserStatus] | type[TenantStatus]) -> None:
    type = SCHEMA.type_map[enum.__name__]
    assert is_enum_type(type)
    assert list(type.values) == [value.name for value in enum]


def test_every_resolver_that_awaits_says_what_it_reads() -> None:
    """For it decides whether the query needs a snapshot."""
    projections = {projection.name for projection in PROJECTIONS}
    mutations = SCHEMA.mutation_type
    for type in OURS.values():
        if is_object_type(type) and type is not mutations:
            for name, field in type.fields.items():
                declared: StrawberryField | None = field.extensions.get(DEFINITION)
                cost = cost_of(field)
                assert (cost == NOTHING) == (declared is None or not declared.is_async), f"{type.name}.{name}"
                assert cost.projections <= projections


def test_mutations_follow_one_convention() -> None:
    assert SCHEMA.mutation_type
    for name, field in SCHEMA.mutation_type.fields.items():
        kind = name[0].upper() + name[1:]
        assert str(field.type) == f"{kind}Payload!"
        assert {argument: str(each.type) for argument, each in field.args.items()} == {"input": f"{kind}Input!"}
        fields = SCHEMA.type_map[f"{kind}Input"].fields  # type: ignore[attr-defined]
        payload = SCHEMA.type_map[f"{kind}Payload"].fields  # type: ignore[attr-defined]
        assert "clientMutationId" in fields
        assert {"problems", "clientMutationId"} <= set(payload)
        if name in OF_THE_ENGINE | OF_SESSIONS:
            assert "idempotencyKey" not in fields
            continue
        assert "idempotencyKey" in fields
        assert {"events", "position"} <= set(payload)
        if name != "createUsers":
            assert "version" in payload
        if not name.startswith(("create", "define")):
            assert str(fields["id"].type) == "ID!"
            assert str(fields["expectedVersion"].type) == "Int"


def test_connections_follow_relay() -> None:
    connections = [type for name, type in OURS.items() if name.endswith("Connection")]
    assert len(connections) == 9
    for type in connections:
        assert is_object_type(type)
        assert set(type.fields) == {"edges", "nodes", "pageInfo", "totalCount"}
        edge = SCHEMA.type_map[type.name.replace("Connection", "Edge")]
        assert is_object_type(edge)
        node = get_named_type(edge.fields["node"].type)
        assert is_object_type(node) or is_interface_type(node)
        assert ("Node" in {interface.name for interface in node.interfaces}) != (edge.name in WITHOUT_IDENTITY)
        assert set(edge.fields) - OF_THE_EDGE.get(type.name, set()) == {"cursor", "node"}
    interface = SCHEMA.type_map["Node"]
    assert isinstance(interface, GraphQLInterfaceType)
    assert {"User", "Role", "Tenant", "UserCreated"} <= {type.name for type in SCHEMA.get_possible_types(interface)}


def test_no_argument_has_a_default_of_null() -> None:
    assert "= null" not in print_schema(SCHEMA)


def test_what_must_be_given_is_required() -> None:
    assert SCHEMA.query_type
    assert is_non_null_type(SCHEMA.query_type.fields["user"].args["id"].type)
    assert not is_non_null_type(SCHEMA.query_type.fields["user"].args["at"].type)


@pytest.mark.anyio
async def test_tools_can_read_the_schema(api: Api) -> None:
    await api.ask(get_introspection_query(specified_by_url=True, directive_is_repeatable=True, input_value_deprecation=True))
    types = (await api.ask("{ __schema { types { name isOneOf specifiedByURL } } }"))["__schema"]["types"]
    assert {type["name"] for type in types if type["isOneOf"]} == {"Moment", "AsOf"}
    assert {type["name"] for type in types if type["specifiedByURL"]} >= {"DateTime", "Date"}
