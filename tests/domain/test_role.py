"""What a role may be asked, and what comes of it."""

from uuid import UUID

import pytest

from app.domain.aggregate import Claim
from app.domain.names import TextIsEmpty, TextIsNotOneLine, TextIsTooLong
from app.domain.role import DefineRole, RetireRole, RoleDefined, RoleRetired, claims
from app.domain.tenant import NoSuchTenant
from tests.domain.given import ACME, CLOSED, MIDNIGHT, NOON, NOWHERE, READER, role

defined = RoleDefined(name="editor", permissions=("read", "write"))
retired = RoleRetired(name="editor")


def define(name: str = "editor", permissions: tuple[str, ...] = ("read", "write")) -> DefineRole:
    return DefineRole(tenant_id=ACME.id, name=name, permissions=permissions, at=NOON)


def test_a_role_begins_with_its_definition() -> None:
    story = role.when(define()).then(defined)
    story.shows(name="editor", permissions=("read", "write"), retired=False, created_at=NOON, updated_at=NOON)


def test_a_role_may_permit_nothing() -> None:
    role.when(define(permissions=())).then(RoleDefined(name="editor", permissions=()))


def test_names_and_permissions_are_trimmed_and_repeats_left_out() -> None:
    role.when(define(" editor", ("write ", "read", "\twrite"))).then(RoleDefined(name="editor", permissions=("write", "read")))


def test_a_definition_replaces_the_former_one() -> None:
    story = role.given(defined).when(define("author", ("write",))).then(RoleDefined(name="author", permissions=("write",)))
    story.shows(name="author", permissions=("write",), created_at=MIDNIGHT, updated_at=NOON)


@pytest.mark.parametrize("permissions", [("read", "write"), ("write", "read"), ("read", "write", "read ")])
def test_the_same_definition_in_any_order_changes_nothing(permissions: tuple[str, ...]) -> None:
    role.given(defined).when(define(permissions=permissions)).nothing()


@pytest.mark.parametrize("tenant_id", [NOWHERE, READER.id])
def test_a_role_needs_a_tenant_and_a_role_is_none(tenant_id: UUID) -> None:
    command = DefineRole(tenant_id=tenant_id, name="editor", permissions=(), at=NOON)
    role.among(READER).when(command).refused(NoSuchTenant, tenant_id)


def test_a_suspended_tenant_may_still_define_roles() -> None:
    command = DefineRole(tenant_id=CLOSED.id, name="editor", permissions=("read", "write"), at=NOON)
    role.when(command).then(defined)


def test_names_and_permissions_keep_the_rules_of_names() -> None:
    role.when(define("")).refused(TextIsEmpty, "name")
    role.when(define("x" * 201)).refused(TextIsTooLong, "name", 201)
    role.when(define(permissions=("read", " "))).refused(TextIsEmpty, "permission")
    role.when(define(permissions=("re\nad",))).refused(TextIsNotOneLine, "permission", 3)


def test_a_role_can_be_retired() -> None:
    role.given(defined).when(RetireRole(at=NOON)).then(retired).shows(retired=True, retired_at=NOON, name="editor")


def test_retiring_a_retired_role_changes_nothing() -> None:
    role.given(defined, retired).when(RetireRole(at=NOON)).nothing()


def test_a_retired_role_comes_back_by_its_definition() -> None:
    story = role.given(defined, retired).when(define()).then(defined)
    story.shows(retired=False, retired_at=None, created_at=MIDNIGHT, updated_at=NOON)


def test_a_role_holds_its_name_until_it_is_retired() -> None:
    assert claims(None) == frozenset()
    assert claims(role.given(RoleDefined(name="Éditor", permissions=())).state) == {Claim("roleName", "éditor")}
    assert claims(role.given(defined, retired).state) == frozenset()
    assert claims(role.given(defined, retired, defined).state) == {Claim("roleName", "editor")}
