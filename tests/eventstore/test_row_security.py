"""The second wall between tenants: PostgreSQL's own, which holds where a statement is not narrowed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import asyncpg
import pytest

from app.eventstore.database import Database
from tests.api.conftest import Api, serving
from tests.conftest import administer

pytestmark = pytest.mark.anyio

UNKNOWN_TO_ALL = "es.credentials", "es.commands", "es.sessions", "es.recorded_reads", "es.claims"


@pytest.fixture
async def walled(url: str) -> AsyncIterator[Api]:
    async with serving(url, row_security=True) as api:
        yield api


async def counted(url: str, tenant: UUID | str, relation: str) -> tuple[int, int]:
    """How many rows a statement without any condition finds for the tenant, and how many of them are others'."""
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            await connection.execute(f"SET LOCAL ROLE hindsight_tenant; SET LOCAL hindsight.tenant = '{tenant}'")
            row = await connection.fetchrow(
                f"SELECT count(*), count(*) FILTER (WHERE tenant_id <> $1) FROM {relation}", UUID(str(tenant))
            )
            assert row
            return row[0], row[1]
    finally:
        await connection.close()


async def test_a_statement_that_is_not_narrowed_finds_the_tenants_rows_only(walled: Api, url: str) -> None:
    mine, other = await walled.tenant("mine"), await walled.tenant("other")
    for tenant, names in ((mine, ["ann"]), (other, ["ann", "bob"])):
        role = await walled.role(tenant)
        for name in names:
            await walled.user(tenant, name, roleIds=[role])
    views = await walled.backend.store.database.fetch("SELECT viewname FROM pg_views WHERE schemaname = 'read'")
    relations = ["es.events", "es.streams", "es.snapshots", *(f"read.{row[0]}" for row in views)]
    assert len(relations) == 13
    for relation in relations:
        found, of_others = await counted(url, mine, relation)
        assert of_others == 0, relation
        assert found or relation in ("read.logins", "es.snapshots"), relation
        assert (await counted(url, uuid4(), relation))[0] == 0, relation


async def test_behind_it_the_order_of_last_changes_is_the_same(walled: Api) -> None:
    tenant = await walled.tenant()
    ids = [await walled.user(tenant, name) for name in ("ann", "bob", "cid")]
    await walled.done("updateUserProfile", id=ids[1], fullName="Bob")
    document = """query ($asOf: AsOf) { users(orderBy: [{ field: UPDATED_AT }], asOf: $asOf) { nodes { username } } }"""
    headers = {"authorization": walled.bearer("auditor", {"*"}, tenant_id=UUID(tenant))}
    head = (await walled.ask("{ head }"))["head"]
    for as_of, names in ((None, "ann cid bob"), ({"position": head - 1}, "ann bob cid")):
        answer = await walled.answer(document, headers, asOf=as_of)
        assert [user["username"] for user in answer["data"]["users"]["nodes"]] == names.split(), as_of


async def test_a_statement_without_a_tenant_fails(walled: Api, url: str) -> None:
    await walled.tenant()
    connection = await asyncpg.connect(url)
    async with connection.transaction():
        await connection.execute("SET LOCAL ROLE hindsight_tenant")
        with pytest.raises(asyncpg.UndefinedObjectError):
            await connection.fetch("SELECT * FROM es.events")
    await connection.close()


@pytest.mark.parametrize("relation", UNKNOWN_TO_ALL)
async def test_what_no_tenant_reads_is_closed_to_the_role(url: str, relation: str) -> None:
    connection = await asyncpg.connect(url)
    async with connection.transaction():
        await connection.execute("SET LOCAL ROLE hindsight_tenant")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetch(f"SELECT count(*) FROM {relation}")
    await connection.close()


async def test_who_may_not_take_on_the_role_cannot_serve_with_it(url: str, database: Database) -> None:
    assert await database.can_wall()
    name = f"plain_{uuid4().hex}"
    await administer(url, f"CREATE ROLE {name} LOGIN")
    plain = await Database.open(url.replace("postgres@", f"{name}@"))
    try:
        assert not await plain.can_wall()
    finally:
        await plain.close()
        await administer(url, f"DROP ROLE {name}")
