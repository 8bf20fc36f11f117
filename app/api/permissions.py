"""Who may do what: each operation is held against what its fields need before anything of it is carried out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

import msgspec
from graphql import (
    FieldNode,
    GraphQLField,
    GraphQLObjectType,
    GraphQLSchema,
    ValueNode,
    get_named_type,
    value_from_ast_untyped,
)
from strawberry.types.field import StrawberryField

from app.api.context import Context
from app.api.errors import RequestError
from app.api.fields import DEFINITION, NEEDS
from app.api.problems import not_allowed
from app.security.caller import Caller
from app.security.permissions import EVENT_READ, TOKEN, USER_READ, Needs


class Demands(msgspec.Struct, frozen=True, kw_only=True):
    """What an operation takes of who sends it."""

    needs: Needs
    """For all of it, mutations aside: each of these answers for itself."""
    own: Sequence[tuple[Needs, ValueNode]]
    """For fields that a user needs no permission for when the argument is their own id."""
    open: bool
    """It takes no token."""
    things: Sequence[str]
    """The fields that show what users, roles and tenants are, such as `users`."""
    histories: Sequence[str]
    """The fields that show what became of them, such as `User.history`."""
    subjects: Sequence[ValueNode]
    """The arguments of all fields."""

    async def admit(self, context: Context, variables: Mapping[str, Any]) -> None:
        """Let the operation begin, and record it where it shall be. Raises RequestError 403 that says what the caller lacks."""
        self._check(context.caller, variables)
        if context.backend.recorded_reads.on:
            looked_at = [*self.histories, *(self.things if context.caller.all_tenants else ())]
            if looked_at:
                await context.record_read(looked_at, sorted(_ids(self.subjects, variables)))

    def _check(self, caller: Caller, variables: Mapping[str, Any]) -> None:
        lacking = caller.lacks(self.needs)
        for needs, id in self.own:
            lacking = lacking or (not _is_own(id, variables, caller) and caller.lacks(needs)) or ""
        if lacking:
            raise RequestError(403, "FORBIDDEN", lacking)


def demands(schema: GraphQLSchema, fields: Iterable[tuple[Any, FieldNode]]) -> Demands:
    """What an operation takes that has these fields, each given with the type that it is a field of."""
    all_needs, own, is_open = TOKEN, list[tuple[Needs, ValueNode]](), list[bool]()
    shown: dict[str, dict[str, None]] = {EVENT_READ: {}, USER_READ: {}}
    subjects = list[ValueNode]()
    for type, node in fields:
        field = schema.get_field(type, node.name.value)
        if field is None:
            continue
        needs = needs_of(field)
        if type in (schema.query_type, schema.mutation_type, schema.subscription_type):
            is_open.append(needs.open)
        if type is schema.mutation_type:
            continue
        subjects += (each.value for each in node.arguments or ())
        for permission in needs.permissions & shown.keys():
            shown[permission][node.name.value if type is schema.query_type else f"{type.name}.{node.name.value}"] = None
        ids = [each.value for each in node.arguments or () if each.name.value == needs.own]
        if ids:
            own.append((needs, ids[0]))
        else:
            all_needs |= needs
    return Demands(
        needs=all_needs,
        own=own,
        open=all(is_open),
        things=[*shown[USER_READ]],
        histories=[*shown[EVENT_READ]],
        subjects=subjects,
    )


def needs_of(field: GraphQLField) -> Needs:
    """What the field needs; only a token where nothing is declared."""
    declared: StrawberryField | None = field.extensions.get(DEFINITION)
    return (declared.metadata.get(NEEDS) if declared else None) or TOKEN


def guard(schema: GraphQLSchema) -> None:
    """Let each mutation tell those who lack a permission so in its payload, and do nothing."""
    assert schema.mutation_type, "there are mutations"
    for field in schema.mutation_type.fields.values():
        payload = get_named_type(field.type)
        assert isinstance(payload, GraphQLObjectType), "a mutation answers with a payload"
        assert field.resolve, "a mutation is carried out by a method"
        field.resolve = _guarded(field.resolve, needs_of(field), payload.extensions[DEFINITION].origin)


def _guarded(method: Callable[..., Any], needs: Needs, payload: type[Any]) -> Callable[..., Any]:
    async def resolve(source: Any, info: Any, **given: Any) -> Any:
        lacking = "" if needs.open else info.context.caller.lacks(needs)
        if not lacking:
            return await method(source, info, **given)
        return payload(problems=[not_allowed(["input"], lacking)], client_mutation_id=given["input"].get("clientMutationId"))

    return resolve


def _ids(arguments: Iterable[ValueNode], variables: Mapping[str, Any]) -> set[UUID]:
    """All ids in the arguments."""
    found = set[UUID]()
    todo: list[Any] = [value_from_ast_untyped(each, dict(variables)) for each in arguments]
    while todo:
        match todo.pop():
            case str() as text:
                with suppress(ValueError):
                    found.add(UUID(text))
            case list() as items:
                todo += items
            case dict() as members:
                todo += members.values()
            case _:
                pass
    return found


def _is_own(id: ValueNode, variables: Mapping[str, Any], caller: Caller) -> bool:
    try:
        return caller.user_id is not None and UUID(value_from_ast_untyped(id, dict(variables))) == caller.user_id
    except (ValueError, AttributeError, TypeError):
        return False
