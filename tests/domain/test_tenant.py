"""What a tenant may be asked, and what comes of it."""

import pytest

from app.domain.names import TextIsEmpty, TextIsTooLong
from app.domain.tenant import (
    CreateTenant,
    ReactivateTenant,
    RenameTenant,
    SuspendTenant,
    TenantCreated,
    TenantExists,
    TenantReactivated,
    TenantRenamed,
    TenantStatus,
    TenantSuspended,
)
from tests.domain.given import MIDNIGHT, NOON, tenant

created = TenantCreated(name="Acme")
suspended = TenantSuspended(reason="unpaid")


def test_a_tenant_begins_with_its_name() -> None:
    story = tenant.when(CreateTenant(name=" Acme ", at=NOON)).then(TenantCreated(name="Acme"))
    story.shows(name="Acme", status=TenantStatus.ACTIVE, created_at=NOON, updated_at=NOON)


def test_a_tenant_is_created_once() -> None:
    tenant.given(created).when(CreateTenant(name="Acme", at=NOON)).refused(TenantExists)


def test_a_tenant_can_be_renamed() -> None:
    story = tenant.given(created).when(RenameTenant(name="Apex", at=NOON)).then(TenantRenamed(name="Apex"))
    story.shows(name="Apex", created_at=MIDNIGHT, updated_at=NOON)


@pytest.mark.parametrize("name", ["Acme", " Acme\n"])
def test_renaming_to_the_same_name_changes_nothing(name: str) -> None:
    tenant.given(created).when(RenameTenant(name=name, at=NOON)).nothing()


def test_a_new_spelling_is_a_new_name() -> None:
    tenant.given(created).when(RenameTenant(name="ACME", at=NOON)).then(TenantRenamed(name="ACME"))


def test_a_tenant_must_have_a_name() -> None:
    tenant.when(CreateTenant(name=" ", at=NOON)).refused(TextIsEmpty, "name")
    tenant.given(created).when(RenameTenant(name="x" * 201, at=NOON)).refused(TextIsTooLong, 201, 200)


def test_a_tenant_can_be_suspended() -> None:
    story = tenant.given(created).when(SuspendTenant(reason="unpaid ", at=NOON)).then(suspended)
    story.shows(status=TenantStatus.SUSPENDED, suspended_at=NOON, suspension_reason="unpaid")


def test_suspending_again_for_the_same_reason_changes_nothing() -> None:
    tenant.given(created, suspended).when(SuspendTenant(reason="unpaid", at=NOON)).nothing()


def test_another_reason_is_kept_with_the_time_of_the_first() -> None:
    story = tenant.given(created, suspended).when(SuspendTenant(reason="fraud", at=NOON)).then(TenantSuspended(reason="fraud"))
    story.shows(suspended_at=MIDNIGHT, suspension_reason="fraud")


def test_a_suspension_needs_a_reason() -> None:
    tenant.given(created).when(SuspendTenant(reason="", at=NOON)).refused(TextIsEmpty, "reason")


def test_a_suspended_tenant_can_be_renamed() -> None:
    tenant.given(created, suspended).when(RenameTenant(name="Apex", at=NOON)).then(TenantRenamed(name="Apex"))


def test_a_tenant_can_be_reactivated() -> None:
    story = tenant.given(created, suspended).when(ReactivateTenant(at=NOON)).then(TenantReactivated())
    story.shows(status=TenantStatus.ACTIVE, suspended_at=None, suspension_reason=None)


def test_reactivating_an_active_tenant_changes_nothing() -> None:
    tenant.given(created).when(ReactivateTenant(at=NOON)).nothing()
