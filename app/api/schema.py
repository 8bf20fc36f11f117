"""The schema: the parts of the graph put together, and finished for execution."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import strawberry
from graphql import (
    GraphQLArgument,
    GraphQLInputField,
    GraphQLSchema,
    Undefined,
    build_schema,
    is_input_object_type,
    is_object_type,
    lexicographic_sort_schema,
    print_schema,
)
from strawberry.schema.config import StrawberryConfig

from app.api.compare import CompareQueries
from app.api.dead_letters import DeadLetterMutations, DeadLetterQueries
from app.api.event_types import EVENT_TYPES
from app.api.events import EventQueries
from app.api.fields import DEFINITION
from app.api.lean import AWAITED, lighten
from app.api.logins import LoginQueries
from app.api.permissions import guard
from app.api.problems import PROBLEM_TYPES
from app.api.projections import ProjectionMutations, ProjectionQueries
from app.api.proof import ProofQueries
from app.api.rate_limit import RateLimitQueries
from app.api.recorded_reads import RecordedReadQueries
from app.api.role_changes import RoleMutations
from app.api.roles import RoleQueries
from app.api.scalars import SCALARS
from app.api.sessions import SessionMutations
from app.api.snapshots import SnapshotMutations, SnapshotQueries
from app.api.stats import StatsQueries
from app.api.subscriptions import Subscription
from app.api.tenant_changes import TenantMutations
from app.api.tenants import TenantQueries
from app.api.things import NodeQueries
from app.api.user_changes import UserMutations
from app.api.user_creation import UserCreation
from app.api.users import UserQueries
from app.api.viewer import ViewerQueries


@strawberry.type(description="Everything that can be asked. All fields of one request see the same state of the database.")
class Query(
    EventQueries,
    TenantQueries,
    RoleQueries,
    UserQueries,
    LoginQueries,
    CompareQueries,
    ProofQueries,
    StatsQueries,
    ProjectionQueries,
    DeadLetterQueries,
    RecordedReadQueries,
    SnapshotQueries,
    ViewerQueries,
    RateLimitQueries,
    NodeQueries,
):
    pass


@strawberry.type(description="Everything that can be changed. Mutations of one request are carried out one after the other.")
class Mutation(
    SessionMutations,
    TenantMutations,
    RoleMutations,
    UserCreation,
    UserMutations,
    ProjectionMutations,
    DeadLetterMutations,
    SnapshotMutations,
):
    pass


@cache
def build() -> GraphQLSchema:
    """The schema, ready to be executed by graphql-core."""
    described = strawberry.Schema(
        query=Query,
        mutation=Mutation,
        subscription=Subscription,
        types=[*EVENT_TYPES, *PROBLEM_TYPES],
        config=StrawberryConfig(scalar_map=SCALARS),
    )
    schema = described._schema  # there is no public way to the schema that graphql-core executes
    _tidy(schema)
    lighten(schema, described.schema_converter)
    _let_subscribe(schema)
    guard(schema)
    return schema


def sdl() -> str:
    """The schema in GraphQL's own language, as `schema.graphql` keeps it: sorted, so that nothing moves but what changed."""
    printed = build_schema(print_schema(build()))  # graphql-core cannot sort what Strawberry made
    return print_schema(lexicographic_sort_schema(printed)) + "\n"


def _tidy(schema: GraphQLSchema) -> None:
    """Leave to graphql-core what Strawberry does its own way: @oneOf, and arguments that may be left out."""
    for type in schema.type_map.values():
        if is_input_object_type(type):
            _tidy_arguments(type.fields.values())
            if type.extensions[DEFINITION].is_one_of:
                type.is_one_of = True
                del type.out_type  # Strawberry's check of the same
        elif is_object_type(type):
            for field in type.fields.values():
                _tidy_arguments(field.args.values())
    introspection = schema.type_map["__Type"]
    assert is_object_type(introspection)
    introspection.fields["isOneOf"].resolve = lambda type, _info: getattr(type, "is_one_of", None)


def _let_subscribe(schema: GraphQLSchema) -> None:
    """Let the method of each subscription make its source, and what the source tells of, when asked for, be the value."""
    assert schema.subscription_type, "there are subscriptions"
    for field in schema.subscription_type.fields.values():
        field.subscribe, field.resolve = field.resolve, lambda root, _info, **_given: root()
        field.extensions[AWAITED] = False


def _tidy_arguments(arguments: Iterable[GraphQLArgument | GraphQLInputField]) -> None:
    """A default of null says no more than that the argument is optional, which its type says."""
    for argument in arguments:
        if argument.default_value is None:
            argument.default_value = Undefined
